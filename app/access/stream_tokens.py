"""Stream tokens: for a short time they open one stream, in the place of a key.

`EventSource` can't send a header, and an address gets about: into histories, logs and referrers. So
the address has no key in it but a token, `EXPIRY.KEY_ID.MAC`, whose MAC (HMAC-SHA256) is over
tenant, stream, key and expiry. Whoever issued it asks besides whether that key is still good. The
secret is made at start, so that tokens end with the server. It knows no request and no job.
"""

import base64
import hmac
import re
from collections.abc import Callable
from typing import Final, NamedTuple

SECRET_BYTES: Final = 32

_TOKEN: Final = re.compile(r"([1-9][0-9]{0,17})\.([a-z0-9]{12})\.([A-Za-z0-9_-]{43})")
_MS: Final = 1_000_000


class Issued(NamedTuple):
    """A new token, and when it ends, nanoseconds since the Unix epoch."""

    token: str
    expires_ns: int


class StreamTokens:
    """Issues and reads tokens that live `life_s` seconds.

    `secret` is `SECRET_BYTES` random bytes; `wall_ns` gives the time, nanoseconds since the Unix
    epoch.
    """

    def __init__(self, secret: bytes, *, life_s: float, wall_ns: Callable[[], int]) -> None:
        self._secret = secret
        self._life_ns = round(life_s * 1e9)
        self._wall_ns = wall_ns

    def issue(self, *, stream: str, tenant: str, key_id: str) -> Issued:
        """A token that opens `stream` of `tenant` for whoever has it, in the name of a key."""
        expires_ms = (self._wall_ns() + self._life_ns) // _MS
        mac = self._mac(expires_ms, key_id, tenant, stream)
        return Issued(f"{expires_ms}.{key_id}.{mac}", expires_ms * _MS)

    def key_of(
        self, token: str, *, stream: str, tenant_of: Callable[[str], str | None]
    ) -> str | None:
        """The id of the key in whose name `token` opens `stream`; None if it opens it not.

        `tenant_of` gives the tenant of a key's id, None if there is no such key (any more).
        """
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        expires_ms, key_id, mac = int(found[1]), found[2], found[3]
        tenant = tenant_of(key_id)
        expected = self._mac(expires_ms, key_id, tenant or "", stream)
        if not hmac.compare_digest(mac, expected) or tenant is None:
            return None
        return key_id if self._wall_ns() < expires_ms * _MS else None

    def _mac(self, expires_ms: int, key_id: str, tenant: str, stream: str) -> str:
        """Fields are told apart by zero bytes, which none but the last can have."""
        said = "\0".join((str(expires_ms), key_id, tenant, stream))
        mac = hmac.digest(self._secret, said.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(mac).decode().rstrip("=")

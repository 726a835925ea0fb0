"""Cursors of the job list: where a page ended, for nobody to read, make or use but its tenant.

A page ends at a job's number in the order of making, which counts all tenants' jobs: told as it is,
it would say how many others made meanwhile. So it is sealed: authenticated for its tenant and
enciphered, both by HMAC-SHA256 under one random key (a synthetic initialisation vector, as in RFC
5297: the same place has the same cursor, which says no more than the page itself). It knows no job.
"""

import base64
import binascii
import hmac
from typing import Final

from app.jobs.errors import InvalidCursor

_TAG: Final = 16
_NUMBER: Final = 8
_TEXT: Final = -(-(_TAG + _NUMBER) * 4 // 3)
"""Characters of a cursor: 24 bytes in base 64, without padding."""


class PageCursors:
    """Seals numbers under `key`, 32 random bytes; another key opens none of them."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sealed(self, number: int, tenant: str) -> str:
        """The cursor of `number`, which is below 2^64, for `tenant`."""
        plain = number.to_bytes(_NUMBER, "big")
        tag = self._tag(plain, tenant)
        return base64.urlsafe_b64encode(tag + self._enciphered(plain, tag)).decode()

    def opened(self, cursor: str, tenant: str) -> int:
        """The number in `cursor`.

        Raises:
            InvalidCursor: it was not made here, or for another tenant.

        """
        if len(cursor) != _TEXT or not cursor.isascii():
            raise InvalidCursor(cursor)
        try:
            sealed = base64.b64decode(cursor, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise InvalidCursor(cursor) from None
        tag, plain = sealed[:_TAG], self._enciphered(sealed[_TAG:], sealed[:_TAG])
        if not hmac.compare_digest(tag, self._tag(plain, tenant)):
            raise InvalidCursor(cursor)
        return int.from_bytes(plain, "big")

    def _tag(self, plain: bytes, tenant: str) -> bytes:
        return hmac.digest(self._key, b"place\0" + plain + tenant.encode(), "sha256")[:_TAG]

    def _enciphered(self, text: bytes, tag: bytes) -> bytes:
        pad = hmac.digest(self._key, b"cipher\0" + tag, "sha256")
        return bytes(one ^ other for one, other in zip(text, pad, strict=False))

"""How `httpx` is set up: the same for both clients. It knows no call and no stream."""

import random
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from app.client.address import is_loopback, key_to, server_url
from app.client.calls import Link
from app.client.patience import Patience
from app.client.steps import Request

TIMEOUT_S: Final = 30.0
"""Seconds to connect, and for an answer."""
SILENCE_S: Final = 60.0
"""Seconds of a stream without even a heartbeat, which come every 15 by default: it is dead."""

_AUTHORIZATION: Final = "authorization"
_IDLE: Final = 20
"""Connections that are kept for the next call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a client is told; see `Client`."""

    server: str | None = None
    key: str | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S
    silence_s: float = SILENCE_S
    patience: Patience = field(default_factory=Patience)
    headers: Mapping[str, str] | None = field(default=None, repr=False)

    def link(self) -> Link:
        """What the calls and streams share, on real time."""
        return Link(
            patience=self.patience,
            timeout_s=self.timeout_s,
            silence_s=self.silence_s,
            now=time.monotonic,
            uniform=random.SystemRandom().random,
        )

    def key_in_use(self) -> str:
        """The key that goes with every request; empty where none does.

        A header of the caller's own goes before the variable.

        Raises:
            ValueError: the server's address is none, or the key.

        """
        if self.key is None and _AUTHORIZATION in httpx.Headers(self.headers):
            return ""
        return key_to(server_url(self.server), self.key)

    def options(self) -> dict[str, Any]:
        """The arguments of `httpx.Client` and `httpx.AsyncClient`.

        Raises:
            ValueError: the server's address is none, or the key.

        """
        url = server_url(self.server)
        headers = httpx.Headers(self.headers)  # in its repr the key is masked
        key = self.key_in_use()
        if key:
            headers[_AUTHORIZATION] = f"Bearer {key}"  # RFC 6750
        return {
            "base_url": url,
            "headers": headers,
            "follow_redirects": False,  # nothing of ours goes to another host
            "trust_env": not is_loopback(url),  # no proxy leads to this machine
            "verify": _trusted(url),
            # As many streams at once as are asked for.
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=_IDLE),
        }


def _trusted(url: httpx.URL) -> ssl.SSLContext | bool:
    """Whom to trust: httpx's own certificates, True; over plain HTTP, which has none, nobody.

    To read them all takes 26 ms, as long as a few calls.
    """
    return True if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def built(
    http: httpx.Client | httpx.AsyncClient, request: Request, timeout_s: float
) -> httpx.Request:
    """`request` as `http` sends it; header values are UTF-8 (WHATWG HTML, `Last-Event-ID`)."""
    return http.build_request(
        request.method,
        request.path,
        params=request.query or None,
        content=request.content,
        headers=[(name.encode(), value.encode()) for name, value in request.headers.items()],
        timeout=httpx.Timeout(timeout_s, read=request.silence_s),
    )

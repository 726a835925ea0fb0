"""Who may address this server: the Host header, and for writes the Origin header.

A web page can make a browser send requests to a server on the reader's own machine. It can't choose
the Host header, except by pointing a name of its own at that machine (DNS rebinding): so the name
is checked, on every method. It can send writes without a body: so a write from a page of another
site is refused. This module knows no route.
"""

import functools
import ipaddress
from collections.abc import Callable, Iterable
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.problems import (
    BAD_HOST,
    FOREIGN_ORIGIN,
    MISDIRECTED,
    Kind,
    Problem,
    http_problem,
    instance_of,
)

ANY: Final = "*"
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_SHOWN: Final = 100
_REMEMBERED: Final = 64
"""Authorities whose answer is kept: clients say the same one each time."""


class Hosts:
    """The names of this server.

    `allowed` holds names or addresses without port, or `*`; `bound` the address it listens on.
    Bound to every address (`0.0.0.0`, `::`), it also answers to every literal address: rebinding
    needs a name. `origins` are those of other sites whose pages may write.
    """

    __slots__ = ("_any", "_literals", "accept", "names", "origins")

    def __init__(
        self, allowed: Iterable[str], *, bound: str | None = None, origins: Iterable[str] = ()
    ) -> None:
        self.origins = frozenset(origins)
        self.names = frozenset(_plain(name) for name in (*allowed, bound) if name)
        self._any = ANY in self.names
        self._literals = bound is not None and _is_wildcard(bound)
        self.accept: Callable[[str], bool] = functools.lru_cache(_REMEMBERED)(self._accept)
        """Whether an authority (host, or host:port) is one of our names."""

    def _accept(self, authority: str) -> bool:
        if self._any:
            return True
        host = host_part(authority)
        if host is None:
            return False
        return host in self.names or (self._literals and _address(host) is not None)


def host_part(authority: str) -> str | None:
    """The host of `host`, `host:port`, `[v6]` or `[v6]:port`, lower case; None if it is neither."""
    text = authority.strip().lower()
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or _address(host) is None or (port and port[0] != ":"):
            return None
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isascii() and port.isdecimal())):
        return None
    return _plain(host)


class HostCheck:
    """ASGI middleware that answers what is not addressed to us: 421, 400, or 403 for a write."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is addressed to us."""
        if scope["type"] == "http":
            problem = self._refusal(scope["headers"], scope["method"])
            if problem is not None:
                document = http_problem(problem, instance_of(Request(scope)))
                await document.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]], method: str) -> Problem | None:
        given = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(given) != 1:
            return Problem(BAD_HOST, f"There are {len(given)} Host headers; there must be one.")
        if not self._hosts.accept(given[0]):
            return self._foreign(MISDIRECTED, given[0])
        if method not in _READS:
            for name, value in headers:
                if name != b"origin":
                    continue
                origin = value.decode("latin-1")
                if origin in self._hosts.origins:
                    continue
                if not self._hosts.accept(origin.partition("://")[2]):
                    return self._foreign(FOREIGN_ORIGIN, origin)
        return None

    def _foreign(self, kind: Kind, given: str) -> Problem:
        names = sorted(self._hosts.names)
        return Problem(
            kind,
            f"{given[:_MAX_SHOWN]!r} is not a name of this server; "
            "NARRATOR_ALLOWED_HOSTS can add it.",
            members={"legal": names},
        )


def _plain(host: str) -> str:
    text = host.strip().lower().rstrip(".").removeprefix("[").removesuffix("]")
    address = _address(text)
    return text if address is None else str(address)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_wildcard(host: str) -> bool:
    address = _address(_plain(host))
    return address is not None and address.is_unspecified

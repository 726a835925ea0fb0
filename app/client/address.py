"""Where the server is, and the key to it: what was given, else `NARRATOR_SERVER`, `NARRATOR_KEY`.

The one place of the client that reads the environment. The server's own settings are not its
business: to load them would load the server.
"""

import os
import re
from typing import Final

import httpx

SERVER_VARIABLE: Final = "NARRATOR_SERVER"
DEFAULT_SERVER: Final = "http://127.0.0.1:8000"
KEY_VARIABLE: Final = "NARRATOR_KEY"

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def server_url(given: str | None = None) -> httpx.URL:
    """The address of the server, which may have a path where it is mounted in another application.

    Raises:
        ValueError: it is no `http://` or `https://` address; the message says where it came from.

    """
    address = given if given is not None else os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    place = "server" if given is not None else SERVER_VARIABLE
    wanted = f"{place} must be an address like {DEFAULT_SERVER}, not {address!r}"
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise ValueError(f"{wanted}: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise ValueError(wanted)
    return url


def key_to(url: httpx.URL, given: str | None = None) -> str:
    """The key to the server at `url`; empty where none is to be sent.

    Raises:
        ValueError: it is none, or `url` has a user too, who would go in the same header; the
            message says where it came from, and does not repeat it.

    """
    place = "key" if given is not None else KEY_VARIABLE
    key = (given if given is not None else os.environ.get(KEY_VARIABLE, "")).strip()
    if not key:
        return ""
    if not _TOKEN.fullmatch(key):
        raise ValueError(f"{place} is no key: one is letters, digits and -._~+/, on one line")
    if url.userinfo:
        raise ValueError(
            f"the server's address has a user, and {place} a key: only one of them can be sent"
        )
    return key


def is_loopback(url: httpx.URL) -> bool:
    """Whether `url` is this machine, to which no proxy leads."""
    return url.host in _LOOPBACK


def shown(url: httpx.URL) -> str:
    """`url` as a message may show it: without user and password."""
    return str(url.copy_with(username=None, password=None) if url.userinfo else url)

"""uvicorn, with the signals in our hands: drain first, close the listeners last.

uvicorn closes its listeners at the first signal; we tell every stream, finish what runs and answer
503 to what is new, and only then close. This module knows no job: it is given three functions.
"""

import asyncio
import contextlib
import functools
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from app.cli.protocol import protocol_in
from app.cli.room import ConnectionCounters, ConnectionLimits, Room

BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the system's own limit also holds."""
CLOSE_S: Final = 5
"""Seconds for connections to end after the drain, before they are cut."""
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_FAMILIES: Final = [socket.AF_INET, socket.AF_INET6]

_logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """A server that drains on the first signal and ends at once on the second.

    `ready` is called once connections are accepted, `drain` at the first SIGINT or SIGTERM; when it
    is done the listeners close. `abort` is called at a second signal, in the signal handler (so it
    may not print or log: whatever was interrupted may have been doing so), and then the process
    ends with 128 + the signal's number. `running` is entered before anything is accepted, and left
    after the last connection.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        ready: Callable[[], None],
        drain: Callable[[], Awaitable[None]],
        abort: Callable[[], None],
        running: Callable[[], AbstractAsyncContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        super().__init__(config)
        self._running = running
        self._ready = ready
        self._drain = drain
        self._abort = abort
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signalled = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve while what is served runs; what keeps it from starting is raised to the caller."""
        async with self._running():
            await super().serve(sockets=sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept, then say so."""
        await super().startup(sockets=sockets)
        if self.started and not self.should_exit:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Own SIGINT and SIGTERM while serving; none is raised again afterwards.

        A handler of the `signal` module runs even while something blocks the loop.
        """
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 — uvicorn's
        """First signal: drain. Second: end at once."""
        if self._signalled:
            try:
                self._abort()
            finally:
                os._exit(128 + sig)
        self._signalled = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.begin_drain)

    def begin_drain(self) -> None:
        """Drain, then exit; on the loop's thread, once."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain_and_exit())

    async def _drain_and_exit(self) -> None:
        try:
            if self.started:
                await self._drain()
        except Exception:
            _logger.exception("the drain failed; closing")
        finally:
            self.should_exit = True


def configuration(
    application: ASGIApp,
    *,
    limits: ConnectionLimits | None = None,
    counters: ConnectionCounters | None = None,
) -> uvicorn.Config:
    """How we run uvicorn: uvloop and httptools, no access log, no Server header."""
    return uvicorn.Config(
        application,
        loop="auto" if sys.platform == "win32" else "uvloop",
        http=protocol_in(Room(limits, counters)),
        ws="none",
        lifespan="off",  # `Server.serve` runs it: uvicorn would log a traceback
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=CLOSE_S,
    )


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of `host`; with port 0, all on one free port.

    Raises:
        OSError: the name is unknown, or an address is in use or not ours.

    """
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            wanted = sockets[0].getsockname()[1] if sockets else port
            sockets.append(_bind(family, address, wanted))
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def address_of(bound: socket.socket) -> str:
    """The http address of a listening socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine reaches a listening socket."""
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def raise_file_limit() -> int | None:
    """Allow as many open files as the system lets this process have; None: it has no limit."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 — not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # a system that will not: the soft one stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


@functools.cache
def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _addresses(host: str, port: int) -> Sequence[tuple[socket.AddressFamily, tuple[str, int]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    unique = dict.fromkeys(
        (family, (str(address[0]), int(address[1])))
        for family, _, _, _, address in found
        if family in _FAMILIES
    )
    ordered = sorted(unique, key=lambda each: _FAMILIES.index(each[0]))
    if len(ordered) > 1 and not _has_ipv6():
        return [each for each in ordered if each[0] == socket.AF_INET]
    return ordered


def _bind(family: socket.AddressFamily, address: tuple[str, int], port: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address[0], port))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound

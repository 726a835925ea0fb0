"""A TCP proxy that cuts connections, by a plan, and can be away for a while. It knows no HTTP."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from anyio.from_thread import start_blocking_portal

Plan = Callable[[int], int | None]
"""From the number of a connection, how many bytes pass from the server before it is cut."""

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: a reset instead of an end


def whole(_: int) -> None:
    """The plan that cuts nothing."""


@dataclass(slots=True)
class CuttingProxy:
    """Stands before the local port `upstream`; every other connection that it cuts, it resets."""

    upstream: int
    plan: Plan = whole
    connections: int = 0
    cuts: int = 0
    port: int = 0
    _listener: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Its address; the same after it was away."""
        return f"http://127.0.0.1:{self.port}"

    async def listen(self) -> None:
        """Take connections."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def leave(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in [*self._open]:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        upstream, out = await asyncio.open_connection("127.0.0.1", self.upstream)
        self._open |= {writer, out}
        up = asyncio.ensure_future(_pump(reader, out))
        try:
            if await _pump(upstream, writer, self.plan(number)):
                self.cuts += 1
                if number % 2:
                    channel: socket.socket = writer.get_extra_info("socket")
                    channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        finally:
            up.cancel()
            self._open -= {writer, out}
            writer.close()
            out.transport.abort()


async def _pump(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, allowed: int | None = None
) -> bool:
    """Pass on what comes; True once `allowed` bytes have passed, False at the end."""
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(4096):
            kept = chunk if allowed is None else chunk[:allowed]
            target.write(kept)
            await target.drain()
            if allowed is not None:
                allowed -= len(kept)
                if not allowed:
                    return True
    return False


@contextlib.contextmanager
def cutting(upstream: int, plan: Plan = whole) -> Iterator["Controlled"]:
    """A proxy on a thread of its own."""
    proxy = CuttingProxy(upstream, plan)
    with start_blocking_portal() as portal:
        controlled = Controlled(proxy, portal.call)
        controlled.back()
        try:
            yield controlled
        finally:
            controlled.away()


@dataclass(slots=True)
class Controlled:
    """The proxy, from another thread."""

    proxy: CuttingProxy
    _call: Callable[..., object]

    @property
    def url(self) -> str:
        """Its address."""
        return self.proxy.url

    def away(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        self._call(self.proxy.leave)

    def back(self) -> None:
        """Take connections again, on the same port."""
        self._call(self.proxy.listen)

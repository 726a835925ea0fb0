"""A small proxy that cuts connections when a test says so, and serves one page of the test's own.

A page needs the origin of the stream that it reads: so the proxy serves it, and passes on all else.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.clients.server import WAIT_S

Cut = Callable[[int], int | None]
"""From the number of a connection, how many bytes of its answer pass before it is cut."""

_HEAD_END = b"\r\n\r\n"


@dataclass(slots=True, kw_only=True)
class Proxy:
    """What has passed: the heads of requests and of answers, in order; what the page reported."""

    upstream: int
    cut: Cut
    page: str
    url: str = ""
    requests: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    reports: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    @property
    def resumed(self) -> list[str | None]:
        """The `Last-Event-ID` of each request that was passed on."""
        return [_header(head, "last-event-id") for head in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection with one request."""
        # Closed by who leaves the block, a cancellation at the end of the test included.
        with (
            contextlib.closing(writer),
            contextlib.suppress(ConnectionError, asyncio.IncompleteReadError),
        ):
            head = (await reader.readuntil(_HEAD_END)).decode("latin-1")
            target = head.split(" ", 2)[1]
            if target.startswith("/page"):
                self._answer(writer, self.page.encode(), "text/html; charset=utf-8")
            elif target == "/report":
                length = int(_header(head, "content-length") or 0)
                self.reports.put_nowait(json.loads(await reader.readexactly(length)))
                self._answer(writer, b"", "text/plain")
            elif target == "/favicon.ico":
                self._answer(writer, b"", "image/x-icon")
            else:
                await self._pass_on(head, reader, writer)

    def _answer(self, writer: asyncio.StreamWriter, body: bytes, content_type: str) -> None:
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + body
        )

    async def _pass_on(
        self, head: str, client: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        allowed = self.cut(len(self.requests))
        self.requests.append(head)
        lines = [line for line in head.split("\r\n") if not line.lower().startswith("connection:")]
        upstream, out = await asyncio.open_connection("127.0.0.1", self.upstream)
        out.write("\r\n".join([lines[0], "Connection: close", *lines[1:]]).encode("latin-1"))
        leaving = asyncio.ensure_future(client.read(1))  # nothing follows: the client has left
        try:
            await self._answers(upstream, writer, allowed, leaving)
        finally:
            leaving.cancel()
            out.transport.abort()

    async def _answers(
        self,
        upstream: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        allowed: int | None,
        leaving: "asyncio.Future[bytes]",
    ) -> None:
        first = True
        while True:
            reading = asyncio.ensure_future(upstream.read(4096))
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                return
            chunk = reading.result()
            if first:
                self.answers.append(chunk.split(b"\r\n", 1)[0].decode())
                first = False
            if not chunk:
                return
            if allowed is not None and len(chunk) >= allowed:
                writer.write(chunk[:allowed])
                await writer.drain()
                return
            allowed = None if allowed is None else allowed - len(chunk)
            writer.write(chunk)
            await writer.drain()


@contextlib.asynccontextmanager
async def proxying(
    upstream: int, *, cut: Cut = lambda _number: None, page: str = ""
) -> AsyncIterator[Proxy]:
    """A proxy before the local port `upstream`."""
    proxy = Proxy(upstream=upstream, cut=cut, page=page)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, backlog=1024)
    proxy.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()


def bounded(test: Any) -> None:
    """Run an asynchronous test within a bound."""

    async def main() -> None:
        async with asyncio.timeout(2 * WAIT_S):
            await test

    asyncio.run(main())


def _header(head: str, wanted: str) -> str | None:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == wanted:
            return value.strip()
    return None

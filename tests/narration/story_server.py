"""One log behind one route, and clients of it, for tests over real sockets."""

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import httpx_sse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from narration.events import EndEvent, OutputEvent
from narration.log import NarrationLog
from narration.resume import parse_query
from narration.sse import Departure, stream_response
from narration.streams import Streams
from tests.plain_http import PLAIN

AT = "2026-01-01T00:00:00.000000Z"


class Server:
    """One log behind one route, with what the route was told."""

    def __init__(self, *, limit: int = 1_000, heartbeat_s: float = 0) -> None:
        loop = asyncio.get_running_loop()
        self.log = NarrationLog("j", epoch="e", limit=limit, schedule=loop.call_soon)
        self.streams = Streams(heartbeat_s=heartbeat_s, retry_ms=1000, uniform=lambda: 0.5)
        self.told: list[str] = []
        self.app = Starlette(routes=[Route("/stream", self.stream)])

    async def stream(self, request: Request) -> Response:
        """The route."""
        query = parse_query(request.query_params, request.headers.get("last-event-id"))
        return stream_response(
            self.log,
            query,
            self.streams,
            on_attach=lambda: self.told.append("attached"),
            on_detach=self.left,
        )

    def left(self, departure: Departure) -> None:
        """Keep who closed a stream."""
        self.told.append(departure.value)

    def say(self, count: int = 1, *, chunk: str = "x") -> None:
        """Tell `count` outputs."""
        for _ in range(count):
            self.log.append(OutputEvent(at=AT, chunk=chunk))

    def end(self) -> None:
        """Tell the end."""
        self.log.append(EndEvent(at=AT, state="completed", marker="[DONE]"))


async def events_of(address: str, **request: Any) -> list[httpx_sse.ServerSentEvent]:
    """All events of a stream that ends."""
    async with (
        httpx.AsyncClient(timeout=30, verify=PLAIN) as client,
        httpx_sse.aconnect_sse(client, "GET", f"{address}/stream", **request) as source,
    ):
        return [event async for event in source.aiter_sse()]


async def raw(address: str, *, method: str = "GET", receive_buffer: int | None = None) -> Any:
    """A raw connection with the request sent: its reader and its writer."""
    place = urlsplit(address)
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (place.hostname, place.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**16)
    writer.write(f"{method} /stream HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    await writer.drain()
    return reader, writer

"""A log as an HTTP response: the only module that knows `sse_starlette`.

Taken from it: the response's life (start, body, end, watching for the client's leaving), HEAD
without a stream, the refusal of a WebSocket. Not taken: its event class (chunks come encoded), its
pings (one timer serves all streams) and its exit watch, which would cut streams before they are
told. It does not know what a job is; who wants to know that a client came or left gives callbacks.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import anyio
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from narration.log import NarrationLog
from narration.reader import Reader
from narration.resume import StreamQuery, resolve
from narration.streams import Streams

CACHE_CONTROL: Final = "no-store, no-transform"
"""Kept by nobody, and compressed by nobody: a compressor would hold events back (RFC 9111)."""

EXIT_GRACE_S: Final = 5.0
"""Seconds that clients have to take what is left, where this module itself watches the exit."""


class Departure(StrEnum):
    """Who closed a stream."""

    CLIENT = "client"
    SERVER = "server"


def stream_response(
    log: NarrationLog,
    query: StreamQuery,
    streams: Streams,
    *,
    on_attach: Callable[[], None] | None = None,
    on_detach: Callable[[Departure], None] | None = None,
) -> Response:
    """`log` as `query` asks for it: 204 where there is nothing to come, else 200 and the stream.

    `on_attach` is called when the 200 is about to be sent, before the log is watched; `on_detach`
    once after it, when the stream is over and who closed it is known. Neither is called for a HEAD
    or a 204. A reader of `follow=false` attaches too: whether that counts is the caller's to say.
    """
    position = resolve(log, query)
    if position.complete:
        return Response(status_code=204, headers={"Cache-Control": CACHE_CONTROL})
    reader = streams.open(log, query, position)
    return NarrationResponse(reader, streams, on_attach=on_attach, on_detach=on_detach)


class NarrationResponse(EventSourceResponse):
    """Sends what one reader gives, until it is done or the client leaves."""

    def __init__(
        self,
        reader: Reader,
        streams: Streams,
        *,
        on_attach: Callable[[], None] | None = None,
        on_detach: Callable[[Departure], None] | None = None,
    ) -> None:
        super().__init__(
            reader,
            media_type=reader.view.media_type,
            headers={"Cache-Control": CACHE_CONTROL},
            ping=0,
            client_close_handler_callable=self._client_closed,
        )
        # Whether a connection is kept is the server's to say: a draining one says `close`.
        del self.headers["connection"]
        self._reader = reader
        self._streams = streams
        self._on_attach = on_attach
        self._on_detach = on_detach
        self._attached = False
        self._client_left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream (ASGI)."""
        try:
            await super().__call__(scope, receive, send)
        except OSError:  # how a server of ASGI 2.4 says that the client has gone
            self._client_left = True
        finally:
            self._detach()

    async def _stream_response(self, send: Send) -> None:
        self._attach()
        await super()._stream_response(send)

    async def _listen_for_exit_signal_with_grace(self) -> None:
        if self._streams.watch_exit:
            await self._listen_for_exit_signal()
            self._streams.drain()
            with anyio.move_on_after(EXIT_GRACE_S):
                await self._streams.aborted()
        else:
            await self._streams.aborted()

    async def _client_closed(self, _message: Message) -> None:
        self._client_left = True

    def _attach(self) -> None:
        if self._on_attach is not None:
            self._on_attach()
        self._attached = True
        self._streams.attach(self._reader)

    def _detach(self) -> None:
        if not self._attached:
            return
        self._attached = False
        by_client = self._client_left and not self._reader.done
        self._streams.detach(self._reader)
        if self._on_detach is not None:
            self._on_detach(Departure.CLIENT if by_client else Departure.SERVER)

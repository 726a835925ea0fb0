"""A log as an HTTP response: the only module that knows `sse_starlette`.

There are two roads to a client, with the same events in the same order:

- A server that offers the connection (`narration.transport`): the response sends its head, hands
  over and returns, so that an idle stream holds neither a task of ours nor what the application
  had made for the request. Taken from `sse_starlette`: the response's headers.
- Any other server, HTTP/1.0, and `watch_exit`: `send` for each chunk. Taken, besides: the
  response's life (start, body, end, watching for the client's leaving), HEAD without a stream, the
  refusal of a WebSocket.

Never taken: its event class (chunks come encoded), its pings (one timer serves all streams), a
queue or a task group for each reader where the connection is at hand, and its exit watch, which
would cut streams before they are told. This module does not know what a job is; who wants to know
that a client came or left gives callbacks.
"""

import contextvars
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
from narration.transport import Connection, offered

CACHE_CONTROL: Final = "no-store, no-transform"
"""Kept by nobody, and compressed by nobody: a compressor would hold events back (RFC 9111)."""

EXIT_GRACE_S: Final = 5.0
"""Seconds that clients have to take what is left, where this module itself watches the exit."""


_START: Final = "http.response.start"


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
    owner: str | None = None,
) -> Response:
    """`log` as `query` asks for it: 204 where there is nothing to come, else 200 and the stream.

    `on_attach` is called when the 200 is about to be sent, before the log is watched; `on_detach`
    once after it, when the stream is over and who closed it is known. Neither is called for a HEAD
    or a 204. A reader of `follow=false` attaches too: whether that counts is the caller's to say.
    `owner` is for whom it is (`Streams.owners`).
    """
    position = resolve(log, query)
    if position.complete:
        return Response(status_code=204, headers={"Cache-Control": CACHE_CONTROL})
    reader = streams.open(log, query, position)
    reader.owner = owner
    return NarrationResponse(reader, streams, on_attach=on_attach, on_detach=on_detach)


class Attachment:
    """A reader that is counted among the open streams, and who wants to know of it."""

    __slots__ = ("_is_attached", "_on_attach", "_on_detach", "_streams", "client_left", "reader")

    def __init__(
        self,
        reader: Reader,
        streams: Streams,
        on_attach: Callable[[], None] | None,
        on_detach: Callable[[Departure], None] | None,
    ) -> None:
        self.reader = reader
        self.client_left = False
        self._streams = streams
        self._on_attach = on_attach
        self._on_detach = on_detach
        self._is_attached = False

    def attach(self) -> None:
        """The stream begins; may be called again."""
        if self._is_attached:
            return
        if self._on_attach is not None:
            self._on_attach()
        self._is_attached = True
        self._streams.attach(self.reader)

    def detach(self) -> None:
        """It is over; may be called again."""
        if not self._is_attached:
            return
        self._is_attached = False
        by_client = self.client_left and not self.reader.done
        self._streams.detach(self.reader)
        if self._on_detach is not None:
            self._on_detach(Departure.CLIENT if by_client else Departure.SERVER)

    def hand_over(self, connection: Connection, scope: Scope) -> bool:
        """Have what is to come written to `connection` until the end; False if it can't be had."""
        sender = self._streams.sender(self.reader)
        write = connection.take(scope, sender)
        if write is None:
            return False

        def over(_ended: object) -> None:
            sender.close()
            self.client_left = sender.gone
            self.detach()

        # In a context of its own: the request's would keep its span.
        sender.ended.add_done_callback(over, context=contextvars.Context())
        sender.begin(write)
        connection.complete_after(sender.ended)
        return True


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
        self._streams = streams
        self._attachment = Attachment(reader, streams, on_attach, on_detach)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream (ASGI), or its head if the server then writes the rest."""
        by_hand = self._streams.watch_exit or not self._attachment.reader.shared
        connection = None if by_hand else offered(scope)
        try:
            if scope.get("method") not in {None, "HEAD"}:  # whose stream is none
                self._attachment.attach()  # before anything is awaited: who counts has counted
            if connection is not None:
                headers = self.raw_headers
                await send({"type": _START, "status": self.status_code, "headers": headers})
                if self._attachment.hand_over(connection, scope):
                    return
                send = _without_start(send)
            await super().__call__(scope, receive, send)
        except OSError:  # how a server of ASGI 2.4 says that the client has gone
            self._attachment.client_left = True
            self._attachment.detach()
        except BaseException:
            self._attachment.detach()
            raise
        else:
            self._attachment.detach()

    async def _listen_for_exit_signal_with_grace(self) -> None:
        if self._streams.watch_exit:
            await self._listen_for_exit_signal()
            self._streams.drain()
            with anyio.move_on_after(EXIT_GRACE_S):
                await self._streams.aborted()
        else:
            await self._streams.aborted()

    async def _client_closed(self, _message: Message) -> None:
        self._attachment.client_left = True


def _without_start(send: Send) -> Send:
    """For a response whose head has been sent."""

    async def send_rest(message: Message) -> None:
        if message["type"] != _START:
            await send(message)

    return send_rest

"""uvicorn's HTTP/1.1 protocol with two additions: a bound on heads, and the connection handed over.

It does not know what is written to a connection that was taken, nor the server around it.
"""

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from narration.transport import EXTENSION

if TYPE_CHECKING:
    import asyncio

    from narration.transport import Watcher, Write

MAX_HEAD_BYTES: Final = 65_536
"""Request line and headers together; beyond is a 431."""

_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
)
_TOO_LARGE_BODY: Final = (
    b'{"type":"about:blank","title":"Request Header Fields Too Large","status":431,'
    b'"detail":"At most %d bytes of request line and headers are accepted."}' % MAX_HEAD_BYTES
)


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol, with a bound on the request's head: its parser has none.

    A whole head over the bound is answered with 431. One that does not end is cut off at about the
    bound: what came in one read with the end of another request is not counted.
    """

    __slots__ = ("_head_bytes", "_in_head", "_unparsed_bytes")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = self._unparsed_bytes = 0
        self._in_head = False

    def on_message_begin(self) -> None:
        """A request starts."""
        super().on_message_begin()
        self._head_bytes = self._unparsed_bytes = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._head_bytes += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_head = False
        if self._head_bytes <= MAX_HEAD_BYTES:
            super().on_headers_complete()
            return
        self.url = b"/"  # the parser of addresses has a bound of its own
        application, self.app = self.app, _head_too_large
        try:
            super().on_headers_complete()
        finally:
            self.app = application

    def data_received(self, data: bytes) -> None:
        """Parse; then count what is still only head."""
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._unparsed_bytes > MAX_HEAD_BYTES:
            self.transport.write(_TOO_LARGE % (len(_TOO_LARGE_BODY), _TOO_LARGE_BODY))
            self.transport.close()


async def _head_too_large(scope: Scope, receive: Receive, send: Send) -> None:
    """The application for a request whose head is over the bound."""
    response = Response(
        _TOO_LARGE_BODY,
        status_code=431,
        media_type="application/problem+json",
        headers={"connection": "close"},
    )
    await response(scope, receive, send)


class DirectProtocol(BoundedHead):
    """The same, which offers each GET its connection (`narration.transport.Connection`).

    Only the body of a chunked response is written by whoever takes it. That changes nothing that
    uvicorn keeps: it counts no bytes of such a body, and the head, the end and keep-alive stay its
    own. What becomes of the connection is told to uvicorn first.
    """

    # Slots: with more than 30 attributes in its dictionary, each connection costs 1 KB more.
    __slots__ = ("_ended", "_watcher")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ended: asyncio.Future[bool] | None = None
        self._watcher: Watcher | None = None
        self.app = _Completing(self.app)

    def on_headers_complete(self) -> None:
        """A request may begin: offer the connection to its application, which runs later."""
        super().on_headers_complete()
        scope: Any = self.scope
        if scope["method"] == "GET" and scope["http_version"] == "1.1":
            scope["extensions"] = {EXTENSION: self}

    def take(self, scope: Scope, watcher: "Watcher") -> "Write | None":
        """Give the connection away, if the response to `scope` is at its body and chunked.

        A request that was sent before the answer to the one before it (pipelined) moves `cycle` on:
        such a connection is not given away.
        """
        cycle = self.cycle
        if (
            cycle.scope is not scope
            or not (cycle.response_started and cycle.chunked_encoding)
            or cycle.response_complete
            or cycle.disconnected
            or cycle.more_body
            or cycle.body
        ):
            return None
        self._watcher = watcher
        if self.flow.write_paused:
            watcher.paused()
        return self.transport.write

    def complete_after(self, ended: "asyncio.Future[bool]") -> None:
        """Let the application return; `_Completing` waits for `ended` in its place."""
        self._ended = ended

    @property
    def is_taken(self) -> bool:
        """Whether the body of a response is being written by who took the connection."""
        return self._ended is not None

    async def complete(self, send: Send) -> None:
        """End the response when its body has been written."""
        ended = self._ended
        if ended is None:
            return
        try:
            whole = await ended
        finally:
            self._ended = self._watcher = None
        if whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        super().pause_writing()
        if self._watcher is not None:
            self._watcher.paused()

    def resume_writing(self) -> None:
        """It has room again."""
        super().resume_writing()
        if self._watcher is not None:
            self._watcher.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or the connection was closed."""
        super().connection_lost(exc)
        if self._watcher is not None:
            self._watcher.lost()
        if self.scope is not None:  # else the two would keep each other until a collection
            scope: Any = self.scope
            scope.pop("extensions", None)


class _Completing:
    """The application, and after it what it left to its connection.

    While that lasts, nothing of the application is held: what it put into the scope goes too.
    """

    __slots__ = ("_application",)

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        given = tuple(scope)
        await self._application(scope, receive, send)
        connection: DirectProtocol | None = (scope.get("extensions") or {}).get(EXTENSION)
        if connection is not None and connection.is_taken:
            kept = {key: scope[key] for key in given if key in scope}
            scope.clear()
            scope.update(kept)
            del given, kept, receive
            await connection.complete(send)

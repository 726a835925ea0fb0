"""Our HTTP/1.1 protocol: within bounds, and with the connection handed over to who streams on it.

It does not know what is written to a connection that was taken, nor the server around it.
"""

from typing import TYPE_CHECKING, Any

from app.cli.bounded import BoundedProtocol
from narration.transport import EXTENSION

if TYPE_CHECKING:
    import asyncio

    from starlette.types import Scope, Send

    from app.cli.room import Room
    from narration.transport import Watcher, Write


def protocol_in(room: "Room") -> type["DirectProtocol"]:
    """The protocol of one server, whose connections take their places in `room`."""
    return type("Protocol", (DirectProtocol,), {"__slots__": (), "room": room})


class DirectProtocol(BoundedProtocol):
    """A protocol which offers each GET its connection (`narration.transport.Connection`).

    Only the body of a chunked response is written by whoever takes it. That changes nothing that
    uvicorn keeps: it counts no bytes of such a body, and the head, the end and keep-alive stay its
    own. What becomes of the connection is told to uvicorn first.
    """

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

    def take(self, scope: "Scope", watcher: "Watcher") -> "Write | None":
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

    async def complete(self, send: "Send") -> None:
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

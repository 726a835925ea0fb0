"""uvicorn's HTTP/1.1 protocol, within bounds: of a request's head, of time, and of what is unclear.

What can't be read in one way only is refused, and nothing that follows it is read: so nobody in
front of us can be made to see other requests than we do (RFC 9112, section 11.2). A refusal comes
after the answers to the requests before it, never into one of them. It does not know what the
application answers, nor the server around it.
"""

import asyncio
import sys
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.cli.room import Room
from telemetry.names import Cut

MAX_HEAD_BYTES: Final = 65_536
"""Request line and headers together, or all trailers; beyond is a 431."""
MAX_HEADERS: Final = 100
"""Headers of one request; beyond is a 431."""
MAX_AHEAD: Final = 16
"""Requests that may be sent ahead of their turn on one connection (pipelined); beyond is a 429."""
LINGER_S: Final = 1.0
"""Seconds for a client to read why it was refused, before the connection is cut."""

_TRANSFER: Final = b"transfer-encoding"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is answered to a request that we do not take."""

    status: HTTPStatus
    why: Cut
    detail: str

    def response(self) -> bytes:
        """The whole answer, as problem details (RFC 9457)."""
        body = msgspec.json.encode(
            {
                "type": "about:blank",
                "title": self.status.phrase,
                "status": self.status.value,
                "detail": self.detail,
            }
        )
        retry = b"retry-after: 1\r\n" if self.status is HTTPStatus.SERVICE_UNAVAILABLE else b""
        return (
            b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\n"
            b"content-length: %d\r\n%bconnection: close\r\n\r\n%b"
            % (self.status.value, self.status.phrase.encode(), len(body), retry, body)
        )


MALFORMED: Final = Refusal(
    HTTPStatus.BAD_REQUEST,
    Cut.MALFORMED,
    "This is no HTTP request, or one that can be read in more than one way.",
)
FOREIGN_TARGET: Final = Refusal(
    HTTPStatus.BAD_REQUEST,
    Cut.MALFORMED,
    "The request's target and its Host header name different servers.",
)
UNKNOWN_CODING: Final = Refusal(
    HTTPStatus.NOT_IMPLEMENTED, Cut.MALFORMED, "The only transfer coding here is chunked."
)
HEAD_TOO_LARGE: Final = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Cut.HEAD_SIZE,
    f"At most {MAX_HEAD_BYTES} bytes of request line and headers are accepted, "
    f"in at most {MAX_HEADERS} headers.",
)
HEAD_LATE: Final = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, Cut.HEAD_TIME, "The request's head took too long."
)
BODY_LATE: Final = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, Cut.BODY_TIME, "The request's body took too long."
)
TOO_FAR_AHEAD: Final = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    Cut.AHEAD,
    f"At most {MAX_AHEAD} requests may wait for the answer before them on one connection.",
)
FULL: Final = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    Cut.TOO_MANY,
    "The server has as many connections as it may have.",
)


class _RefusedError(Exception):
    """Stops the parser; what for is in `_refusal`."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol in a `Room`, which has the bounds; `protocol_in` gives a server its own.

    A head that does not end is cut off at about its bound: what came in one read with the end of
    another request is not counted.
    """

    # Slots: with more than 30 attributes in its dictionary, each connection costs 1 KB more.
    __slots__ = (
        "_answering",
        "_head_bytes",
        "_in_body",
        "_in_head",
        "_is_deaf",
        "_last_words",
        "_refusal",
        "_timer",
        "_unparsed_bytes",
        "_unread",
    )

    room: ClassVar[Room]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = self.room.limits.keep_alive_s
        self._head_bytes = self._unparsed_bytes = 0
        self._in_head = self._in_body = False
        self._is_deaf = False  # what comes is not read any more
        self._refusal: Refusal | None = None  # why the parser was stopped
        self._last_words: Refusal | None = None  # said after the answers that are under way
        self._answering: Any = None  # uvicorn's cycle of the request that is being answered
        self._timer: asyncio.TimerHandle | None = None  # for the request that is being sent
        self._unread: asyncio.TimerHandle | None = None  # for the answer that is not being read

    # --- the connection ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # (uvicorn's own signature, and its reason)
        """A client is there: if there is a place for it, its request is waited for."""
        super().connection_made(transport)
        if self.room.enter(self):
            self._timer = self.loop.call_later(self.room.limits.head_s, self._too_late)
        elif self.room.is_crowded(len(self.connections)):
            self._is_deaf = True
            transport.abort()
        else:
            self._say(FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone: so are all its requests, of which uvicorn knows the newest."""
        self.room.leave(self)
        self._unset_timer()
        self._watch_reading(on=False)
        self._unset_keepalive_if_required()
        for cycle in (self._answering, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def give_way(self) -> None:
        """Close an idle connection, since there is one who needs the place."""
        self._is_deaf = True
        self.transport.abort()

    # --- what the client sends --------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse; then see what is still to come of the request, and give it its time."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        self._unparsed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nobody here speaks another protocol: the request is answered, and it is the last one.
            self._is_deaf = True
            self._unset_timer()
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse(self._refusal or MALFORMED)
        else:
            if self._in_head and self._unparsed_bytes > MAX_HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE)
            else:
                self._time_request()

    def on_message_begin(self) -> None:
        """A request starts."""
        super().on_message_begin()
        self._head_bytes = self._unparsed_bytes = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._take(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers, or of its trailers, which nobody asked for: they are not kept."""
        self._take(len(name) + len(value))
        if not self._in_head:
            return
        if len(self.headers) == MAX_HEADERS:
            self._stop(HEAD_TOO_LARGE)
        if (
            len(name) == len(_TRANSFER)
            and name.lower() == _TRANSFER
            and value.strip().lower() != b"chunked"
        ):
            self._stop(UNKNOWN_CODING)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._unset_timer()
        if self.url[:1] not in {b"/", b"*"} and not self._names_host():
            self._stop(FOREIGN_TARGET)
        if len(self.pipeline) >= MAX_AHEAD:
            self._stop(TOO_FAR_AHEAD)
        self._in_head, self._in_body = False, True
        self._head_bytes = 0  # trailers have the same bound
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._unset_timer()
        self._in_body = False
        super().on_message_complete()

    def _take(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop(HEAD_TOO_LARGE)

    def _stop(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _RefusedError

    def _names_host(self) -> bool:
        """Whether the authority of an absolute target is the one of the Host header."""
        authority = self.url.partition(b"://")[2]
        for end in (b"/", b"?", b"#"):
            authority = authority.partition(end)[0]
        named = [value.strip().lower() for name, value in self.headers if name == b"host"]
        return named == [authority.lower()]

    # --- its time ---------------------------------------------------------------------------------

    def _time_request(self) -> None:
        """Give what is still to come of a request its time, counted from where that began."""
        if self._timer is None and (self._in_head or self._in_body or not self._is_answering()):
            limits = self.room.limits
            seconds = limits.body_s if self._in_body else limits.head_s
            self._timer = self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._timer = None
        if self._in_body:
            self._refuse(BODY_LATE)
        elif self._in_head:
            self._refuse(HEAD_LATE)
        else:  # it has not begun to ask
            self.room.counters.connection_cut(Cut.HEAD_TIME)
            self._is_deaf = True
            self.transport.abort()

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- refusals ---------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what came last, and that alone, with `refusal`; read nothing more."""
        self.room.counters.connection_cut(refusal.why)
        self._is_deaf = True
        self._unset_timer()
        unfinished, answering = self._in_body, self._answering
        if unfinished and self.pipeline:  # its head came ahead of its turn, and it is not begun
            self.pipeline.popleft()
        elif unfinished and answering is not None and not answering.response_complete:
            started = answering.response_started
            answering.disconnected = True
            answering.message_event.set()
            if started:  # there is no second answer to it
                self.transport.close()
                return
            self._answering = None
        if self._is_answering():
            self._last_words = refusal
            self.flow.pause_reading()
        elif unfinished and answering is not None and answering.response_complete:
            self.transport.close()  # it was answered before all of it was there
        else:
            self._say(refusal)

    def _say(self, refusal: Refusal) -> None:
        """Send `refusal` and end: we first, so that the client reads it before it is cut."""
        self._is_deaf = True
        self.room.idle(self)
        self.transport.write(refusal.response())
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.abort)

    # --- answers ----------------------------------------------------------------------------------

    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        self.room.busy(self)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer was given: the next one is begun, or the next request waited for."""
        super().on_response_complete()
        if self._is_answering():
            return
        self.room.idle(self)
        if self.transport.is_closing():
            self._watch_reading(on=self.transport.get_write_buffer_size() > 0)
        elif self._last_words is not None:
            self._unset_keepalive_if_required()
            self._say(self._last_words)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was silent; what it has not read of its answer, it still may."""
        super().timeout_keep_alive_handler()
        self._watch_reading(on=self.transport.get_write_buffer_size() > 0)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        super().pause_writing()
        self._watch_reading(on=True)

    def resume_writing(self) -> None:
        """It has room again."""
        super().resume_writing()
        self._watch_reading(on=self.transport.is_closing())

    def _watch_reading(self, *, on: bool) -> None:
        """Cut the connection if the client takes nothing of what waits for it."""
        if not on:
            if self._unread is not None:
                self._unread.cancel()
                self._unread = None
        elif self._unread is None:
            self._unread = self.loop.call_later(
                self.room.limits.unread_s, self._was_anything_read, self._untaken()
            )

    def _untaken(self) -> int:
        return self.transport.get_write_buffer_size() + _in_system(self.transport)

    def _was_anything_read(self, before: int) -> None:
        self._unread = None
        if self._untaken() < before:
            self._watch_reading(on=True)
            return
        self.room.counters.connection_cut(Cut.UNREAD)
        self._is_deaf = True
        self.transport.abort()


def _in_system(transport: asyncio.BaseTransport) -> int:
    """Bytes that the system holds since the client has not taken them (tcp(7), SIOCOUTQ).

    0 where that is not known: then only what leaves our own buffer is seen, which takes longer.
    """
    if sys.platform != "linux":
        return 0
    import fcntl  # noqa: PLC0415 - not there on Windows
    import termios  # noqa: PLC0415 - the same

    connection = transport.get_extra_info("socket")
    try:
        told = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # it is gone already
        return 0
    return int.from_bytes(told, sys.byteorder)

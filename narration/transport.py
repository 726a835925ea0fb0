"""Writing a stream to its connection at once, from the publisher's side: no task, no queue.

A server may offer the connection of a request in the ASGI scope's extensions; ours does. What is
sent there is what `send` would have sent, framed for HTTP/1.1 by ourselves (chunks, RFC 9112,
section 7.1), since one framed chunk serves all who read the same. Only the body is written so: its
beginning (the head) and its end go through `send`, so that the server's own state stays true.

It knows the connection by a Protocol only: no server, no transport of a particular loop.
"""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from narration.reader import Reader

if TYPE_CHECKING:
    from narration.broadcast import Broadcast

EXTENSION: Final = "narration.connection"
"""The key in `scope["extensions"]` of a `Connection`."""

Scope = MutableMapping[str, Any]
Write = Callable[[bytes], object]
"""Sends bytes as they are; must not block, and may be called until the connection is lost."""

_logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Who is told what becomes of a connection that it has taken; on the loop's thread."""

    def paused(self) -> None:
        """The connection's buffer is full: write nothing."""
        ...

    def resumed(self) -> None:
        """It has room again."""
        ...

    def lost(self) -> None:
        """It is gone. Nothing else follows."""
        ...


class Connection(Protocol):
    """The connection of a request, as a server offers it."""

    def take(self, scope: Scope, watcher: Watcher) -> Write | None:
        """Have the body of the response to `scope` written by the caller.

        None where that can't be: the head has not been sent, or not as one of a chunked body, or
        the client is still sending or has gone. `watcher.paused` may be called before it returns.
        """
        ...

    def complete_after(self, ended: "asyncio.Future[bool]") -> None:
        """Let the application return now, and all that it holds for this request go.

        The server ends the body when `ended` is true; if it is false, or cancelled, the connection
        is cut off. From then on no watcher is told anything.
        """
        ...


def offered(scope: Scope) -> Connection | None:
    """The connection that the server of `scope` offers; None from most servers."""
    found: Connection | None = (scope.get("extensions") or {}).get(EXTENSION)
    return found


def chunk(data: bytes) -> bytes:
    """`data` (not empty: that is the end) as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Sender:
    """Writes what one reader gives to its connection; used on the loop's thread only.

    It reads the log by itself, one batch a turn of the loop, until it has caught up. Then it joins
    those who are at the same place, for whom `Broadcast` reads and writes. When its connection
    takes no more it leaves them, keeping its place, and nothing is read for it: so the log may move
    past it, which its reader then tells as a gap.

    `ended` is true when all was sent, and false when the stream was cut off: the connection was
    lost (then it is `gone`), or `abort`. Whoever waits may also cancel it, and has to `close`.
    """

    __slots__ = (
        "_broadcast",
        "_closing",
        "_is_paused",
        "_loop",
        "_scheduled",
        "_solo",
        "ended",
        "gone",
        "reader",
        "write",
    )

    def __init__(self, reader: Reader, broadcast: "Broadcast") -> None:
        self.reader = reader
        self.gone = False
        self.write: Write = _nowhere
        self._broadcast = broadcast
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[bool] = self._loop.create_future()
        self._is_paused = False
        self._scheduled = False
        self._closing = False
        self._solo = False

    def begin(self, write: Write) -> None:
        """Send until the reader is done, and the connection can take the end of the body."""
        self.write = write
        self.reader.sender = self
        self._pump()

    def close(self) -> None:
        """Send no more; may be called again."""
        self._closing = True
        self.reader.sender = None
        self.leave()

    def paused(self) -> None:
        """Write nothing until `resumed`."""
        self._is_paused = True
        self.leave()

    def resumed(self) -> None:
        """Go on from where it was."""
        self._is_paused = False
        self._schedule()

    def lost(self) -> None:
        """There is nobody any more."""
        self.gone = True
        self._end(whole=False)

    def abort(self) -> None:
        """Cut the stream off."""
        self._end(whole=False)

    def changed(self) -> None:
        """Something was said to this reader alone: it has to look for itself."""
        self.leave()
        self._schedule()

    def finish(self) -> None:
        """The reader is done."""
        self.leave()
        if not self._is_paused:  # else `resumed` comes here again
            self._end(whole=True)

    def beat(self) -> None:
        """Show that the connection lives, if nothing is under way on it."""
        if self._may_write() and not self._scheduled:
            self._send(self.reader.view.keep_alive)

    def leave(self) -> None:
        """Stop waiting with others, or alone."""
        self._broadcast.leave(self)
        if self._solo:
            self._solo = False
            self.reader.unwatch()

    def _pump(self) -> None:
        """Send one batch; then another one in the next turn, or wait for the log."""
        self._scheduled = False
        self.leave()  # whatever woke it: its place is its own while it reads
        if not self._may_write():
            return
        data = self.reader.pull()
        if data:
            self._send(data)
        if self.reader.done:
            self.finish()
        elif self._may_write():
            self._go_on()

    def _go_on(self) -> None:
        if self.reader.has_more():
            self._schedule()
        elif not self._broadcast.join(self):
            if self.reader.has_more():  # another thread writes
                self._schedule()
            else:  # it waits for a sequence that is to come
                self._solo = True
                self.reader.watch(self._pump)

    def _may_write(self) -> bool:
        return not (self._closing or self._is_paused)

    def _send(self, data: bytes) -> None:
        self.reader.wrote_at = self._loop.time()
        try:
            self.write(chunk(data))
        except Exception as error:  # noqa: BLE001 - as `Broadcast` does
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """A write has raised, which a transport does not do while its connection is there."""
        _logger.error("a connection could not be written to", exc_info=error)
        self.lost()

    def _schedule(self) -> None:
        if not self._scheduled and not self._closing:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def _end(self, *, whole: bool) -> None:
        self.close()
        if not self.ended.done():
            self.ended.set_result(whole)


def _nowhere(_data: bytes) -> None:
    raise RuntimeError("there is no connection yet")

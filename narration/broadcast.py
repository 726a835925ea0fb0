"""Readers of one log who see it alike and have read all of it: served together.

A burst is read, rendered and framed once, and the same bytes are written to each connection in one
loop: what a further reader costs is that write. It does not know HTTP or how a reader came to its
place: a `Sender` joins when it has caught up, and leaves when it can't keep up.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from narration.log import EvictedError, NarrationLog
from narration.reader import BATCH_BYTES, BATCH_EVENTS, StreamCounters
from narration.transport import Sender, Write, chunk
from narration.view import View, frames
from telemetry.names import StreamEvent

if TYPE_CHECKING:
    from narration.log import Entry

_END: Final = str(StreamEvent.END)


class Broadcast:
    """Those who are at `cursor` in `log`; on the loop's thread only.

    `wrote_at` is when it last wrote (the loop's time, seconds). It watches the log while there is
    anyone.
    """

    __slots__ = (
        "__weakref__",
        "_counters",
        "_log",
        "_members",
        "_now",
        "_unwatch",
        "_view",
        "cursor",
        "wrote_at",
    )

    def __init__(
        self,
        log: NarrationLog,
        view: View,
        *,
        counters: StreamCounters,
        now: Callable[[], float],
    ) -> None:
        self.cursor = log.next
        self.wrote_at = 0.0
        self._log = log
        self._view = view
        self._counters = counters
        self._now = now
        self._members: dict[Sender, Write] = {}
        self._unwatch: Callable[[], None] | None = None

    def join(self, sender: Sender) -> bool:
        """Serve `sender` from now on; False if it is not where the others are.

        The others are brought up to date first. Then it is behind only if another thread has
        written meanwhile, and before them only if it waits for a sequence that is to come.
        """
        self._told()
        if self._unwatch is None:  # there is nobody, or they all left just now
            # Watch before looking, so that what comes between the two is seen.
            self._unwatch = self._log.watch(self._told)
            self.cursor = self._log.next
        if sender.reader.cursor != self.cursor or self._log.forgotten:
            self._rest()
            return False
        self._members[sender] = sender.write
        sender.reader.share(self)
        return True

    def leave(self, sender: Sender) -> None:
        """Serve `sender` no more; its reader keeps the place."""
        if self._members.pop(sender, None) is not None:
            sender.reader.unshare()
            self._rest()

    def _rest(self) -> None:
        if not self._members and self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def _told(self) -> None:
        log = self._log
        while self._members:
            if log.forgotten:
                self._disperse()
                return
            try:
                entries = log.read(self.cursor, max_events=BATCH_EVENTS, max_bytes=BATCH_BYTES)
            except EvictedError:  # one burst was more than the log keeps
                self._disperse()
                return
            if not entries:
                return
            self._write(entries)
            if self.cursor == log.next and not log.forgotten:
                return  # most often: the look above, that there is nothing, costs as much again

    def _write(self, entries: "list[Entry]") -> None:
        data, shown = frames(self._view, self._log, self.cursor, entries)
        # Moved first: whoever leaves during its own write has been given these.
        self.cursor += len(entries)
        if shown:
            self._counters.delivered(shown * len(self._members))
            self.wrote_at = self._now()
            framed = chunk(data)
            for sender, write in list(self._members.items()):
                try:
                    write(framed)
                except Exception as error:  # noqa: BLE001 - one never stalls those behind it
                    sender.failed(error)
        if entries[-1].name == _END:
            for sender in list(self._members):
                sender.reader.done = True
                sender.finish()

    def _disperse(self) -> None:
        """Let each say for itself what is missing."""
        for sender in list(self._members):
            sender.changed()

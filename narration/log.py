"""The log of one story: numbered events in a ring, each encoded once.

It gives the numbers, keeps the newest events, within two limits, as bytes and tells its watchers,
at most once a burst, that there is more to read. Once it has ended it can be packed, and reads as
before. It does not know who reads, in which form, or what a job is, and it has no loop: how a
notification is scheduled is given to it. The server's ring of all jobs' state changes is one as
well; such a log has no end.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Final, NamedTuple

import msgspec

from narration.blocks import Blocks, packed, size_of, unpacked
from narration.encoding import encode
from narration.events import EndEvent, Event, level_of
from telemetry.names import Level

_logger = logging.getLogger(__name__)

Schedule = Callable[[Callable[[], None]], object]
"""Runs a callable soon, not now: `loop.call_soon`."""

LOG_BYTES: Final = 16 << 20
"""Bytes that one log keeps, where nothing else is said."""

ENTRY_OVERHEAD: Final = 120
"""Bytes that an entry takes beside its data: its tuple, the header of its bytes, its slot."""


class Entry(NamedTuple):
    """One event as it is kept; its sequence is its place."""

    name: str
    level: Level
    data: bytes


class Rendering(NamedTuple):
    """A run of entries in the form of one view, and how many of them the view shows."""

    data: bytes
    shown: int


_entries_decoder: Final = msgspec.msgpack.Decoder(list[Entry])

_GONE: Final = Entry("", Level.TRACE, b"")
"""In the place of an event that is not kept any more."""

_new_entry: Final = tuple.__new__  # a NamedTuple's own `__new__` costs twice as much


class EvictedError(LookupError):
    """Entries before `first` were read that the log no longer keeps."""

    def __init__(self, job_id: str, start: int, first: int) -> None:
        super().__init__(f"the log of {job_id} begins at {first}, not at {start}")
        self.job_id = job_id
        self.start = start
        self.first = first


class NarrationLog:
    """A ring of `limit` events (at least 1), written and read on one thread.

    It keeps at most `most_bytes` of them, but the newest one whatever its size.

    `first` is the oldest sequence that is kept, `next` the one after the newest that may be read
    (they are equal when nothing is kept); `size` is the memory of what is kept, in bytes. `number`
    is the sequence to be given next: here it is `next`.
    """

    __slots__ = (
        "_armed",
        "_base",
        "_entries",
        "_limit",
        "_most_bytes",
        "_packed",
        "_renderings",
        "_schedule",
        "_watchers",
        "ended",
        "epoch",
        "first",
        "forgotten",
        "job_id",
        "next",
        "number",
        "readers",
        "size",
    )

    def __init__(
        self,
        job_id: str,
        *,
        epoch: str,
        limit: int,
        schedule: Schedule,
        most_bytes: int = LOG_BYTES,
    ) -> None:
        if limit < 1:
            raise ValueError(f"a log keeps at least one event, not {limit}")
        self.job_id = job_id
        self.epoch = epoch
        self.first = 1
        self.next = 1
        self.number = 1
        self.size = 0
        self.ended = False
        self.forgotten = False
        self.readers = 0  # `narration.reader` counts them
        self._entries: list[Entry] = []
        self._base = 1  # the sequence in the first slot of the ring, in its first round
        self._packed: Blocks = ()
        self._limit = limit
        self._most_bytes = most_bytes
        self._schedule = schedule
        # None until they are needed: few of many logs have a reader.
        self._watchers: dict[object, Callable[[], None]] | None = None
        self._renderings: dict[Hashable, Rendering] | None = None
        self._armed = False

    @property
    def limit(self) -> int:
        """How many events it keeps."""
        return self._limit

    @property
    def watched(self) -> int:
        """How many watchers there are."""
        return len(self._watchers or ())

    @property
    def renderings(self) -> dict[Hashable, Rendering]:
        """What readers at one place share; `narration.view` owns what is in it."""
        if self._renderings is None:
            self._renderings = {}
        return self._renderings

    def append(self, event: Event) -> int | None:
        """Number, encode and keep `event`; its sequence, or None after the end or once forgotten.

        The oldest events make room when the ring is full. An `EndEvent` ends the log.
        """
        event.seq = self.number
        sequence = self.keep(str(event.name.value), level_of(event), encode(event))
        if sequence is not None and isinstance(event, EndEvent):
            self.ended = True
        return sequence

    def keep(self, name: str, level: Level, data: bytes) -> int | None:
        """Keep an event that is encoded with `number` as its sequence; as `append` otherwise."""
        if self.ended or self.forgotten:
            return None
        sequence = self.next
        self.next = self.number = sequence + 1
        entry = _new_entry(Entry, (name, level, data))
        if len(self._entries) < self._limit:
            self._entries.append(entry)
        else:
            if sequence - self.first == self._limit:  # else it was let go before
                self._let_go()
            self._entries[(sequence - self._base) % self._limit] = entry
        self.size += len(data) + ENTRY_OVERHEAD
        while self.size > self._most_bytes and self.first < sequence:
            self._let_go()
        if self._watchers:
            self._wake()
        return sequence

    def read(self, start: int, *, max_events: int, max_bytes: int) -> list[Entry]:
        """Entries from sequence `start` on: as many as fit both bounds, at least one if there is.

        Nothing beyond the newest; `EvictedError` before the oldest.
        """
        if start < self.first:
            raise EvictedError(self.job_id, start, self.first)
        entries = self._between(start, min(start + max_events, self.next))
        total = 0
        for index, entry in enumerate(entries):
            total += len(entry.data)
            if total > max_bytes and index:
                return entries[:index]
        return entries

    def entries(self) -> list[Entry]:
        """All that is kept, from `first` on."""
        return self._between(self.first, self.next)

    def pack(self) -> Iterator[None]:
        """Keep what there is in compressed blocks from now on, once it has ended; reads as before.

        Each step makes one block, in a millisecond at most; after the last one it is packed.
        """
        if not self.ended or self.forgotten or self._packed:
            return
        blocks: list[bytes] = []
        for block in packed(self.entries(), _weigh):
            blocks.append(block)
            yield
        if not self.forgotten:
            self._packed = tuple(blocks)
            self._entries = []
            self.size = size_of(self._packed)

    def event_id(self, sequence: int) -> str:
        """The id on the wire: `EPOCH.SEQ`, opaque to clients."""
        return f"{self.epoch}.{sequence}"

    def parse_id(self, text: str) -> int | None:
        """The sequence in an id that this log has given; None for any other text."""
        epoch, dot, digits = text.rpartition(".")
        if not dot or epoch != self.epoch or len(digits) > len(str(self.next)):
            return None
        if not (digits.isascii() and digits.isdigit()) or digits[0] == "0":
            return None
        sequence = int(digits)
        return sequence if sequence < self.next else None

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once a burst of events, and when forgotten; gives what stops it."""
        key = object()
        watchers = self._watchers = {} if self._watchers is None else self._watchers
        watchers[key] = callback

        def unwatch() -> None:
            watchers.pop(key, None)
            if not watchers:
                self._renderings = None

        return unwatch

    def forget(self) -> None:
        """Let go of all that is kept, for good; watchers are told."""
        self.forgotten = True
        self.first = self.next
        self._entries = []
        self._packed = ()
        self.size = 0
        self._renderings = None
        self._wake()

    def _let_go(self) -> None:
        """Keep the oldest event no more; its slot stays."""
        slot = (self.first - self._base) % self._limit
        self.size -= len(self._entries[slot].data) + ENTRY_OVERHEAD
        self._entries[slot] = _GONE
        self.first += 1

    def _between(self, start: int, stop: int) -> list[Entry]:
        count = stop - start
        if count <= 0:
            return []
        if self._packed:
            places = start - self.first, stop - self.first
            return unpacked(self._packed, *places, _entries_decoder)
        slot = (start - self._base) % self._limit
        found = self._entries[slot : slot + count]
        return found + self._entries[: count - len(found)] if len(found) < count else found

    def _wake(self) -> None:
        if self._watchers and not self._armed:
            self._armed = True
            self._schedule(self._notify)

    def _notify(self) -> None:
        self._armed = False  # cleared before telling: a later append arms again
        for callback in tuple((self._watchers or {}).values()):
            try:
                callback()
            except Exception:  # one watcher never stalls those behind it
                _logger.exception("a watcher of the log of %s failed", self.job_id)


class LockedLog(NarrationLog):
    """The same, written by several threads: for a story that was begun where no loop runs."""

    __slots__ = ("_lock",)

    def __init__(
        self,
        job_id: str,
        *,
        epoch: str,
        limit: int,
        schedule: Schedule,
        most_bytes: int = LOG_BYTES,
    ) -> None:
        super().__init__(job_id, epoch=epoch, limit=limit, schedule=schedule, most_bytes=most_bytes)
        self._lock = threading.Lock()

    def append(self, event: Event) -> int | None:
        """As `NarrationLog.append`."""
        with self._lock:
            return super().append(event)

    def read(self, start: int, *, max_events: int, max_bytes: int) -> list[Entry]:
        """As `NarrationLog.read`."""
        with self._lock:
            return super().read(start, max_events=max_events, max_bytes=max_bytes)

    def entries(self) -> list[Entry]:
        """As `NarrationLog.entries`."""
        with self._lock:
            return super().entries()

    def forget(self) -> None:
        """As `NarrationLog.forget`."""
        with self._lock:
            super().forget()


def _weigh(entry: Entry) -> int:
    return len(entry.data)

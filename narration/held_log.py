"""A log whose events are numbered when they are told, and can be read when they are released.

For a story that a store keeps: what a reader has seen must be there after a crash, so that an id
is never given to two events. Until they are released the newest events are held, within the limits
of the ring; more push out the oldest, as in the ring itself. It does not know what a store is:
`on_hold` is told that there is something to release, and somebody calls `release`.
"""

from collections.abc import Callable, Sequence

from narration.encoding import encode
from narration.events import EndEvent, Event, level_of
from narration.log import ENTRY_OVERHEAD, LOG_BYTES, Entry, NarrationLog, Schedule
from telemetry.names import Level, StreamEvent


class HeldLog(NarrationLog):
    """As `NarrationLog`; `number` runs ahead of `next` by what is held, which `size` has in it."""

    __slots__ = ("_held", "_held_bytes", "_on_hold", "ending")

    def __init__(
        self,
        job_id: str,
        *,
        epoch: str,
        limit: int,
        schedule: Schedule,
        on_hold: Callable[["HeldLog"], None],
        most_bytes: int = LOG_BYTES,
    ) -> None:
        super().__init__(job_id, epoch=epoch, limit=limit, schedule=schedule, most_bytes=most_bytes)
        self._held: list[Entry] = []
        self._held_bytes = 0
        self._on_hold = on_hold
        self.ending = False
        """Whether the last event has been told."""

    def append(self, event: Event) -> int | None:
        """As `NarrationLog.append`, held."""
        event.seq = self.number
        sequence = self.keep(str(event.name.value), level_of(event), encode(event))
        if sequence is not None and isinstance(event, EndEvent):
            self.ending = True
        return sequence

    def keep(self, name: str, level: Level, data: bytes) -> int | None:
        """As `NarrationLog.keep`, held."""
        if self.ending or self.forgotten:
            return None
        sequence = self.number
        self.number = sequence + 1
        held = self._held
        held.append(Entry(name, level, data))
        self._hold(_room(held[-1]))
        while len(held) > self._limit or (self._held_bytes > self._most_bytes and len(held) > 1):
            self._hold(-_room(held.pop(0)))
        self._on_hold(self)
        return sequence

    def held(self) -> tuple[int, list[Entry]]:
        """What waits to be released, and the sequence of its first event."""
        return self.number - len(self._held), [*self._held]

    def release(self, before: int) -> None:
        """Let the held events before the sequence `before` be read."""
        held, number = self._held, self.number
        sequence = number - len(held)
        released = held[: max(0, before - sequence)]
        if not released or self.forgotten:
            return
        if sequence > self.next:
            self._begin(sequence)  # some were pushed out: nothing before them is kept either
        self._held = held[len(released) :]
        for entry in released:
            self._hold(-_room(entry))
            super().keep(*entry)
        self.number = number
        self.ended = self.ending and not self._held

    def restore(self, entries: Sequence[Entry], following: int) -> None:
        """Begin with `entries`, which are those before the sequence `following`."""
        self._begin(following - len(entries))
        for name, level, data in entries:
            super().keep(name, level, data)
        self.next = self.number = following
        self.ended = self.ending = bool(entries) and entries[-1].name == StreamEvent.END

    def forget(self) -> None:
        """As `NarrationLog.forget`."""
        super().forget()
        self._held.clear()
        self._held_bytes = 0

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self.size += size

    def _begin(self, sequence: int) -> None:
        """Keep nothing before `sequence`."""
        self.size -= sum(map(_room, self.entries()))
        self._entries = []
        self.first = self.next = self._base = sequence


def _room(entry: Entry) -> int:
    return len(entry.data) + ENTRY_OVERHEAD

"""A log as a JSON stream of the Durable Streams protocol: offsets, segments, cursors.

The public draft is PROTOCOL.md of github.com/durable-streams/durable-streams; sections are its. An
item is an event, `{"event": …, …data}`; a segment is a run of them, a JSON array. It does not know
HTTP, whose a log is, or how long anyone waits: what a client holds is an offset, and what it gets
for one is the same for all, so that a cache between can answer most of them.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from narration.encoding import encode
from narration.log import Entry, EvictedError, NarrationLog
from narration.reader import Reader, StreamCounters
from narration.resume import Position, StreamQuery
from narration.view import Gap
from telemetry.clock import Clock
from telemetry.names import GapReason, StreamEvent

BEGINNING: Final = "-1"
"""The offset before all that is kept (section 8)."""

NOW: Final = "now"
"""The offset after all that is there (section 8)."""

SEGMENT_EVENTS: Final = 1000
"""Events in one segment at most."""

SEGMENT_BYTES: Final = 256 * 1024
"""Bytes of events in one segment, unless one event alone is larger."""

LIFETIME_S: Final = 60.0
"""Seconds after which a stream of events ends, so that its client comes back to a cache (10.2)."""

_DIGITS: Final = 16
_OFFSET: Final = re.compile(rf"([A-Za-z0-9.~-]{{1,64}})_([0-9]{{{_DIGITS}}})")
_CURSOR: Final = re.compile(r"[0-9]{1,15}")
_INTERVAL_S: Final = 20
_FIRST_INTERVAL_S: Final = 1_728_432_000
"""2024-10-09T00:00:00Z, from which the protocol counts intervals (section 10.1)."""

_MOST_JITTER_S: Final = 3600


class InvalidOffset(ValueError):  # noqa: N818 - named for what is wrong, as `InvalidStreamQuery`
    """Not an offset that this log has given, nor could have."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:100]!r} is not an offset of this stream")


class GoneOffset(LookupError):  # noqa: N818 - as above
    """An offset of events that are no longer kept, or of a story that is no longer told."""

    def __init__(self, text: str) -> None:
        super().__init__(f"what followed offset {text[:100]!r} is no longer kept here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to read: `start` is the next sequence, `missing` how many before it were dropped."""

    start: int
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A run of items as a JSON array.

    `up_to_date`: there is nothing more yet. `closed`: there is nothing more, ever. `tag` is equal
    for equal bytes with the same two (an ETag without its quotes).
    """

    body: bytes
    count: int
    next_offset: str
    up_to_date: bool
    closed: bool
    tag: str


def offset_of(log: NarrationLog, start: int) -> str:
    """The offset of whoever reads sequence `start` next; they sort as text as they do in time."""
    return f"{log.epoch}_{start - 1:0{_DIGITS}}"


def place_of(log: NarrationLog, offset: str) -> Place:
    """The place in `log` that `offset` means, as the log is now.

    `-1` is the oldest event that is kept, and says how many are not. Raises `GoneOffset` for what
    was dropped and for an offset of another epoch, `InvalidOffset` for any other text.
    """
    if offset == NOW:
        return Place(start=log.next)
    if offset == BEGINNING:
        return Place(start=log.first, missing=log.first - 1)
    found = _OFFSET.fullmatch(offset)
    if found is None:
        raise InvalidOffset(offset)
    start = int(found[2]) + 1
    if found[1] != log.epoch or start < log.first:
        raise GoneOffset(offset)
    if start > log.next:
        raise InvalidOffset(offset)
    return Place(start=start)


def segment(log: NarrationLog, place: Place) -> Segment:
    """What `log` has from `place` on, one segment of it at most.

    Raises `GoneOffset` where it is no longer kept.
    """
    start = place.start
    if log.forgotten:
        raise GoneOffset(offset_of(log, start))
    try:
        entries = log.read(start, max_events=SEGMENT_EVENTS, max_bytes=SEGMENT_BYTES)
    except EvictedError:
        raise GoneOffset(offset_of(log, start)) from None
    stop = start + len(entries)
    up_to_date = stop >= log.next
    closed = up_to_date and log.ended
    return Segment(
        body=_array(place, entries),
        count=len(entries),
        next_offset=offset_of(log, stop),
        up_to_date=up_to_date,
        closed=closed,
        tag=f"{log.epoch}:{start - 1 - place.missing}:{start - 1}:{stop - 1}{':c' * closed}",
    )


class Cursors:
    """Numbers that rise with time, by which a cache does not give one answer for ever (10.1)."""

    def __init__(self, clock: Clock, uniform: Callable[[], float]) -> None:
        self._clock = clock
        self._uniform = uniform

    def after(self, given: str | None) -> str:
        """The cursor of now, or a later one than `given` if that is not before it.

        `uniform` gives a number from 0 up to 1. What is not a number counts as none.
        """
        seconds = self._clock.wall_ns() // 1_000_000_000 - _FIRST_INTERVAL_S
        interval = max(seconds, 0) // _INTERVAL_S
        if given is None or not _CURSOR.fullmatch(given) or int(given) < interval:
            return str(interval)
        jitter_s = 1 + self._uniform() * (_MOST_JITTER_S - 1)
        return str(int(given) + max(1, int(jitter_s // _INTERVAL_S)))


class SegmentReader(Reader):
    """A reader of segments: each as an event `data`, and after it one `control` (section 5.8).

    It is told nothing of a gap or a drain: its stream ends, its client comes back with the last
    offset that it was given, and is answered there. It ends after `LIFETIME_S` as well, and is then
    `expired`.
    """

    shared = False

    __slots__ = ("_begun", "_control_cursor", "_missing", "_over", "expired")

    def __init__(
        self, log: NarrationLog, place: Place, *, cursor: str, counters: StreamCounters
    ) -> None:
        super().__init__(
            log, StreamQuery(), position=Position(start=place.start), counters=counters
        )
        self.expired = False
        self._begun = False
        self._control_cursor = cursor
        self._missing = place.missing
        self._over: asyncio.TimerHandle | None = None

    def attach(self) -> None:
        """As `Reader.attach`; the stream's time begins."""
        super().attach()
        if self._over is None:
            self._over = asyncio.get_running_loop().call_later(LIFETIME_S, self._expire)

    def close(self) -> None:
        """As `Reader.close`."""
        if self._over is not None:
            self._over.cancel()
            self._over = None
        super().close()

    @property
    def draining(self) -> bool:
        """Whether it ends because the server wants it to."""
        return self._stop is not None

    async def arrival(self) -> None:
        """Wait until there is something at its place, or nothing will come here any more."""
        self.watch()
        while not self.has_more():
            await self._wait()

    def pull(self) -> bytes:
        """What there is to send now: events and where they end; empty when there is nothing yet."""
        if self.done or self.log.forgotten:
            self.done = True
            return b""
        if self._begun and not self.has_more():
            return b""
        try:
            found = segment(self.log, Place(start=self._cursor, missing=self._missing))
        except GoneOffset:
            self.counters.slow_reader()
            self.counters.gap(GapReason.SLOW_READER)
            self.done = True
            return b""
        self.done = found.closed or (found.up_to_date and self._stop is not None)
        if self._begun and not found.count:
            return b""
        return self._framed(found)

    def _expire(self) -> None:
        self.expired = True
        self.drain("", 0)

    def _framed(self, found: Segment) -> bytes:
        told = b""
        if found.count or self._missing:
            told = b"event: data\ndata:%b\n\n" % found.body
        if found.count:
            self.counters.delivered(found.count)
        self._begun, self._missing = True, 0
        self._cursor += found.count
        # Without the space that is optional after the colon: the conformance suite has it so.
        return told + b"event: control\ndata:%b\n\n" % encode(self._control(found))

    def _control(self, found: Segment) -> dict[str, str | bool]:
        control: dict[str, str | bool] = {"streamNextOffset": found.next_offset}
        if found.closed:
            return control | {"upToDate": True, "streamClosed": True}
        control["streamCursor"] = self._control_cursor
        return control | {"upToDate": True} if found.up_to_date else control


def _array(place: Place, entries: Sequence[Entry]) -> bytes:
    # An event's data is an object that is never empty: its name goes in as the first member.
    items = [b'{"event":"%b",%b' % (entry.name.encode(), entry.data[1:]) for entry in entries]
    if place.missing:
        dropped = Gap(
            from_=place.start - place.missing, to=place.start - 1, reason=GapReason.EVICTED
        )
        items.insert(0, b'{"event":"%b",%b' % (StreamEvent.GAP.encode(), encode(dropped)[1:]))
    return b"[%b]" % b",".join(items)

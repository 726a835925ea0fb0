"""The spans of one story so far: running ones as they are, finished ones as compact bytes.

A running span is referred to, and read when asked for. A finished one is kept as it is until it is
worth the time to make it compact (10 µs a span): MessagePack of a positional array, of which a job
with 3 spans and 10 events takes about 1.5 KB, and less than half of that once they are packed, when
the story has ended. Only the consumer of the story calls here. It does not know how spans are
shown, nor what may be.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import StatusCode

from narration.blocks import Blocks, count_of, packed, size_of, unpacked
from narration.span_record import (
    EventRecord,
    SpanRecord,
    decode_record,
    encode_record,
    record_of,
)
from telemetry import names

LOOSE_LIMIT: Final = 64
"""Finished spans that are kept as they are; with more, all are made compact."""

OPEN_EVENTS_LIMIT: Final = 128
"""Events kept of a child process's running span; the SDK's own limit for a span."""

_records_decoder: Final = msgspec.msgpack.Decoder(list[bytes])
_LOOSE_BYTES: Final = 4_096  # what a finished span of a few events takes before it is compact


@dataclass(slots=True)
class _Open:
    """A span that runs in a child process: its start, and its events so far."""

    record: SpanRecord
    events: deque[EventRecord] = field(default_factory=lambda: deque(maxlen=OPEN_EVENTS_LIMIT))
    dropped: int = 0

    def snapshot(self) -> SpanRecord:
        return msgspec.structs.replace(
            self.record,
            events=[*self.record.events, *self.events],
            dropped_events=self.record.dropped_events + self.dropped,
        )


class SpanLog:
    """The spans of one story, at most `limit` of them; those beyond it are counted, not kept.

    The first spans are kept, so that what is kept hangs together. A quarter of the room is for our
    own spans alone: a handler with many spans must not push out the attempts after it.
    """

    __slots__ = ("_compact", "_limit", "_live", "_loose", "_packed", "_stored", "dropped")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._live: dict[tuple[int, int], Span | _Open] = {}
        # None until they are needed: a job that waits has one span, which runs.
        self._loose: list[ReadableSpan | SpanRecord] | None = None
        self._compact: list[bytes] | None = None
        self._packed: Blocks = ()
        self._stored = 0
        self.dropped = 0
        """Spans that were not kept."""

    def __len__(self) -> int:
        ended = len(self._loose or ()) + len(self._compact or ()) + count_of(self._packed)
        return len(self._live) + ended

    @property
    def size(self) -> int:
        """Bytes of the finished spans; an estimate of those that are not compact yet."""
        return size_of(self._packed) + self._stored + _LOOSE_BYTES * len(self._loose or ())

    def started(self, span: Span) -> None:
        """A span of this process has started; `span` is live."""
        scope = span.instrumentation_scope
        if self._has_room(scope.name if scope else ""):
            identity = span.get_span_context()
            self._live[identity.trace_id, identity.span_id] = span
        else:
            self.dropped += 1

    def ended(self, span: ReadableSpan) -> None:
        """A span of this process has ended."""
        context, scope = span.get_span_context(), span.instrumentation_scope
        if context is not None:
            self._end((context.trace_id, context.span_id), scope.name if scope else "", span)

    def flags(self, trace_id: int, span_id: int) -> int | None:
        """The trace flags of a span that runs; None for any other."""
        span = self._live.get((trace_id, span_id))
        if isinstance(span, _Open):
            return span.record.flags
        return None if span is None else span.get_span_context().trace_flags

    def started_record(self, record: SpanRecord) -> None:
        """A span of a child process has started."""
        if self._has_room(record.scope):
            self._live[record.key] = _Open(record)
        else:
            self.dropped += 1

    def event_record(self, trace_id: str, span_id: str, event: EventRecord) -> None:
        """An event was added to a running span of a child process; ids in hex."""
        span = self._live.get((int(trace_id, 16), int(span_id, 16)))
        if isinstance(span, _Open):
            span.dropped += len(span.events) == OPEN_EVENTS_LIMIT
            span.events.append(event)

    def ended_record(self, record: SpanRecord) -> None:
        """A span of a child process has ended; the record tells all of it."""
        self._end(record.key, record.scope, record)

    def close_open(
        self,
        at_ns: int,
        *,
        status: StatusCode = StatusCode.UNSET,
        description: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> list[SpanRecord]:
        """End the spans that a child process has left open when it died; gives their records.

        `attributes` are added to those that each span started with.
        """
        orphans = [span for span in self._live.values() if isinstance(span, _Open)]
        closed = []
        for span in orphans:
            record = span.snapshot()
            record = msgspec.structs.replace(
                record,
                end=max(at_ns, record.start),
                status=status.value,
                description=description,
                attributes={**record.attributes, **(attributes or {})},
            )
            self.ended_record(record)
            closed.append(record)
        return closed

    def records(self) -> list[SpanRecord]:
        """All spans that are kept, by their start; running ones with their events so far."""
        self.compact()
        running = [
            _packed(span.snapshot() if isinstance(span, _Open) else span)
            for span in self._live.values()
        ]
        kept = unpacked(self._packed, 0, count_of(self._packed), _records_decoder)
        stored = (*kept, *(self._compact or ()), *running)
        found = [decode_record(data) for data in stored if data is not None]
        return sorted(found, key=lambda record: record.start)

    def compact(self) -> None:
        """Make the finished spans compact."""
        loose, self._loose = self._loose, None
        if not loose:
            return
        if self._compact is None:
            self._compact = []
        for span in loose:
            data = _packed(span)
            if data is None:
                self.dropped += 1
            else:
                self._compact.append(data)
                self._stored += len(data)

    def finished(self) -> list[bytes]:
        """The finished spans that are kept, compact; `restore` takes them."""
        self.compact()
        kept = unpacked(self._packed, 0, count_of(self._packed), _records_decoder)
        return [*kept, *(self._compact or ())]

    def restore(self, compact: list[bytes]) -> None:
        """Begin with spans that `finished` gave."""
        self._compact = [*compact] or None
        self._stored = sum(map(len, compact))

    def pack(self) -> Iterator[None]:
        """Keep the finished spans in compressed blocks: once, when the story has ended.

        Each step makes one block, in a millisecond at most; after the last one they are packed. A
        span that ends later is kept beside them.
        """
        self.compact()
        compact = self._compact
        if self._packed or not compact:
            return
        blocks: list[bytes] = []
        for block in packed(tuple(compact), len):
            blocks.append(block)
            yield
        self._packed = tuple(blocks)
        self._compact = compact[count_of(self._packed) :] or None
        self._stored = sum(map(len, self._compact or ()))
        if not self._live:
            self._live = {}  # a dict that was filled keeps its room

    def _end(self, key: tuple[int, int], scope: str, span: ReadableSpan | SpanRecord) -> None:
        known = self._live.pop(key, None) is not None
        if known or self._has_room(scope):  # without room it was counted when it started
            if self._loose is None:
                self._loose = []
            self._loose.append(span)
            if len(self._loose) > LOOSE_LIMIT:
                self.compact()

    def _has_room(self, scope: str) -> bool:
        reserve = 0 if scope == names.SCOPE else self._limit // 4
        return len(self) < self._limit - reserve


def _packed(span: ReadableSpan | SpanRecord) -> bytes | None:
    """`span` as bytes; None for one whose parts are so odd that they raise when looked at."""
    try:
        return encode_record(span if isinstance(span, SpanRecord) else record_of(span))
    except Exception:  # noqa: BLE001 - one span of the user's must not cost the others
        return None

"""Narration as log-based events: each message that a log keeps is an OpenTelemetry log record too.

For backends that drop the events of spans. A message is formatted once, by `narration.formatting`;
what is emitted is the message that was stored, so that stream and backend tell the same. For that
the story writes to a log in front of its own: `narration.express`, which makes bytes and no
message, leaves such a story alone. A message so costs six times as much on the event loop, half of
it the SDK's record. This module does not know where the records go. They are never narrated again:
`narration.logs` leaves their logger out, and they are emitted outside of any story.
"""

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from narration.events import Event, NarrationEvent
from narration.log import Schedule
from narration.spans import SpanLog
from narration.story import HANDOFF_LIMIT, Log
from telemetry import names
from telemetry.clock import Clock, SystemClock, wall_ns_of
from telemetry.names import Level

_logger = logging.getLogger(__name__)

_NOWHERE: Final = set_span_in_context(INVALID_SPAN, Context())
_NS_LIMIT: Final = 1 << 64
"""Times from here on, and those before 1970, are none in OTLP."""


class LogEvents:
    """Emits messages by `logger`, a little later, in the order in which they were stored.

    Later, since a message is stored while the span that it was said on is locked, and a processor
    of the application's might want that span. More than `HANDOFF_LIMIT` that wait are dropped and
    told to `dropped`, by their number. What `logger` raises is logged, once.
    """

    def __init__(
        self,
        logger: Logger,
        *,
        clock: Clock | None = None,
        dropped: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._logger = logger
        self._clock = clock or SystemClock()
        self._dropped = dropped
        self._waiting: deque[tuple[NarrationEvent, TraceFlags]] = deque()
        self._armed: Schedule | None = None
        self._complained = False

    def in_front_of(self, log: Log, spans: SpanLog, schedule: Schedule | None) -> "EmittingLog":
        """A log whose messages are emitted; at once where no loop can `schedule` that."""
        return EmittingLog(log, spans, self, schedule)

    def take(self, event: NarrationEvent, flags: TraceFlags, schedule: Schedule | None) -> None:
        """Have `event` emitted; `flags` are those of its span."""
        if len(self._waiting) >= HANDOFF_LIMIT:
            self._dropped(1)
            return
        self._waiting.append((event, flags))
        if schedule is None:
            self._emit_waiting()
        elif self._armed is not schedule:  # a loop that has ended leaves its own behind
            self._armed = schedule
            schedule(self._emit_waiting)

    def _emit_waiting(self) -> None:
        self._armed = None  # cleared before emitting: a later message arms again
        token = otel_context.attach(Context())  # what a processor says is not told in a story
        try:
            for _ in range(len(self._waiting)):
                with contextlib.suppress(IndexError):  # another thread was faster
                    self._emit(*self._waiting.popleft())
        finally:
            otel_context.detach(token)

    def _emit(self, event: NarrationEvent, flags: TraceFlags) -> None:
        try:
            self._logger.emit(record_of(event, flags, observed_ns=self._clock.wall_ns()))
        except Exception:  # an application's own processor may raise whatever it likes
            self._dropped(1)
            if not self._complained:
                self._complained = True
                _logger.exception("a message was not emitted as a log record; told once")


class EmittingLog:
    """A log in front of another: what that one keeps is emitted as well.

    `spans` are those of the same story: they know the flags of a message's span.
    """

    __slots__ = ("_events", "_flags", "_log", "_schedule", "_spans")

    def __init__(
        self, log: Log, spans: SpanLog, events: LogEvents, schedule: Schedule | None
    ) -> None:
        self._log = log
        self._spans = spans
        self._events = events
        self._schedule = schedule
        self._flags: tuple[str | None, TraceFlags] = (None, TraceFlags.get_default())

    def append(self, event: Event) -> int | None:
        """As the log behind it; a message that it kept is emitted."""
        sequence = self._log.append(event)
        if sequence is not None and isinstance(event, NarrationEvent):
            self._events.take(event, self._flags_of(event), self._schedule)
        return sequence

    def _flags_of(self, event: NarrationEvent) -> TraceFlags:
        """The flags of the span of `event` while it runs, else those last seen in its trace."""
        if event.trace_id is not None and event.span_id is not None:
            found = self._spans.flags(int(event.trace_id, 16), int(event.span_id, 16))
            if found is not None:
                self._flags = (event.trace_id, TraceFlags(found))
        trace_id, flags = self._flags
        return flags if trace_id == event.trace_id else TraceFlags.get_default()


def record_of(event: NarrationEvent, flags: TraceFlags, *, observed_ns: int) -> LogRecord:
    """`event` as a log record, seen at `observed_ns` (Unix nanoseconds)."""
    level = Level[event.level.upper()]
    at_ns = wall_ns_of(event.at)
    place = _NOWHERE
    if event.trace_id is not None and event.span_id is not None:
        trace_id, span_id = int(event.trace_id, 16), int(event.span_id, 16)
        span = SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)
        place = set_span_in_context(NonRecordingSpan(span), Context())
    return LogRecord(
        timestamp=at_ns if 0 <= at_ns < _NS_LIMIT else None,
        observed_timestamp=observed_ns,
        context=place,
        severity_number=SeverityNumber(level.value),
        severity_text=level.name,
        body=event.text,
        attributes=_attributes(event),
        event_name=names.LOG_EVENT,
    )


def _attributes(event: NarrationEvent) -> dict[str, Any]:
    """The fields of a message by their own names, and what is ours to say of it."""
    attributes = {
        **event.fields,
        names.JOB_ID: event.job_id,
        names.JOB_ATTEMPT: event.attempt,
        names.NARRATION_SEQ: event.seq,
        names.NARRATION_KIND: event.kind,
        names.NARRATION_ACTOR: event.actor,
        names.NARRATION_ACTION: event.action,
    }
    if isinstance(event.cute, str):
        attributes[names.NARRATION_CUTE] = event.cute
    if isinstance(event.story, str):
        attributes[names.NARRATION_STORY] = event.story
    if isinstance(event.truncated, dict) and "bytes" in event.truncated:
        attributes[names.NARRATION_LENGTH] = event.truncated["bytes"]
    return attributes

"""What a child process says, told in the server as if it had been said here.

Runs on the loop's thread. Messages are formatted, masked and filtered here, by the one function
that formats; the child's spans join the story's, are exported from here, and are closed here if a
kill has left them open. It does not know how frames come.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span
from opentelemetry.trace import StatusCode, TraceFlags

from app.engine import results
from app.engine.runners import frames
from app.engine.runners.ending import Ending, Raised, Returned, remote_error
from app.engine.runners.work import Work
from app.handlers.context import JobCancelled, Reject, RetryLater
from narration import formatting
from narration.events import NarrationEvent
from narration.formatting import Said
from narration.scope import Scope
from narration.span_record import (
    EventRecord,
    SpanRecord,
    decode_record,
    record_of,
    to_readable,
)
from narration.spans import SpanLog
from narration.story import SpanSink, Story
from telemetry import names
from telemetry.names import DropReason, Outcome

_logger = logging.getLogger(__name__)

_LOST: Final = "lost"


class Feed:
    """Takes the frames of one attempt; `ending` is what the child said of its end, if it did."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._scope = work.scope
        self._told_in = _scope_for_records(work.scope)
        self._span = work.variables.run(trace.get_current_span)
        self._resource = getattr(self._span, "resource", None) or Resource.get_empty()
        self._open: dict[str, ReadableSpan] = {}
        self.ending: Ending | None = None

    def take(self, frame: frames.ChildFrame) -> None:
        """Tell one frame; one that cannot be told is logged and counted."""
        try:
            self._takes[type(frame)](self, frame)
        except Exception:
            self._scope.story.counters.dropped(DropReason.ERROR)
            _logger.exception("a frame of job %s could not be told", self._work.job.id)

    def close_lost_spans(self) -> None:
        """End the spans that the child has left open: it died, or a thread of it did not end."""
        spans = self._scope.story.spans
        if not isinstance(spans, SpanLog):
            return
        closed = spans.close_open(
            self._scope.story.clock.wall_ns(),
            status=StatusCode.ERROR,
            description=_LOST,
            attributes={names.ERROR_TYPE: _LOST, names.JOB_OUTCOME: Outcome.LOST.value},
        )
        for record in closed:
            self._export(record)
        self._open.clear()

    # --- the job ---------------------------------------------------------------------------------

    def _progressed(self, frame: frames.Progressed) -> None:
        self._work.job.progress(frame.done, frame.total, frame.text)

    def _output(self, frame: frames.Output) -> None:
        self._work.job.output(msgspec.json.decode(frame.chunk))

    def _checkpointed(self, frame: frames.Checkpointed) -> None:
        self._work.job.checkpoint(msgspec.json.decode(frame.value))

    def _result(self, frame: frames.Result) -> None:
        self.ending = self.ending or Returned(msgspec.json.decode(frame.value))

    def _failure(self, frame: frames.Failure) -> None:
        self.ending = self.ending or Raised(_exception(frame))

    # --- spans -----------------------------------------------------------------------------------

    def _span_started(self, frame: frames.SpanStarted) -> None:
        span = to_readable(decode_record(frame.record), self._resource)
        self._open[_id(span)] = span
        self._scope.story.put(formatting.span_started, self._told_in, span)

    def _span_event(self, frame: frames.SpanEventAdded) -> None:
        span = self._open.get(frame.span_id)
        if span is not None:
            self._scope.story.put(self._tell_span_event, span, frame)

    def _tell_span_event(
        self, span: ReadableSpan, frame: frames.SpanEventAdded
    ) -> NarrationEvent | None:
        spans = self._scope.story.spans
        if isinstance(spans, SpanLog):
            spans.event_record(frame.trace_id, frame.span_id, frame.event)
        return formatting.span_event(self._told_in, span, _event(frame.event))

    def _span_ended(self, frame: frames.SpanEnded) -> None:
        record = decode_record(frame.record)
        span = to_readable(record, self._resource)
        self._open.pop(record.span_id, None)
        self._scope.story.put(formatting.span_ended, self._told_in, span)
        self._export(record)

    def _export(self, record: SpanRecord) -> None:
        if record.flags & TraceFlags.SAMPLED:
            self._work.export(to_readable(record, self._resource))

    # --- the attempt's own span: an event on it is told by its tap -------------------------------

    def _attempt_event(self, frame: frames.AttemptEvent) -> None:
        if self._span.is_recording():
            self._span.add_event(frame.name, frame.attributes, frame.at)
        else:  # tracing is off: nothing taps it
            said = Said(at_ns=frame.at, action=frame.name, attributes=frame.attributes)
            self._scope.story.put(formatting.narration, self._scope, said)

    def _attempt_attributes(self, frame: frames.AttemptAttributes) -> None:
        self._span.set_attributes(frame.attributes)

    # --- other words -----------------------------------------------------------------------------

    def _narrated(self, frame: frames.Narrated) -> None:
        self._scope.story.put(formatting.narration, self._scope, frame.said)

    def _logged(self, frame: frames.Logged) -> None:
        self._scope.story.put(formatting.log_record, self._scope, frame.line)

    def _printed(self, frame: frames.Printed) -> None:
        self._scope.story.put(formatting.process_line, self._scope, frame.line)

    def _dropped(self, frame: frames.Dropped) -> None:
        self._scope.story.counters.dropped(frame.reason, frame.count)

    _takes: Final[dict[type, Callable[["Feed", Any], None]]] = {
        frames.Progressed: _progressed,
        frames.Output: _output,
        frames.Checkpointed: _checkpointed,
        frames.Result: _result,
        frames.Failure: _failure,
        frames.SpanStarted: _span_started,
        frames.SpanEventAdded: _span_event,
        frames.SpanEnded: _span_ended,
        frames.AttemptEvent: _attempt_event,
        frames.AttemptAttributes: _attempt_attributes,
        frames.Narrated: _narrated,
        frames.Logged: _logged,
        frames.Printed: _printed,
        frames.Dropped: _dropped,
    }


class _Records:
    """Keeps a child's spans as records, which a `SpanLog` can close when the child has died."""

    def __init__(self, spans: SpanSink) -> None:
        self._spans = spans

    def started(self, span: Span) -> None:
        """A span of the child has started."""
        if isinstance(self._spans, SpanLog):
            self._spans.started_record(record_of(span))

    def ended(self, span: ReadableSpan) -> None:
        """A span of the child has ended."""
        self._spans.ended(span)


def _scope_for_records(scope: Scope) -> Scope:
    """`scope` with a story that formats alike and keeps spans as records; nothing is put there."""
    told = scope.story
    story = Story(
        told.job_id,
        log=told.log,
        spans=_Records(told.spans),
        clock=told.clock,
        counters=told.counters,
        mask=told.mask,
        max_message_bytes=told.max_message_bytes,
        consumer=None,
    )
    return Scope(story=story, actor=scope.actor, attempt=scope.attempt, disclosure=scope.disclosure)


def _exception(frame: frames.Failure) -> BaseException:
    match frame.kind:
        case "reject":
            return Reject(frame.message)
        case "retry_later":
            return RetryLater(frame.after_s or 0.0, frame.message)
        case "cancelled":
            return JobCancelled(frame.message)
        case "unfit":
            return results.UnfitResultError(frame.message)
        case _:
            return remote_error(
                module=frame.module,
                name=frame.name,
                types=tuple(frame.types),
                message=frame.message,
                traceback=frame.traceback,
            )


def _event(record: EventRecord) -> Event:
    return Event(record.name, record.attributes, record.at)


def _id(span: ReadableSpan) -> str:
    context = span.get_span_context()
    return trace.format_span_id(context.span_id if context else 0)

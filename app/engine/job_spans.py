"""The spans of a job itself: their names, parents, attributes and status; no metric, no message.

A failed attempt is an error, a failed job too; a job that succeeds in the end is not, nor is a
cancelled one: its status stays unset, and its outcome is an attribute (OpenTelemetry, "Recording
errors"; messaging conventions for the attempt).
"""

import logging
import sys
import traceback
from typing import Any, Final

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TraceFlags

from app.handlers.operation import Operation
from app.jobs.model import AttemptError, AttemptRecord, Job
from app.store.protocol import Provenance
from narration.scope import Scope, with_scope
from telemetry import names
from telemetry.known_spans import named
from telemetry.names import Outcome, State
from telemetry.past_spans import PastSpans
from telemetry.propagation import parentage, read

_NO_BAGGAGE: Final = Context()

_logger = logging.getLogger(__name__)

_WORDS_LIMIT: Final = 65_536
"""Characters of an exception's words that its span carries."""

FAILED_OUTCOMES: Final = frozenset({Outcome.ERROR, Outcome.TIMEOUT, Outcome.REJECTED, Outcome.LOST})


class JobSpans:
    """Starts and ends them; times are nanoseconds since the Unix epoch."""

    def __init__(self, tracer: trace.Tracer, *, link_parent: bool) -> None:
        self._tracer = tracer
        self._past = PastSpans(tracer)
        self._link_parent = link_parent

    def start_job(
        self, job: Job, scope: Scope, parent: Context | None, retry_of: SpanContext | None
    ) -> tuple[Span, Context]:
        """The job's span, under the caller's or linked to it; and the caller's baggage."""
        return self._start_job(self._tracer, job, scope, parent or Context(), retry_of)

    def resume_job(self, job: Job, scope: Scope, provenance: Provenance) -> tuple[Span, Context]:
        """The same span again, of a job that an earlier process has begun."""
        again = provenance.retry_of
        retry_of = None
        if again is not None:
            trace_id, span_id, flags = again
            retry_of = SpanContext(
                int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(flags)
            )
        tracer = named(self._tracer, job.trace_id, job.span_id)
        return self._start_job(tracer, job, scope, read(provenance.carrier), retry_of)

    def resume_attempt(self, job: Job, operation: Operation, scope: Scope, under: Context) -> Span:
        """The same span again, of the attempt that an earlier process left running."""
        left = job.attempts[-1]
        tracer = named(self._tracer, job.trace_id, left.span_id)
        return self._start(
            tracer,
            names.SPAN_ATTEMPT,
            context=with_scope(scope, under),
            kind=SpanKind.CONSUMER,
            attributes=_attempt_attributes(job, operation),
            start_time=left.started_ns,
        )

    def start_attempt(
        self, job: Job, operation: Operation, scope: Scope, under: Context, at_ns: int
    ) -> tuple[Span, Context]:
        """The span of the attempt that begins; and the context that the handler runs in."""
        context = with_scope(scope, under)
        span = self._start(
            self._tracer,
            names.SPAN_ATTEMPT,
            context=context,
            kind=SpanKind.CONSUMER,
            attributes=_attempt_attributes(job, operation),
            start_time=at_ns,
        )
        return span, trace.set_span_in_context(span, context)

    def tell_past(
        self, name: str, job: Job, under: Span, *, attempt: int, end_ns: int, took_s: float
    ) -> ReadableSpan | None:
        """A wait or a backoff that is over: it took `took_s` seconds; None where tracing is off."""
        return self._past.tell(
            name,
            under,
            {names.JOB_ID: job.id, names.JOB_ATTEMPT: attempt},
            start_ns=end_ns - int(took_s * 1e9),
            end_ns=end_ns,
        )

    def _start_job(
        self,
        tracer: trace.Tracer,
        job: Job,
        scope: Scope,
        parent: Context,
        retry_of: SpanContext | None,
    ) -> tuple[Span, Context]:
        base, links = parentage(parent, link=self._link_parent)
        if retry_of is not None and retry_of.is_valid:
            links.append(Link(retry_of))
        span = self._start(
            tracer,
            sys.intern(f"{names.SPAN_JOB} {job.operation}"),
            context=with_scope(scope, base),
            links=links,
            attributes=_attributes(job),
            start_time=job.created_ns,
        )
        return span, base if baggage.get_all(base) else _NO_BAGGAGE

    def _start(self, tracer: trace.Tracer, name: str, **options: Any) -> Span:
        """A new span; one that records nothing where the application's own processors raise."""
        try:
            return tracer.start_span(name, **options)
        except Exception:
            _logger.exception("span %r could not be started", name)
            return trace.INVALID_SPAN


def end_attempt(
    span: Span, record: AttemptRecord, outcome: Outcome, error: BaseException | None, at_ns: int
) -> None:
    """End an attempt's span with its outcome; the exception, if there was one, goes on it first."""
    attributes = {names.JOB_OUTCOME: outcome.value}
    if outcome in FAILED_OUTCOMES:
        told = record.error
        if error is not None:
            _record_exception(span, error, told, at_ns)
        attributes[names.ERROR_TYPE] = told.type if told else outcome.value
        span.set_status(StatusCode.ERROR, told.message if told else outcome.value)
    span.set_attributes(attributes)
    _end(span, at_ns)


def end_job(span: Span, job: Job, at_ns: int) -> None:
    """End a job's span with its state."""
    attributes: dict[str, Any] = {
        names.JOB_STATE: job.state.value,
        names.JOB_ATTEMPT: job.attempt,
    }
    if job.failure is not None:
        attributes[names.JOB_REASON] = job.failure.reason.value
        attributes[names.ERROR_TYPE] = job.failure.type
        span.set_status(StatusCode.ERROR, job.failure.message)
    elif job.cancel is not None and job.state is State.CANCELLED:
        attributes[names.JOB_CANCEL_ORIGIN] = job.cancel.origin.value
        attributes[names.JOB_CANCEL_ABANDONED] = job.cancel.abandoned
    span.set_attributes(attributes)
    _end(span, at_ns)


def _end(span: Span, at_ns: int) -> None:
    """End a span; what the application's own processors raise ends no job."""
    try:
        span.end(at_ns)
    except Exception:
        _logger.exception("a processor failed on the end of a span")


def _cut(error: BaseException) -> dict[str, str]:
    """What is recorded of an exception that says too much: the SDK bounds neither, and has both."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return {
        names.EXCEPTION_MESSAGE: str(error)[:_WORDS_LIMIT],
        names.EXCEPTION_STACKTRACE: frames[-_WORDS_LIMIT:],
    }


def _record_exception(
    span: Span, error: BaseException, told: AttemptError | None, at_ns: int
) -> None:
    try:
        long = len(str(error)) > _WORDS_LIMIT
        attributes = _cut(error) if long else None  # in place of what the SDK has made
        span.record_exception(error, attributes, at_ns)
    except BaseException:  # noqa: BLE001  # a user's `__str__` may raise anything
        if told is not None:
            attributes = {names.EXCEPTION_TYPE: told.type, names.EXCEPTION_MESSAGE: told.message}
            span.add_event(names.EXCEPTION_EVENT, attributes, at_ns)


def _attempt_attributes(job: Job, operation: Operation) -> dict[str, Any]:
    function = operation.function
    return {
        names.JOB_ID: job.id,
        names.JOB_OPERATION: job.operation,
        names.JOB_ATTEMPT: job.attempt,
        names.CODE_FUNCTION_NAME: f"{function.__module__}.{function.__qualname__}",
        names.MESSAGING_SYSTEM: names.SCOPE,
        names.MESSAGING_OPERATION_NAME: "run",
        names.MESSAGING_OPERATION_TYPE: "process",
        names.MESSAGING_DESTINATION_NAME: job.operation,
        names.MESSAGING_MESSAGE_ID: job.id,
    }


def _attributes(job: Job) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        names.JOB_ID: job.id,
        names.JOB_OPERATION: job.operation,
        names.JOB_PRIORITY: job.policy.priority.value,
    }
    if job.retry_of is not None:
        attributes[names.JOB_RETRY_OF] = job.retry_of
    if job.policy.concurrency_key is not None:
        attributes[names.JOB_CONCURRENCY_KEY] = job.policy.concurrency_key
    for key, value in job.tags.items():
        attributes[f"{names.JOB_TAG_PREFIX}{key}"] = value
    return attributes

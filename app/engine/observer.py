"""The one place that decides which spans, metrics and messages a transition means.

The engine calls one method a transition, on the loop's thread. A lifecycle moment is an event on
the job's span; the tap turns it into a message like any other event. It knows nothing of queues,
timers or HTTP.
"""

from contextvars import Context as ContextVars
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode

from app.engine.entry import Entry, Observation
from app.handlers.operation import Operation
from app.jobs.model import AttemptRecord, Job
from narration import formatting
from narration.events import EndEvent, Event, StateEvent
from narration.scope import Disclosure, Scope, with_scope
from narration.story import NARRATOR, Story
from telemetry import names
from telemetry.clock import Clock, rfc3339
from telemetry.metrics import Metrics
from telemetry.names import CancelOrigin, Moment, Outcome, Reason, State, TimeoutKind
from telemetry.propagation import parentage

_FAILED_OUTCOMES: Final = frozenset(
    {Outcome.ERROR, Outcome.TIMEOUT, Outcome.REJECTED, Outcome.LOST}
)


class Observer:
    """Turns transitions into spans, metrics and lifecycle messages."""

    def __init__(
        self, *, tracer: trace.Tracer, metrics: Metrics, clock: Clock, link_parent: bool
    ) -> None:
        self._tracer = tracer
        self._metrics = metrics
        self._clock = clock
        self._link_parent = link_parent

    # --- a job is made -----------------------------------------------------------------------

    def created(
        self,
        job: Job,
        operation: Operation,
        story: Story,
        *,
        parent: Context | None,
        retry_of: SpanContext | None,
    ) -> Observation:
        """Start the job's span under (or linked to) the caller's, and say where it is told."""
        disclosure = Disclosure(first_party=operation.first_party, allowed=operation.disclose)
        base, links = parentage(parent or Context(), link=self._link_parent)
        if retry_of is not None and retry_of.is_valid:
            links.append(Link(retry_of))
        scope = Scope(story=story, actor=NARRATOR, attempt=0, disclosure=disclosure)
        base = with_scope(scope, base)
        span = self._tracer.start_span(
            f"{names.SPAN_JOB} {job.operation}",
            context=base,
            links=links,
            attributes=_job_attributes(job),
            start_time=job.created_ns,
        )
        self._metrics.submitted(job.operation, job.policy.priority)
        return Observation(
            scope=scope,
            span=span,
            context=trace.set_span_in_context(span, base),
            disclosure=disclosure,
        )

    def deferred(self, entry: Entry) -> None:
        """The job waits for its first stream."""
        policy = entry.job.policy
        self._moment(
            entry,
            Moment.DEFERRED,
            {
                names.JOB_OPERATION: entry.job.operation,
                names.JOB_PRIORITY: policy.priority.value,
                names.JOB_TIMEOUT_S: policy.attach_timeout_s,
            },
        )
        self._tell_state(entry)

    def queued(self, entry: Entry, position: int) -> None:
        """The job waits for a slot."""
        self._moment(
            entry,
            Moment.QUEUED,
            {
                names.JOB_OPERATION: entry.job.operation,
                names.JOB_PRIORITY: entry.job.policy.priority.value,
                names.JOB_QUEUE_POSITION: position,
            },
        )
        self._tell_state(entry)

    # --- an attempt ----------------------------------------------------------------------------

    def attempt_started(self, entry: Entry, waited_s: float) -> tuple[Scope, ContextVars]:
        """Tell the wait, start the attempt's span; give what the handler speaks and runs in."""
        job, seen = entry.job, entry.observation
        now = self._clock.wall_ns()
        self._past_span(entry, names.SPAN_WAIT, now - int(waited_s * 1e9), now)
        scope = Scope(
            story=entry.story,
            actor=job.operation,
            attempt=job.attempt,
            disclosure=seen.disclosure,
        )
        context = with_scope(scope, seen.context)
        span = self._tracer.start_span(
            names.SPAN_ATTEMPT,
            context=context,
            kind=SpanKind.CONSUMER,
            attributes={
                names.JOB_ID: job.id,
                names.JOB_OPERATION: job.operation,
                names.JOB_ATTEMPT: job.attempt,
                names.MESSAGING_SYSTEM: names.SCOPE,
                names.MESSAGING_OPERATION_TYPE: "process",
                names.MESSAGING_DESTINATION_NAME: job.operation,
                names.MESSAGING_MESSAGE_ID: job.id,
            },
            start_time=now,
        )
        seen.attempt_span = span
        identity = span.get_span_context()
        self._metrics.waited(
            job.operation, job.policy.priority, waited_s, identity.trace_id, identity.span_id, job.id
        )
        self._moment(
            entry,
            Moment.STARTED,
            {
                names.JOB_OPERATION: job.operation,
                names.JOB_ATTEMPT: job.attempt,
                names.JOB_MAX_ATTEMPTS: job.policy.retry.max_attempts,
                names.JOB_WAIT_S: waited_s,
            },
        )
        self._tell_state(entry)
        variables = ContextVars()
        variables.run(otel_context.attach, trace.set_span_in_context(span, context))
        return scope, variables

    def attempt_timed_out(self, entry: Entry, kind: TimeoutKind, limit_s: float) -> None:
        """A limit ran out while the attempt ran; it is asked to stop."""
        self._metrics.timed_out(entry.job.operation, kind)
        self._moment(
            entry,
            Moment.ATTEMPT_TIMED_OUT,
            {
                names.JOB_ATTEMPT: entry.job.attempt,
                names.JOB_MAX_ATTEMPTS: entry.job.policy.retry.max_attempts,
                names.JOB_TIMEOUT_KIND: kind.value,
                names.JOB_TIMEOUT_S: limit_s,
            },
        )

    def attempt_ended(
        self, entry: Entry, record: AttemptRecord, error: BaseException | None, ran_s: float
    ) -> None:
        """Close the attempt's span with its outcome; an error is recorded on it first."""
        job, outcome = entry.job, record.outcome or Outcome.LOST
        span, entry.observation.attempt_span = entry.observation.attempt_span, None
        failed = outcome in _FAILED_OUTCOMES
        if span is not None:
            if span.is_recording():
                self._close_attempt(span, record, outcome, error)
            identity = span.get_span_context()
            self._metrics.ran(
                job.operation, outcome, ran_s, identity.trace_id, identity.span_id, job.id
            )
        self._metrics.attempted(job.operation, outcome)
        if failed:
            self._moment(
                entry,
                Moment.ATTEMPT_FAILED,
                {
                    names.JOB_ATTEMPT: record.number,
                    names.JOB_MAX_ATTEMPTS: job.policy.retry.max_attempts,
                    names.JOB_OUTCOME: outcome.value,
                    names.JOB_RUN_S: ran_s,
                    names.ERROR_TYPE: record.error.type if record.error else outcome.value,
                    names.JOB_ERROR: record.error.message if record.error else outcome.value,
                },
            )

    def abandoned(self, entry: Entry) -> None:
        """The handler would not stop; its slot is free, and it is no longer listened to."""
        self._metrics.abandoned(entry.job.operation)
        self._moment(
            entry,
            Moment.ABANDONED,
            {names.JOB_OPERATION: entry.job.operation, names.JOB_ATTEMPT: entry.job.attempt},
        )

    # --- between attempts, and the end ------------------------------------------------------------

    def retry_scheduled(self, entry: Entry, delay_s: float, reason: Outcome) -> None:
        """The next attempt has a time; the wait until then becomes one span, after the fact."""
        job = entry.job
        entry.observation.backoff_from_ns = self._clock.wall_ns()
        self._metrics.retried(job.operation, reason)
        self._moment(
            entry,
            Moment.RETRY_SCHEDULED,
            {
                names.JOB_ATTEMPT: job.attempt,
                names.JOB_MAX_ATTEMPTS: job.policy.retry.max_attempts,
                names.JOB_OUTCOME: reason.value,
                names.JOB_DELAY_S: delay_s,
                names.JOB_NEXT_RETRY_AT: rfc3339(job.next_retry_ns or 0),
            },
        )
        self._tell_state(entry)

    def backoff_ended(self, entry: Entry) -> None:
        """Tell the backoff as a span, if there was one."""
        begun, entry.observation.backoff_from_ns = entry.observation.backoff_from_ns, None
        if begun is not None:
            self._past_span(entry, names.SPAN_BACKOFF, begun, self._clock.wall_ns())

    def cancel_requested(self, entry: Entry, origin: CancelOrigin, before: State) -> None:
        """Somebody asked for a cancellation while the job was `before`."""
        self._moment(
            entry,
            Moment.CANCEL_REQUESTED,
            {names.JOB_CANCEL_ORIGIN: origin.value, names.JOB_STATE: before.value},
        )
        if not entry.job.finished:
            self._tell_state(entry)

    def waiting_timed_out(self, entry: Entry, kind: TimeoutKind) -> None:
        """A limit ran out while the job waited."""
        self._metrics.timed_out(entry.job.operation, kind)

    def finished(self, entry: Entry) -> None:
        """Tell the outcome, close the job's span, and end the story: nothing comes after."""
        job = entry.job
        self.backoff_ended(entry)
        self._metrics.finished(job.operation, job.state, job.reason)
        if job.cancel is not None and job.state is State.CANCELLED:
            self._metrics.cancelled(job.operation, job.cancel.origin)
            if entry.stopped_after_s is not None:
                self._metrics.stopped_after(
                    job.operation, job.cancel.origin, entry.stopped_after_s
                )
        self._moment(entry, *_final_moment(entry))
        if entry.observation.span.is_recording():
            self._close_job(entry.observation.span, job)
        self._tell_state(entry)
        entry.story.put(self._end_event, job)

    # --- the means ----------------------------------------------------------------------------

    def _close_attempt(
        self, span: Span, record: AttemptRecord, outcome: Outcome, error: BaseException | None
    ) -> None:
        span.set_attribute(names.JOB_OUTCOME, outcome.value)
        if outcome in _FAILED_OUTCOMES:
            if error is not None:
                span.record_exception(error, timestamp=self._clock.wall_ns())
            told = record.error
            span.set_attribute(names.ERROR_TYPE, told.type if told else outcome.value)
            span.set_status(StatusCode.ERROR, told.message if told else outcome.value)
        span.end(self._clock.wall_ns())

    def _close_job(self, span: Span, job: Job) -> None:
        """A failed job is an error; a cancelled one, and one that succeeded late, is not."""
        span.set_attribute(names.JOB_STATE, job.state.value)
        span.set_attribute(names.JOB_ATTEMPT, job.attempt)
        if job.failure is not None:
            span.set_attribute(names.JOB_REASON, job.failure.reason.value)
            span.set_attribute(names.ERROR_TYPE, job.failure.type)
            span.set_status(StatusCode.ERROR, job.failure.message)
        elif job.cancel is not None and job.state is State.CANCELLED:
            span.set_attribute(names.JOB_CANCEL_ORIGIN, job.cancel.origin.value)
            span.set_attribute(names.JOB_CANCEL_ABANDONED, job.cancel.abandoned)
        span.end(self._clock.wall_ns())

    def _past_span(self, entry: Entry, name: str, start_ns: int, end_ns: int) -> None:
        job = entry.job
        span = self._tracer.start_span(
            name,
            context=entry.observation.context,
            start_time=start_ns,
            attributes={names.JOB_ID: job.id, names.JOB_ATTEMPT: job.attempt},
        )
        span.end(end_ns)

    def _moment(self, entry: Entry, moment: Moment, attributes: dict[str, Any]) -> None:
        """An event on the job's span; where tracing is off, the same words without a span."""
        seen, now = entry.observation, self._clock.wall_ns()
        if seen.span.is_recording():
            seen.span.add_event(moment.value, attributes, timestamp=now)
        else:
            entry.story.put(formatting.lifecycle, seen.scope, moment, attributes, now)

    def _tell_state(self, entry: Entry) -> None:
        entry.story.put(self._state_event, entry.job)
        entry.announce(entry.job)

    def _state_event(self, job: Job) -> Event:
        return StateEvent(
            at=rfc3339(self._clock.wall_ns()),
            state=job.state.value,
            reason=job.reason.value if job.reason else None,
            attempt=job.attempt,
            next_retry_at=rfc3339(job.next_retry_ns) if job.next_retry_ns else None,
        )

    def _end_event(self, job: Job) -> Event:
        return EndEvent(
            at=rfc3339(self._clock.wall_ns()),
            state=job.state.value,
            reason=job.reason.value if job.reason else None,
            result=job.result_json(),
            failure=job.failure_fields(),
            marker=marker(job),
        )


def marker(job: Job) -> str:
    """The Rust original's last word: `[DONE]`, `[CANCELLED]` or `[ERROR] message`."""
    if job.state is State.COMPLETED:
        return "[DONE]"
    if job.state is State.CANCELLED:
        return "[CANCELLED]"
    return f"[ERROR] {job.failure.message if job.failure else job.reason}"


def _job_attributes(job: Job) -> dict[str, Any]:
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


def _final_moment(entry: Entry) -> tuple[Moment, dict[str, Any]]:
    job = entry.job
    about: dict[str, Any] = {names.JOB_OPERATION: job.operation}
    if job.state is State.COMPLETED:
        return Moment.COMPLETED, {
            **about,
            names.JOB_ATTEMPT: job.attempt,
            names.JOB_RUN_S: entry.last_run_s,
        }
    if job.state is State.CANCELLED and job.cancel is not None:
        return Moment.CANCELLED, {
            **about,
            names.JOB_CANCEL_ORIGIN: job.cancel.origin.value,
            names.JOB_CANCEL_ABANDONED: job.cancel.abandoned,
        }
    kind = entry.timeout_kind
    if job.reason is Reason.EXPIRED and kind is not None:
        return Moment.EXPIRED, {
            **about,
            names.JOB_TIMEOUT_KIND: kind.value,
            names.JOB_TIMEOUT_S: limit_s(job, kind),
        }
    failure = job.failure
    return Moment.FAILED, {
        **about,
        names.JOB_REASON: failure.reason.value if failure else Reason.ERROR.value,
        names.JOB_ATTEMPT: job.attempt,
        names.ERROR_TYPE: failure.type if failure else Reason.ERROR.value,
        names.JOB_ERROR: failure.message if failure else "",
    }


def limit_s(job: Job, kind: TimeoutKind) -> float:
    """The limit of `kind` in seconds, as the job's policy has it."""
    policy = job.policy
    limits = {
        TimeoutKind.ATTEMPT: policy.timeout_s,
        TimeoutKind.QUEUE: policy.queue_timeout_s,
        TimeoutKind.ATTACH: policy.attach_timeout_s,
        TimeoutKind.DEADLINE: policy.deadline_s,
    }
    return limits[kind] or 0.0

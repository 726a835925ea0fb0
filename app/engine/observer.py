"""The one place that decides which spans, metrics and messages a transition means.

The engine calls one method a transition, on the loop's thread. A lifecycle moment is an event on
the job's span; the tap turns it into a message like any other event. What a span or a moment
carries is `job_spans`' and `moments`'. It knows nothing of queues, timers or HTTP.
"""

from collections.abc import Callable
from contextvars import Context as ContextVars

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from app.engine import moments, states
from app.engine.counters import JobCounters
from app.engine.entry import Entry, Observation
from app.engine.job_spans import FAILED_OUTCOMES, JobSpans, end_attempt, end_job
from app.engine.loop_watch import Blocked
from app.engine.moments import Told
from app.handlers.operation import Operation
from app.jobs.model import AttemptRecord, Job
from app.store.protocol import Provenance
from narration import formatting
from narration.hub import OpenStory
from narration.log import NarrationLog
from narration.scope import Disclosure, Scope
from narration.story import NARRATOR, Story
from telemetry import names
from telemetry.clock import Clock, rfc3339
from telemetry.names import CancelOrigin, Outcome, State, TimeoutKind


class Observer:
    """Turns transitions into spans, metrics and lifecycle messages.

    `told_to` gives the story that the words of a job go to, its own or one that nobody hears; its
    states, its output and its end are always in its own.
    """

    def __init__(
        self,
        *,
        tracer: trace.Tracer,
        metrics: JobCounters,
        clock: Clock,
        link_parent: bool,
        told_to: Callable[[Story], Story],
    ) -> None:
        self._spans = JobSpans(tracer, link_parent=link_parent)
        self._told_to = told_to
        self._metrics = metrics
        self._clock = clock
        self._disclosures: dict[str, Disclosure] = {}

    # --- a job is made, and waits -------------------------------------------------------------

    def created(
        self,
        job: Job,
        operation: Operation,
        story: Story,
        *,
        parent: Context | None,
        retry_of: SpanContext | None,
    ) -> Observation:
        """Start the job's span, and say in which scope the job itself speaks."""
        disclosure = self.disclosure(operation)
        scope = Scope(story=self._told_to(story), actor=NARRATOR, attempt=0, disclosure=disclosure)
        span, baggage = self._spans.start_job(job, scope, parent, retry_of)
        self._metrics.submitted(job.operation, job.policy.priority)
        return Observation(scope=scope, span=span, baggage=baggage)

    def resumed(
        self, job: Job, operation: Operation, story: Story, provenance: Provenance
    ) -> Observation:
        """Take up the span of a job of an earlier process, and that of an attempt it left."""
        scope = Scope(
            story=self._told_to(story),
            actor=NARRATOR,
            attempt=0,
            disclosure=self.disclosure(operation),
        )
        span, baggage = self._spans.resume_job(job, scope, provenance)
        seen = Observation(scope=scope, span=span, baggage=baggage)
        now_ns, now = self._clock.wall_ns(), self._clock.monotonic()
        if job.queued_ns is not None:
            seen.waiting_from_mono = job.queued_mono
        elif job.state is State.RETRYING and job.attempts and job.attempts[-1].finished_ns:
            seen.backoff_from_mono = now - max(0, now_ns - job.attempts[-1].finished_ns) / 1e9
        elif job.state in (State.RUNNING, State.CANCELLING):
            seen.attempt_span = self._spans.resume_attempt(job, operation, scope, seen.context)
        return seen

    def deferred(self, entry: Entry) -> None:
        """The job waits for its first stream."""
        self._tell_with_state(entry, moments.deferred(entry.job))

    def queued(self, entry: Entry, position: int) -> None:
        """The job waits for a slot."""
        entry.observation.waiting_from_mono = self._clock.monotonic()
        self._tell_with_state(entry, moments.queued(entry.job, position))

    def waiting_timed_out(self, entry: Entry, kind: TimeoutKind) -> None:
        """A limit ran out while the job waited."""
        self._metrics.timed_out(entry.job.operation, kind)

    # --- an attempt ---------------------------------------------------------------------------

    def attempt_started(self, entry: Entry, waited_s: float) -> tuple[Scope, ContextVars]:
        """Tell the wait, start the attempt's span; give what the handler speaks and runs in."""
        job, seen = entry.job, entry.observation
        self._wait_ended(entry, job.attempt)
        now = self._clock.wall_ns()  # read after the wait has ended: the two spans never overlap
        scope = Scope(
            story=seen.scope.story,
            actor=job.operation,
            attempt=job.attempt,
            disclosure=seen.scope.disclosure,
        )
        span, context = self._spans.start_attempt(job, entry.operation, scope, seen.context, now)
        seen.attempt_span = span
        at = span.get_span_context()
        self._metrics.waited(
            job.operation, job.policy.priority, waited_s, at.trace_id, at.span_id, job.id
        )
        self._tell_with_state(entry, moments.started(job, waited_s))
        variables = ContextVars()
        variables.run(otel_context.attach, context)
        return scope, variables

    def attempt_timed_out(self, entry: Entry, kind: TimeoutKind) -> None:
        """A limit ran out while the attempt ran; it is asked to stop."""
        self._metrics.timed_out(entry.job.operation, kind)
        self._tell(entry, moments.attempt_timed_out(entry.job, kind))

    def attempt_ended(
        self, entry: Entry, record: AttemptRecord, error: BaseException | None, ran_s: float
    ) -> None:
        """The work has stopped, with the outcome in `record`."""
        job, outcome = entry.job, record.outcome or Outcome.LOST
        span, entry.observation.attempt_span = entry.observation.attempt_span, None
        if span is not None:
            if span.is_recording():
                ended_ns = record.finished_ns or self._clock.wall_ns()
                end_attempt(span, record, outcome, error, ended_ns)
            at = span.get_span_context()
            self._metrics.ran(job.operation, outcome, ran_s, at.trace_id, at.span_id, job.id)
        self._metrics.attempted(job.operation, outcome)
        if outcome in FAILED_OUTCOMES:
            self._tell(entry, moments.attempt_failed(job, record, outcome, ran_s))

    def loop_blocked(self, entry: Entry, blocked: Blocked) -> None:
        """The code of the job kept the loop from running; it runs again."""
        if blocked.scope is not None:
            told = moments.loop_blocked(
                entry.job,
                attempt=blocked.scope.attempt,
                late_s=blocked.late_s(),
                function=blocked.function,
                stack="\n".join(blocked.stack),
            )
            self._tell(entry, told)

    def abandoned(self, entry: Entry) -> None:
        """The handler would not stop; its slot is free, and it is no longer listened to."""
        self._metrics.abandoned(entry.job.operation)
        self._tell(entry, moments.abandoned(entry.job))

    # --- between attempts, and the end --------------------------------------------------------

    def retry_scheduled(self, entry: Entry, delay_s: float, outcome: Outcome) -> None:
        """The next attempt has a time; the wait until then becomes one span, after the fact."""
        entry.observation.backoff_from_mono = self._clock.monotonic()
        self._metrics.retried(entry.job.operation, outcome)
        self._tell_with_state(entry, moments.retry_scheduled(entry.job, delay_s, outcome))

    def backoff_ended(self, entry: Entry) -> None:
        """Tell the backoff as a span, if there was one."""
        seen = entry.observation
        since, seen.backoff_from_mono = seen.backoff_from_mono, None
        self._tell_past(names.SPAN_BACKOFF, entry, since, entry.job.attempt)

    def cancel_requested(self, entry: Entry, origin: CancelOrigin, before: State) -> None:
        """Somebody asked for a cancellation while the job was `before`."""
        told, now = moments.cancel_requested(origin, before), self._clock.wall_ns()
        self._tell(entry, told, now)
        if not entry.job.finished:
            self._tell_state(entry, now)

    def finished(self, entry: Entry) -> None:
        """Tell the outcome, close the job's span, and end the story: nothing comes after."""
        job, span = entry.job, entry.observation.span
        self.backoff_ended(entry)
        self._wait_ended(entry, job.attempt + 1)
        self._metrics.finished(job.operation, job.state, job.reason)
        if job.cancel is not None and job.state is State.CANCELLED:
            self._metrics.cancelled(job.operation, job.cancel.origin)
            if entry.stopped_after_s is not None:
                self._metrics.stopped_after(job.operation, job.cancel.origin, entry.stopped_after_s)
        told = moments.finished(job, timeout_kind=entry.timeout_kind, run_s=entry.last_run_s)
        now = self._clock.wall_ns()
        self._tell(entry, told, now)
        if span.is_recording():
            end_job(span, job, now)
        self._tell_state(entry, now)
        entry.story.put(moments.end_event, job, now)

    def end_recovered(self, job: Job, told: OpenStory, *, state_told: bool) -> None:
        """A job of an earlier process had finished, and its end had not been told."""
        at_ns = job.finished_ns or self._clock.wall_ns()
        if not state_told:
            told.story.put(_keep_state, told.log, job, rfc3339(at_ns))
        told.story.put(moments.end_event, job, at_ns)

    def disclosure(self, operation: Operation) -> Disclosure:
        """What clients may see of the operation's jobs: made once for all of them."""
        found = self._disclosures.get(operation.name)
        if found is None:
            found = Disclosure(first_party=operation.first_party, allowed=operation.disclose)
            self._disclosures[operation.name] = found
        return found

    def _wait_ended(self, entry: Entry, attempt: int) -> None:
        """Tell the wait for `attempt` as a span, if there was one."""
        seen = entry.observation
        since, seen.waiting_from_mono = seen.waiting_from_mono, None
        self._tell_past(names.SPAN_WAIT, entry, since, attempt)

    def _tell_past(self, name: str, entry: Entry, since: float | None, attempt: int) -> None:
        """A span of what began at `since`, monotonic: the wall clock may have stepped."""
        if since is None:
            return
        seen = entry.observation
        span = self._spans.tell_past(
            name,
            entry.job,
            seen.span,
            attempt=attempt,
            end_ns=self._clock.wall_ns(),
            took_s=self._clock.monotonic() - since,
        )
        if span is not None:
            seen.scope.story.spans.ended(span)

    def _tell_with_state(self, entry: Entry, told: Told) -> None:
        """A moment, and the state that the job is in from then on."""
        now = self._clock.wall_ns()
        self._tell(entry, told, now)
        self._tell_state(entry, now)

    def _tell(self, entry: Entry, told: Told, now: int | None = None) -> None:
        """An event on the job's span; where tracing is off, the same words without a span."""
        seen = entry.observation
        now = self._clock.wall_ns() if now is None else now
        moment, attributes = told
        if seen.span.is_recording():
            seen.span.add_event(moment.value, attributes, timestamp=now)
        else:
            seen.scope.story.put(formatting.lifecycle, seen.scope, moment, attributes, now)

    def _tell_state(self, entry: Entry, now: int) -> None:
        at = rfc3339(now)
        entry.story.put(_keep_state, entry.log, entry.job, at)
        entry.announce(entry.job, at)


def _keep_state(log: NarrationLog, job: Job, at: str) -> None:
    """Store the state in the story: as bytes already, which gives the story nothing to encode."""
    log.keep(states.STATE, states.PASSES, states.in_story(job, log.number, at))

"""Running attempts: dispatch, start, stop, end.

An attempt is a value's way through small steps: start, perhaps a stop, ended, outcome, verdict,
next. A stop has a cause, recorded before it is asked for; what will not stop within the grace is
abandoned: its slot is freed, and that is narrated and counted. Nothing here awaits.
"""

import logging
from collections.abc import Callable
from contextvars import Context as ContextVars
from functools import partial

from app.engine.core import Core
from app.engine.entry import Entry, RunningAttempt, StopCause
from app.engine.outcomes import (
    ABANDONED,
    ERROR_BYTES,
    KILLED,
    UNHEARD,
    Ended,
    classify,
    overruled,
)
from app.engine.runners import start
from app.engine.runners.ending import Ending, Raised
from app.engine.sink import AttemptSink
from app.handlers.context import JobContext
from app.jobs import job as jobs
from app.jobs.model import AttemptError, AttemptRecord, Failure
from app.jobs.verdict import Fail, Retry, Stop, Succeed, decide
from narration.masking import cut, masker
from narration.scope import Scope
from telemetry.names import Outcome, TimeoutKind

_logger = logging.getLogger(__name__)


class Execution:
    """Takes jobs from the queue into slots and sees their attempts to an end."""

    def __init__(
        self,
        core: Core,
        *,
        finish: Callable[[Entry], None],
        wait_for_retry: Callable[[Entry, float], None],
    ) -> None:
        self._core = core
        self._finish = finish
        self._wait_for_retry = wait_for_retry
        self._dispatch_armed = False
        secrets = [each.get_secret_value() for each in core.settings.secrets]
        # By no shape of secrets: a result is what its caller asked for, a token perhaps.
        self._mask = masker(secrets, patterns=()) if secrets else None

    # --- into a slot --------------------------------------------------------------------------

    def wake(self) -> None:
        """Dispatch soon: once for any number of calls."""
        if not self._dispatch_armed:
            self._dispatch_armed = True
            self._core.loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Start what may start, best first, while slots are free."""
        self._dispatch_armed = False
        core = self._core
        while core.free_slots > 0 and not core.draining:
            job_id = core.queue.pop()
            if job_id is None:
                return
            core.free_slots -= 1
            self._start(core.entries[job_id])

    def _start(self, entry: Entry) -> None:
        core, job = self._core, entry.job
        entry.disarm("queue")
        now = core.clock.monotonic()
        waited_s = max(0.0, now - job.queued_mono)
        jobs.start(job, now_ns=core.clock.wall_ns())
        job.progress = None
        scope, variables = core.observer.attempt_started(entry, waited_s)
        sink = AttemptSink(
            entry,
            clock=core.clock,
            loop=core.loop,
            progress_interval_s=core.settings.progress_interval_s,
            changed=core.journal.changed,
        )
        attempt = RunningAttempt(started_mono=now, sink=sink)
        entry.current = attempt
        if core.journal.durable:
            jobs.name_attempt(job, entry.observation.attempt_span_id())
        # Not before it is on record: an attempt that nobody knows of might run twice.
        core.journal.then(partial(self._launch, entry, attempt, sink, scope, variables))

    def _launch(
        self,
        entry: Entry,
        attempt: RunningAttempt,
        sink: AttemptSink,
        scope: Scope,
        variables: ContextVars,
    ) -> None:
        """Have the handler run, unless it was asked to stop meanwhile."""
        core, job = self._core, entry.job
        if entry.current is not attempt:
            return
        attempt.launched = True
        context = JobContext(
            id=job.id,
            attempt=job.attempt,
            tags=dict(job.tags),
            metadata=job.metadata,
            last_checkpoint=jobs.last_checkpoint(job),
            sink=sink,
        )
        timeout_s = job.policy.timeout_s
        if timeout_s is not None:
            attempt.timer = core.loop.call_later(timeout_s, self._timed_out, entry, attempt)
        try:
            attempt.running = start(
                entry.operation,
                job.params,
                context,
                variables=variables,
                story_scope=scope,
                resources=core.resources,
                clock=core.clock,
                on_end=lambda ending: self._ended(entry, attempt, ending),
                export=core.export,
                max_result_bytes=core.settings.max_result_bytes,
            )
        except Exception as error:  # no thread or process to be had: the attempt ends as failed
            _logger.exception("attempt %d of job %s could not be started", job.attempt, job.id)
            core.loop.call_soon(self._ended, entry, attempt, Raised(error))

    # --- asked to stop ------------------------------------------------------------------------

    def _timed_out(self, entry: Entry, attempt: RunningAttempt) -> None:
        attempt.timer = None
        if entry.current is attempt and attempt.stop_cause is None:
            self._tell_timeout(entry, TimeoutKind.ATTEMPT)
            self.stop(entry, StopCause.ATTEMPT_TIMEOUT)

    def deadline_passed(self, entry: Entry) -> None:
        """The job's total time is up while an attempt runs."""
        attempt = entry.current
        if attempt is not None and attempt.stop_cause is not StopCause.CANCEL:
            self._tell_timeout(entry, TimeoutKind.DEADLINE)
            self.stop(entry, StopCause.DEADLINE)

    def _tell_timeout(self, entry: Entry, kind: TimeoutKind) -> None:
        self._core.observer.attempt_timed_out(entry, kind)

    def stop(self, entry: Entry, cause: StopCause) -> None:
        """Ask the running attempt to stop.

        A later cause outranks one that came before it, except for a shutdown: what was being
        stopped anyway has its own end.
        """
        attempt = entry.current
        if attempt is None:
            return
        asked_before = attempt.stop_cause is not None
        if asked_before and cause is StopCause.SHUTDOWN:
            return
        attempt.stop_cause = cause
        if not attempt.launched:  # its start is not on record yet: there is nothing to stop
            self._close(entry, attempt, UNHEARD)
            return
        attempt.stop_requested_mono = self._core.clock.monotonic()
        if asked_before:
            return
        grace_s = self._core.settings.cancel_grace_s
        attempt.grace = self._core.loop.call_later(grace_s, self._grace_over, entry, attempt)
        if attempt.running is not None:
            attempt.running.request_stop(cause.value)

    def _grace_over(self, entry: Entry, attempt: RunningAttempt) -> None:
        """The handler is still there: a process is killed, anything else is abandoned."""
        attempt.grace = None
        if entry.current is not attempt:
            return
        if not attempt.killed and attempt.running is not None and attempt.running.kill():
            attempt.killed = True  # its end comes through `_ended`; if it does not, it is abandoned
            grace_s = self._core.settings.cancel_grace_s
            attempt.grace = self._core.loop.call_later(grace_s, self._grace_over, entry, attempt)
            return
        if attempt.stop_cause is StopCause.SHUTDOWN:
            self._close(entry, attempt, UNHEARD)  # it goes with the process
            return
        self._core.observer.abandoned(entry)
        self._close(entry, attempt, ABANDONED)

    # --- ended --------------------------------------------------------------------------------

    def _ended(self, entry: Entry, attempt: RunningAttempt, ending: Ending) -> None:
        """The work has really stopped: all that it said is in the story before its end is."""
        if entry.current is not attempt:
            return  # it was abandoned
        entry.story.drain()
        ended = classify(
            ending,
            max_result_bytes=self._core.settings.max_result_bytes,
            mask=self._mask,
            tidy=lambda text: cut(entry.story.mask(text), ERROR_BYTES)[0],
        )
        self._close(entry, attempt, ended)

    def _close(self, entry: Entry, attempt: RunningAttempt, ended: Ended) -> None:
        core, job = self._core, entry.job
        attempt.disarm()
        attempt.running = None  # it holds what holds the attempt: no work for the collector
        attempt.sink.close()
        entry.current = None
        ended = overruled(ended, attempt.stop_cause, entry)
        record = jobs.end_attempt(
            job,
            outcome=ended.outcome,
            error=ended.error,
            now_ns=core.clock.wall_ns(),
            span_id=entry.observation.attempt_span_id(),
        )
        entry.last_run_s = core.clock.monotonic() - attempt.started_mono
        core.observer.attempt_ended(entry, record, ended.exception, entry.last_run_s)
        core.queue.release(job.operation, job.policy.concurrency_key, tenant=job.tenant)
        core.free_slots += 1
        self._follow(entry, ended, record, attempt.stop_cause, attempt.stop_requested_mono)
        self.wake()

    def cut(self, entry: Entry, *, at_ns: int) -> None:
        """An earlier process died while the attempt ran, and was last heard of at `at_ns`."""
        core, job = self._core, entry.job
        started_ns = job.attempts[-1].started_ns
        error = AttemptError(type=Outcome.LOST.value, message=KILLED)
        record = jobs.end_attempt(
            job, outcome=Outcome.LOST, error=error, now_ns=max(started_ns, at_ns)
        )
        entry.last_run_s = max(0, at_ns - started_ns) / 1e9
        core.observer.attempt_ended(entry, record, None, entry.last_run_s)
        self._follow(entry, Ended(outcome=Outcome.LOST, error=error), record)

    def _follow(
        self,
        entry: Entry,
        ended: Ended,
        record: AttemptRecord,
        cause: StopCause | None = None,
        stop_requested_mono: float | None = None,
    ) -> None:
        """Do what the verdict says; the attempt was asked to stop for `cause`, if it was."""
        core, job = self._core, entry.job
        now_ns = core.clock.wall_ns()
        verdict = decide(
            job,
            ended.outcome,
            random=core.random,
            exception_types=ended.exception_types,
            retry_after_s=ended.retry_after_s,
            abandoned=ended.abandoned,
            deadline_passed=cause is StopCause.DEADLINE,
            left_s=job.left_s(core.clock.monotonic()),
        )
        match verdict:
            case Retry(delay_s=delay_s, reason=reason):
                jobs.schedule_retry(job, next_retry_ns=now_ns + int(delay_s * 1e9))
                core.observer.retry_scheduled(entry, delay_s, reason)
                self._wait_for_retry(entry, delay_s)
                return
            case Succeed():
                jobs.succeed(job, result=ended.result, now_ns=now_ns)
            case Stop():
                jobs.stop(job, abandoned=ended.abandoned, now_ns=now_ns)
                if stop_requested_mono is not None:
                    entry.stopped_after_s = core.clock.monotonic() - stop_requested_mono
            case Fail() as verdict:
                entry.timeout_kind = verdict.timeout
                passed = cause is StopCause.DEADLINE  # counted when it passed
                if verdict.timeout is TimeoutKind.DEADLINE and not passed:
                    core.observer.waiting_timed_out(entry, TimeoutKind.DEADLINE)
                jobs.fail(job, _failure(verdict, record), now_ns=now_ns)
        self._finish(entry)


def _failure(verdict: Fail, record: AttemptRecord) -> Failure:
    """The job's failure: the verdict's reason, the last attempt's words unless it has its own."""
    error = record.error
    message = error.message if error else verdict.reason.value
    if verdict.message is not None:
        message = f"{message}; {verdict.message}" if error else verdict.message
    return Failure(
        reason=verdict.reason, type=error.type if error else verdict.reason.value, message=message
    )

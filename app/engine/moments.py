"""What a transition is called in the story, and what it carries: pure functions of a job's data.

Each gives a lifecycle moment with its attributes, or the `end` event. How a moment is
phrased is `narration.phrases`'; when it is told is the observer's.
"""

from typing import Any

from app.jobs.model import AttemptRecord, Job
from narration.events import EndEvent
from telemetry import names
from telemetry.clock import rfc3339
from telemetry.names import CancelOrigin, Moment, Outcome, Reason, State, TimeoutKind

Told = tuple[Moment, dict[str, Any]]


def deferred(job: Job) -> Told:
    """It waits for its first stream."""
    return Moment.DEFERRED, {
        names.JOB_OPERATION: job.operation,
        names.JOB_PRIORITY: job.policy.priority.value,
        names.JOB_TIMEOUT_S: job.policy.attach_timeout_s,
    }


def queued(job: Job, position: int) -> Told:
    """It waits for a slot, with `position` jobs before it."""
    return Moment.QUEUED, {
        names.JOB_OPERATION: job.operation,
        names.JOB_PRIORITY: job.policy.priority.value,
        names.JOB_QUEUE_POSITION: position,
    }


def started(job: Job, waited_s: float) -> Told:
    """An attempt begins."""
    return Moment.STARTED, {
        names.JOB_OPERATION: job.operation,
        **_attempt(job, job.attempt),
        names.JOB_WAIT_S: waited_s,
    }


def attempt_timed_out(job: Job, kind: TimeoutKind) -> Told:
    """A limit ran out while an attempt ran."""
    return Moment.ATTEMPT_TIMED_OUT, {
        **_attempt(job, job.attempt),
        names.JOB_TIMEOUT_KIND: kind.value,
        names.JOB_TIMEOUT_S: limit_s(job, kind),
    }


def attempt_failed(job: Job, record: AttemptRecord, outcome: Outcome, ran_s: float) -> Told:
    """An attempt ended in failure."""
    error = record.error
    return Moment.ATTEMPT_FAILED, {
        **_attempt(job, record.number),
        names.JOB_OUTCOME: outcome.value,
        names.JOB_RUN_S: ran_s,
        names.ERROR_TYPE: error.type if error else outcome.value,
        names.JOB_ERROR: error.message if error else outcome.value,
    }


def loop_blocked(job: Job, *, attempt: int, late_s: float, function: str, stack: str) -> Told:
    """The code of an attempt kept the event loop from running."""
    return Moment.LOOP_BLOCKED, {
        names.JOB_OPERATION: job.operation,
        names.JOB_ATTEMPT: attempt,
        names.JOB_BLOCKED_S: late_s,
        names.CODE_FUNCTION_NAME: function,
        names.CODE_STACKTRACE: stack,
    }


def abandoned(job: Job) -> Told:
    """The handler would not stop."""
    return Moment.ABANDONED, {
        names.JOB_OPERATION: job.operation,
        names.JOB_ATTEMPT: job.attempt,
    }


def retry_scheduled(job: Job, delay_s: float, outcome: Outcome) -> Told:
    """The next attempt has a time."""
    return Moment.RETRY_SCHEDULED, {
        **_attempt(job, job.attempt),
        names.JOB_OUTCOME: outcome.value,
        names.JOB_DELAY_S: delay_s,
        names.JOB_NEXT_RETRY_AT: _time(job.next_retry_ns),
    }


def cancel_requested(origin: CancelOrigin, before: State) -> Told:
    """Somebody asked for a cancellation while the job was `before`."""
    return Moment.CANCEL_REQUESTED, {
        names.JOB_CANCEL_ORIGIN: origin.value,
        names.JOB_STATE: before.value,
    }


def finished(job: Job, *, timeout_kind: TimeoutKind | None, run_s: float) -> Told:
    """It has ended; `run_s` is what the last attempt took, in seconds."""
    about: dict[str, Any] = {names.JOB_OPERATION: job.operation}
    if job.failure is None and job.cancel is not None and job.state is State.CANCELLED:
        return Moment.CANCELLED, {
            **about,
            names.JOB_CANCEL_ORIGIN: job.cancel.origin.value,
            names.JOB_CANCEL_ABANDONED: job.cancel.abandoned,
        }
    if job.failure is None:
        return Moment.COMPLETED, {
            **about,
            names.JOB_ATTEMPT: job.attempt,
            names.JOB_RUN_S: run_s,
        }
    if job.reason is Reason.EXPIRED and timeout_kind is not None:
        return Moment.EXPIRED, {
            **about,
            names.JOB_TIMEOUT_KIND: timeout_kind.value,
            names.JOB_TIMEOUT_S: limit_s(job, timeout_kind),
        }
    return Moment.FAILED, {
        **about,
        names.JOB_REASON: job.failure.reason.value,
        names.JOB_ATTEMPT: job.attempt,
        names.ERROR_TYPE: job.failure.type,
        names.JOB_ERROR: job.failure.message,
    }


def end_event(job: Job, wall_ns: int) -> EndEvent:
    """The job's end, with what it gave."""
    return EndEvent(
        at=rfc3339(wall_ns),
        state=job.state.value,
        reason=job.reason.value if job.reason else None,
        result=job.result_json(),
        failure=job.failure_fields(),
        marker=marker(job),
    )


def marker(job: Job) -> str:
    """The Rust original's last word: `[DONE]`, `[CANCELLED]` or `[ERROR] message`."""
    if job.failure is not None:
        return f"[ERROR] {job.failure.message}"
    return "[CANCELLED]" if job.state is State.CANCELLED else "[DONE]"


def limit_s(job: Job, kind: TimeoutKind) -> float:
    """The limit of `kind` in seconds, as the job's policy has it; 0 where it has none."""
    policy = job.policy
    limits = {
        TimeoutKind.ATTEMPT: policy.timeout_s,
        TimeoutKind.QUEUE: policy.queue_timeout_s,
        TimeoutKind.ATTACH: policy.attach_timeout_s,
        TimeoutKind.DEADLINE: policy.deadline_s,
    }
    return limits[kind] or 0.0


def _attempt(job: Job, number: int) -> dict[str, Any]:
    return {
        names.JOB_ATTEMPT: number,
        names.JOB_MAX_ATTEMPTS: job.policy.retry.max_attempts,
    }


def _time(wall_ns: int | None) -> str | None:
    return None if wall_ns is None else rfc3339(wall_ns)

"""What can happen to a job: the only functions that write its state (its data is in `model`).

Each function takes the lifecycle table's word first (`lifecycle.next_state`): an illegal call
raises and changes nothing. Times are handed in, never read. A job knows nothing of the queue, of
how it is run or of who watches it.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from app.jobs.encoding import decode_json, encode_json
from app.jobs.errors import AlreadyFinished, IllegalTransition
from app.jobs.lifecycle import TRANSITIONS, Trigger, check_reason, next_state
from app.jobs.model import (
    DEFAULT_TENANT,
    AttemptError,
    AttemptRecord,
    Cancel,
    Failure,
    Job,
    Progress,
)
from app.jobs.policy import Policy
from app.jobs.submission import Submission, asked_of
from telemetry.names import TERMINAL, CancelOrigin, Outcome, Start, State

__all__ = [
    "AttemptError",
    "AttemptRecord",
    "Cancel",
    "Failure",
    "Job",
    "Progress",
    "cancel",
    "due",
    "end_attempt",
    "fail",
    "last_checkpoint",
    "name_attempt",
    "queue",
    "schedule_retry",
    "start",
    "stop",
    "submission_of",
    "submit",
    "succeed",
]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})  # one for all jobs, and the next too
_EMPTY_OBJECT: Final = encode_json({})


def submit(
    submission: Submission,
    *,
    job_id: str,
    policy: Policy,
    now_ns: int,
    now_mono: float,
    params: Mapping[str, Any] | None = None,
    trace_id: str | None = None,
    span_id: str | None = None,
    retry_of: str | None = None,
    tenant: str = DEFAULT_TENANT,
) -> Job:
    """A new job, not yet in the queue; `params` are the validated ones, if they differ.

    Raises:
        encoding.NotJsonError: `params` cannot be carried by JSON.

    """
    return Job(
        id=job_id,
        operation=submission.operation,
        params_json=_encoded(submission.params if params is None else params),
        policy=policy,
        tags=dict(submission.tags) or _NOTHING,
        metadata_json=_encoded(submission.metadata),
        asked=asked_of(submission) or _NOTHING,
        trace_id=trace_id,
        span_id=span_id,
        retry_of=retry_of,
        created_ns=now_ns,
        created_mono=now_mono,
        deferred=submission.start is Start.ON_STREAM,
        tenant=tenant,
    )


def submission_of(job: Job) -> Submission:
    """What was submitted, so that it can be submitted again."""
    return Submission.model_validate(
        {
            "operation": job.operation,
            "params": job.params,
            "tags": dict(job.tags),
            "metadata": job.metadata,
            **job.asked,
        }
    )


def queue(job: Job, *, now_ns: int, now_mono: float) -> None:
    """Into the queue: a new job, one whose first stream has attached, or one whose retry is due.

    Raises:
        IllegalTransition: it does not wait to be queued.

    """
    if job.state is not State.QUEUED or job.queued_ns is not None:
        raise IllegalTransition(job.state, "queue", TRANSITIONS[job.state])
    job.queued_ns, job.queued_mono = now_ns, now_mono
    job.deferred = False
    job.on_change(job)


def start(job: Job, *, now_ns: int, span_id: str | None = None) -> AttemptRecord:
    """The next attempt begins; `span_id` may be told at its end instead.

    Raises:
        IllegalTransition: it is not in the queue.

    """
    after = next_state(job.state, Trigger.START)
    if job.queued_ns is None:
        raise IllegalTransition(job.state, Trigger.START, ["queue"])
    job.attempt += 1
    attempt = AttemptRecord(number=job.attempt, started_ns=now_ns, span_id=span_id)
    job.attempts = (*job.attempts, attempt)
    job.queued_ns = None
    if job.started_ns is None:
        job.started_ns = now_ns
    _enter(job, after)
    return attempt


def name_attempt(job: Job, span_id: str | None) -> None:
    """Say by which span the running attempt is traced, before its end.

    Raises:
        IllegalTransition: no attempt is running.

    """
    if not _attempt_runs(job):
        raise IllegalTransition(job.state, "name an attempt", TRANSITIONS[job.state])
    job.attempts = (*job.attempts[:-1], replace(job.attempts[-1], span_id=span_id))


def end_attempt(
    job: Job,
    *,
    outcome: Outcome,
    now_ns: int,
    error: AttemptError | None = None,
    span_id: str | None = None,
) -> AttemptRecord:
    """The attempt has really ended; what follows is `verdict.decide`'s to say.

    Raises:
        IllegalTransition: no attempt is running.

    """
    if not _attempt_runs(job):
        raise IllegalTransition(job.state, "end an attempt", TRANSITIONS[job.state])
    attempt = job.attempts[-1]
    ended = AttemptRecord(
        number=attempt.number,
        started_ns=attempt.started_ns,
        finished_ns=now_ns,
        outcome=outcome,
        error=error,
        span_id=span_id or attempt.span_id,
    )
    job.attempts = (*job.attempts[:-1], ended)
    job.postponed += outcome is Outcome.RETRY_LATER
    return ended


def succeed(job: Job, *, result: bytes | None, now_ns: int) -> None:
    """The last attempt gave `result`, which is JSON, or None for none.

    Raises:
        IllegalTransition: it is not running, or its attempt has not ended.

    """
    after = _after(job, Trigger.SUCCEED)
    job.result = result
    _finish(job, after, now_ns)


def schedule_retry(job: Job, *, next_retry_ns: int) -> None:
    """Another attempt is due at `next_retry_ns`.

    Raises:
        IllegalTransition: it is not running, or its attempt has not ended.

    """
    after = _after(job, Trigger.RETRY)
    job.next_retry_ns = next_retry_ns
    _enter(job, after)


def due(job: Job) -> None:
    """The time of the retry has come; `queue` is next.

    Raises:
        IllegalTransition: it does not wait for a retry.

    """
    after = _after(job, Trigger.DUE)
    job.next_retry_ns = None
    _enter(job, after)


def fail(job: Job, failure: Failure, *, now_ns: int) -> None:
    """No attempt is left, or a limit ran out while it waited.

    Raises:
        IllegalTransition: it has finished or is being cancelled, its attempt has not ended, or the
            reason cannot be one from its state.

    """
    after = _after(job, Trigger.FAIL)
    check_reason(job.state, failure.reason)
    job.failure = failure
    _finish(job, after, now_ns)


def cancel(job: Job, *, origin: CancelOrigin, now_ns: int) -> State:
    """Ask for a cancellation: at once unless an attempt runs. The first origin stays on record.

    Raises:
        AlreadyFinished: there is nothing to cancel.

    """
    if job.finished:
        raise AlreadyFinished(job.id, job.state)
    after = next_state(job.state, Trigger.CANCEL)
    if job.cancel is None:
        job.cancel = Cancel(origin=origin, requested_ns=now_ns)
    if after in TERMINAL:
        _finish(job, after, now_ns)
    elif after is not job.state:
        _enter(job, after)
    return after


def stop(job: Job, *, now_ns: int, abandoned: bool = False) -> None:
    """The cancelled attempt has really stopped, or was `abandoned` because it would not.

    Raises:
        IllegalTransition: it is not being cancelled, or its attempt has not ended.

    """
    after = _after(job, Trigger.STOP)
    if job.cancel is not None:
        job.cancel = replace(job.cancel, abandoned=abandoned)
    _finish(job, after, now_ns)


def last_checkpoint(job: Job) -> Any:
    """What the last attempt left for the next one, or None."""
    return None if job.checkpoint is None else decode_json(job.checkpoint)


def _encoded(value: Mapping[str, Any]) -> bytes:
    return encode_json(value) if value else _EMPTY_OBJECT


def _attempt_runs(job: Job) -> bool:
    return bool(job.attempts) and job.attempts[-1].outcome is None


def _after(job: Job, trigger: Trigger) -> State:
    """The next state, for a trigger that presupposes that no attempt runs."""
    after = next_state(job.state, trigger)
    if _attempt_runs(job):
        raise IllegalTransition(job.state, trigger, ["end an attempt"])
    return after


def _finish(job: Job, state: State, now_ns: int) -> None:
    job.finished_ns = now_ns
    job.queued_ns = job.next_retry_ns = None
    job.deferred = False
    _enter(job, state)


def _enter(job: Job, state: State) -> None:
    """The one place that writes a state."""
    job.state = state
    job.on_change(job)

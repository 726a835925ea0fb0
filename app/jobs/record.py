"""A job as clients see it: the record, its JSON Schema, and how it is made from a job.

Field names and their order are the contract of the HTTP interface. It knows no addresses: links are
handed in.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from app.jobs.encoding import decode_json
from app.jobs.job import Job
from app.jobs.model import AttemptError, AttemptRecord, Cancel, Failure, Progress
from telemetry.clock import rfc3339
from telemetry.names import CancelOrigin, Outcome, Priority, Reason, State

_TIME = "RFC 3339, in UTC, with microseconds"


class ErrorForm(BaseModel):
    """What went wrong in an attempt."""

    type: str = Field(description="The exception's type with its module, or the outcome.")
    message: str = Field(description="Its words, masked and cut like any message.")


class AttemptForm(BaseModel):
    """One attempt of a job."""

    number: int = Field(description="From 1.")
    started_at: str = Field(description=f"{_TIME}.")
    finished_at: str | None = Field(description=f"{_TIME}; null while it runs.")
    outcome: Outcome | None = Field(description="How it ended; null while it runs.")
    error: ErrorForm | None = Field(description="What went wrong, if anything did.")
    span_id: str | None = Field(description="The attempt's span in the job's trace.")


class ProgressForm(BaseModel):
    """How far the handler says it is."""

    done: float = Field(description="In the handler's own unit.")
    total: float | None = Field(description="Null where it is unknown.")
    text: str | None = Field(description="The handler's words.")


class FailureForm(BaseModel):
    """Why a job failed."""

    reason: Reason = Field(description="The kind of failure.")
    type: str = Field(description="The last error's type, or the reason.")
    message: str = Field(description="The last error's words.")


class CancelForm(BaseModel):
    """Who asked for a cancellation."""

    origin: CancelOrigin = Field(description="Who asked first.")
    requested_at: str = Field(description=f"{_TIME}.")
    abandoned: bool = Field(description="The handler would not stop within the grace.")


class JobRecord(BaseModel):
    """One job as it is now."""

    id: str = Field(description="The job's id.")
    operation: str = Field(description="What it runs.")
    params: dict[str, Any] = Field(description="The operation's arguments.")
    state: State = Field(description="Where it is in its life.")
    reason: Reason | None = Field(description="Why it failed; null unless it did.")
    priority: Priority = Field(description="Which jobs go first.")
    tags: dict[str, str] = Field(description="Labels to find it by.")
    metadata: dict[str, Any] = Field(description="What the client wants to find again.")
    created_at: str = Field(description=f"{_TIME}.")
    started_at: str | None = Field(description=f"The first start; {_TIME}.")
    finished_at: str | None = Field(description=f"{_TIME}.")
    queue_position: int | None = Field(
        description="Jobs before it in the queue; null while it is not in it."
    )
    attempt: int = Field(description="The number of the last attempt; 0 before the first.")
    attempts: list[AttemptForm] = Field(description="Every attempt, in order.")
    next_retry_at: str | None = Field(description=f"When the next attempt is due; {_TIME}.")
    progress: ProgressForm | None = Field(description="How far it is, if the handler has said.")
    result: Any = Field(description="What the handler returned: any JSON.")
    failure: FailureForm | None = Field(description="Why it failed; null unless it did.")
    cancel: CancelForm | None = Field(description="Who cancelled it; null unless somebody did.")
    trace_id: str | None = Field(description="Its OpenTelemetry trace.")
    retry_of: str | None = Field(description="The job that it repeats.")
    links: dict[str, str] = Field(description="Where its parts are.")


def record_of(
    job: Job, *, queue_position: int | None = None, links: Mapping[str, str] | None = None
) -> JobRecord:
    """The record of `job` as it is now.

    A job's data is valid by construction and is not validated again: this is on every request's
    way.
    """
    return JobRecord.model_construct(
        id=job.id,
        operation=job.operation,
        params=job.params,
        state=job.state,
        reason=job.reason,
        priority=job.policy.priority,
        tags=dict(job.tags),
        metadata=job.metadata,
        created_at=rfc3339(job.created_ns),
        started_at=_time(job.started_ns),
        finished_at=_time(job.finished_ns),
        queue_position=queue_position,
        attempt=job.attempt,
        attempts=[_attempt(each) for each in job.attempts],
        next_retry_at=_time(job.next_retry_ns),
        progress=_progress(job.progress),
        result=None if job.result is None else decode_json(job.result),
        failure=_failure(job.failure),
        cancel=_cancel(job.cancel),
        trace_id=job.trace_id,
        retry_of=job.retry_of,
        links=dict(links or {}),
    )


def _time(wall_ns: int | None) -> str | None:
    return None if wall_ns is None else rfc3339(wall_ns)


def _attempt(attempt: AttemptRecord) -> AttemptForm:
    return AttemptForm.model_construct(
        number=attempt.number,
        started_at=rfc3339(attempt.started_ns),
        finished_at=_time(attempt.finished_ns),
        outcome=attempt.outcome,
        error=_error(attempt.error),
        span_id=attempt.span_id,
    )


def _error(error: AttemptError | None) -> ErrorForm | None:
    if error is None:
        return None
    return ErrorForm.model_construct(type=error.type, message=error.message)


def _progress(progress: Progress | None) -> ProgressForm | None:
    if progress is None:
        return None
    return ProgressForm.model_construct(
        done=progress.done, total=progress.total, text=progress.text
    )


def _failure(failure: Failure | None) -> FailureForm | None:
    if failure is None:
        return None
    return FailureForm.model_construct(
        reason=failure.reason, type=failure.type, message=failure.message
    )


def _cancel(cancel: Cancel | None) -> CancelForm | None:
    if cancel is None:
        return None
    return CancelForm.model_construct(
        origin=cancel.origin,
        requested_at=rfc3339(cancel.requested_ns),
        abandoned=cancel.abandoned,
    )

"""Jobs as rows of the tables, and back.

Text is what SQLite can hold, JSON is what people can read. It knows the columns and their order,
and no connection.
"""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from app.jobs.encoding import EMPTY, NotJsonError, encode_json
from app.jobs.model import AttemptError, AttemptRecord, Cancel, Failure, Job, Progress
from app.jobs.policy import Policy
from app.store.protocol import Provenance
from telemetry.names import CancelOrigin, Outcome, Reason, State

Row = tuple[Any, ...]

FIXED: Final = (
    "number",
    "id",
    "tenant",
    "operation",
    "priority",
    "created_ns",
    "trace_id",
    "span_id",
    "retry_of",
    "idempotency_key",
)
"""Of the table `job`: what never changes."""
CHANGING: Final = (
    "state",
    "reason",
    "deferred",
    "queued_ns",
    "started_ns",
    "finished_ns",
    "next_retry_ns",
    "attempt",
    "postponed",
    "progress",
    "cancel",
    "failure",
    "result",
)
"""Of the table `job`: what does."""
SUBMISSION: Final = (
    "params",
    "metadata",
    "tags",
    "asked",
    "policy",
    "carrier",
    "trace_flags",
    "repeated",
    "body_hash",
)
"""Of the table `submission`, the job's number apart."""
ATTEMPT: Final = (
    "number",
    "started_ns",
    "finished_ns",
    "outcome",
    "error_type",
    "error_message",
    "span_id",
)
"""Of the table `attempt`, the job's number apart."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_EMPTY: Final = EMPTY.decode()


def fixed_row(job: Job, provenance: Provenance) -> Row:
    """The columns `FIXED`."""
    return (
        job.number,
        job.id,
        job.tenant,
        job.operation,
        job.policy.priority,
        job.created_ns,
        job.trace_id,
        job.span_id,
        job.retry_of,
        provenance.idempotency_key,
    )


def changing_row(job: Job) -> Row:
    """The columns `CHANGING`."""
    return (
        job.state,
        job.reason,
        job.deferred,
        job.queued_ns,
        job.started_ns,
        job.finished_ns,
        job.next_retry_ns,
        job.attempt,
        job.postponed,
        None if job.progress is None else _progress_text(job.progress),
        None if job.cancel is None else _text(job.cancel),
        None if job.failure is None else _failure_text(job.failure),
        None if job.result is None else job.result.decode(),
    )


def submission_row(job: Job, provenance: Provenance) -> Row:
    """The job's number, and the columns `SUBMISSION`."""
    repeated = provenance.retry_of
    return (
        job.number,
        job.params_json.decode(),
        job.metadata_json.decode(),
        _object(job.tags),
        _object(job.asked),
        _policy_text(job.policy),
        _object(provenance.carrier),
        provenance.trace_flags,
        None if repeated is None else _text(repeated),
        provenance.body_hash,
    )


def attempt_row(job: Job, attempt: AttemptRecord) -> Row:
    """The job's number, and the columns `ATTEMPT`."""
    error = attempt.error
    return (
        job.number,
        attempt.number,
        attempt.started_ns,
        attempt.finished_ns,
        attempt.outcome,
        None if error is None else _unicode(error.type),
        None if error is None else _unicode(error.message),
        attempt.span_id,
    )


def job_of(
    fixed: Row, changing: Row, submission: Row, attempts: Sequence[Row], checkpoint: str | None
) -> Job:
    """The job of its rows, in the columns' order."""
    number, job_id, tenant, operation, _, created_ns, trace_id, span_id, retry_of, _ = fixed
    params, metadata, tags, asked, policy, *_ = submission
    state, reason, deferred, queued_ns, started_ns, finished_ns, next_retry_ns = changing[:7]
    attempt, postponed, progress, cancel, failure, result = changing[7:]
    return Job(
        id=job_id,
        operation=operation,
        params_json=_bytes(params),
        policy=_policy_of(policy),
        tags=_mapping(tags),
        metadata_json=_bytes(metadata),
        asked=_mapping(asked),
        trace_id=trace_id,
        span_id=span_id,
        retry_of=retry_of,
        created_ns=created_ns,
        created_mono=0.0,
        deferred=bool(deferred),
        tenant=tenant,
        number=number,
        state=State(state),
        queued_ns=queued_ns,
        started_ns=started_ns,
        finished_ns=finished_ns,
        attempt=attempt,
        postponed=postponed,
        attempts=tuple([attempt_of(each) for each in attempts]),
        next_retry_ns=next_retry_ns,
        progress=None if progress is None else Progress(**_decode(progress)),
        checkpoint=None if checkpoint is None else checkpoint.encode(),
        result=None if result is None else result.encode(),
        failure=None if failure is None else Failure(reason=Reason(reason), **_decode(failure)),
        cancel=None if cancel is None else _cancel_of(_decode(cancel)),
    )


def provenance_of(fixed: Row, submission: Row) -> Provenance:
    """What belongs to a job beside what it says itself, of its rows."""
    carrier, trace_flags, repeated, body_hash = submission[5:]
    return Provenance(
        idempotency_key=fixed[-1],
        body_hash=body_hash,
        carrier=_mapping(carrier),
        trace_flags=trace_flags,
        retry_of=None if repeated is None else tuple(_decode(repeated)),
    )


def attempt_of(row: Row) -> AttemptRecord:
    """The attempt of the columns `ATTEMPT`."""
    number, started_ns, finished_ns, outcome, error_type, message, span_id = row
    return AttemptRecord(
        number=number,
        started_ns=started_ns,
        finished_ns=finished_ns,
        outcome=None if outcome is None else Outcome(outcome),
        error=None if error_type is None else AttemptError(type=error_type, message=message),
        span_id=span_id,
    )


def _progress_text(progress: Progress) -> str:
    told = {
        "done": progress.done,
        "total": progress.total,
        "text": None if progress.text is None else _unicode(progress.text),
    }
    try:
        return encode_json(told).decode()
    except NotJsonError:  # a number of somebody's own type
        told["done"] = float(progress.done)
        told["total"] = None if progress.total is None else float(progress.total)
        return encode_json(told).decode()


def _failure_text(failure: Failure) -> str:
    return _text({"type": _unicode(failure.type), "message": _unicode(failure.message)})


def _cancel_of(told: Mapping[str, Any]) -> Cancel:
    return Cancel(
        origin=CancelOrigin(told["origin"]),
        requested_ns=told["requested_ns"],
        abandoned=told["abandoned"],
    )


@functools.lru_cache(maxsize=256)
def _policy_text(policy: Policy) -> str:
    return _text(policy)


@functools.lru_cache(maxsize=256)
def _policy_of(text: str) -> Policy:
    """The policy; jobs of the same one share it."""
    return _policies.decode(text)


def _unicode(text: str) -> str:
    """`text` with lone surrogates replaced: SQLite has none."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _object(value: Mapping[str, Any]) -> str:
    return _text(dict(value)) if value else _EMPTY


def _mapping(text: str) -> Mapping[str, Any]:
    """The object; those that are empty share one."""
    if text == _EMPTY:
        return _NOTHING
    value: dict[str, Any] = _decode(text)
    return value


def _bytes(text: str) -> bytes:
    return EMPTY if text == _EMPTY else text.encode()


def _text(value: Any) -> str:
    return _encode(value).decode()


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_policies: Final = msgspec.json.Decoder(Policy)

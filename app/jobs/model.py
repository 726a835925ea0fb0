"""A job's data: `Job`, and the small frozen values that it is made of.

What JSON a job holds is kept encoded. What most jobs have none of (tags, attempts while they wait)
takes no room: many jobs wait, or are kept, at once. Who may change what is in `app.jobs.job`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final

import msgspec

from app.jobs.encoding import decode_json
from app.jobs.lifecycle import START
from app.jobs.policy import Policy
from telemetry.names import TERMINAL, CancelOrigin, Outcome, Reason, State

DEFAULT_TENANT: Final = "default"
"""Whose a job is where nobody says who submits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptError:
    """What went wrong in an attempt: an exception's type, or an outcome, and its words."""

    type: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One attempt; times are nanoseconds since the Unix epoch, None while it runs."""

    number: int
    started_ns: int
    finished_ns: int | None = None
    outcome: Outcome | None = None
    error: AttemptError | None = None
    span_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the handler says it is; `total` is None where it is unknown."""

    done: float
    total: float | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job failed: the reason, and the type and words of the last error."""

    reason: Reason
    type: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Who first asked for a cancellation, and when; `abandoned` if the handler would not stop."""

    origin: CancelOrigin
    requested_ns: int
    abandoned: bool = False


def _ignore(job: "Job") -> None:
    """Nobody wants to know."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One job. Read it freely; write `state` and what depends on it by `app.jobs.job` only.

    `_ns` are nanoseconds since the Unix epoch, for telling; `_mono` are seconds of the monotonic
    clock, for deciding.
    """

    id: str
    operation: str
    params_json: bytes
    policy: Policy
    tags: Mapping[str, str]
    metadata_json: bytes
    asked: Mapping[str, Any]
    """What the submission said of policy and start, for a retry."""
    trace_id: str | None
    span_id: str | None
    retry_of: str | None
    created_ns: int
    created_mono: float
    deferred: bool
    """Waits for its first stream; neither in the queue nor in its depth."""

    tenant: str = DEFAULT_TENANT
    """Whose it is."""
    number: int = 0
    """Its place in the order of making, from 1; the registry gives it."""
    state: State = START
    queued_ns: int | None = None
    """When it entered the queue; None while it is not in it."""
    queued_mono: float = 0.0
    started_ns: int | None = None
    """The first start."""
    finished_ns: int | None = None
    attempt: int = 0
    """The number of the last attempt, those that `RetryLater` ended included."""
    postponed: int = 0
    """Attempts that `RetryLater` ended: they spend none of `max_attempts`."""
    attempts: tuple[AttemptRecord, ...] = ()
    next_retry_ns: int | None = None
    progress: Progress | None = None
    """Written by the engine: it is no state."""
    checkpoint: bytes | None = None
    """JSON for the next attempt. Written by the engine."""
    result: bytes | None = None
    failure: Failure | None = None
    cancel: Cancel | None = None
    on_change: Callable[["Job"], None] = _ignore
    """Called after each change of state or of `deferred`; the registry keeps its counts by it."""

    def snapshot(self) -> "Job":
        """The job as it is now, which nobody changes; its `on_change` tells nobody."""
        made = object.__new__(Job)
        for name, value in zip(_FIELDS, _values(self), strict=True):
            setattr(made, name, value)
        made.on_change = _ignore
        return made

    @property
    def params(self) -> dict[str, Any]:
        """The params, a fresh copy: what a handler does to its own is not seen by the next."""
        params: dict[str, Any] = decode_json(self.params_json)
        return params

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata, a fresh copy."""
        metadata: dict[str, Any] = decode_json(self.metadata_json)
        return metadata

    @property
    def reason(self) -> Reason | None:
        """Why it failed; None unless it did."""
        return self.failure.reason if self.failure else None

    @property
    def finished(self) -> bool:
        """Whether the state is terminal."""
        return self.state in TERMINAL

    @property
    def spent_attempts(self) -> int:
        """Attempts that count against `max_attempts`, a running one included."""
        return self.attempt - self.postponed

    def left_s(self, now_mono: float) -> float | None:
        """Seconds until the deadline, negative after it; None without one."""
        deadline_s = self.policy.deadline_s
        return None if deadline_s is None else self.created_mono + deadline_s - now_mono

    def result_json(self) -> msgspec.Raw | None:
        """The result, to be put into other JSON as it is."""
        return None if self.result is None else msgspec.Raw(self.result)

    def failure_fields(self) -> dict[str, Any] | None:
        """The failure in wire form."""
        failure = self.failure
        if failure is None:
            return None
        return {
            "reason": failure.reason.value,
            "type": failure.type,
            "message": failure.message,
        }


_FIELDS: Final = tuple(each.name for each in fields(Job) if each.name != "on_change")
_values: Final = attrgetter(*_FIELDS)

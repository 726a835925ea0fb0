"""The policy of one job: its limits of time, its retries, its place in the queue.

Made once, when the job is submitted: what the submission says goes over what the operation's
decorator says, which goes over the standard here. What a submission asks for beyond the server's
limits is refused, never clamped. It knows no job and no clock.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

from app.jobs.errors import FieldError, InvalidSubmission, field_error
from app.jobs.submission import RetryOptions, Submission
from telemetry.names import Priority

Jitter = Literal["full", "none"]

_Value = TypeVar("_Value")
_NOTHING: Final = RetryOptions()

ATTACH_TIMEOUT_S: Final = 60.0
"""Seconds that a deferred job waits for its first stream, where nobody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is followed by another, and how soon.

    `retry_on` and `never_on` hold exception types by name (`type_name`), since a child process
    reports names; a subclass counts as its ancestors. An empty `retry_on` means any exception.

    Raises:
        ValueError: a number is out of range.

    """

    max_attempts: int = 1
    base_delay_s: float = 1.0
    multiplier: float = 2.0
    max_delay_s: float = 60.0
    jitter: Jitter = "full"
    retry_on: frozenset[str] = frozenset()
    never_on: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        for name, least in (("base_delay_s", 0), ("multiplier", 1), ("max_delay_s", 0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{name} must be finite and at least {least}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for one job. Times are in seconds; None is no limit."""

    priority: Priority = Priority.NORMAL
    timeout_s: float | None = None
    """One attempt."""
    queue_timeout_s: float | None = None
    """From queueing to the first start."""
    deadline_s: float | None = None
    """From creation to the end."""
    attach_timeout_s: float = ATTACH_TIMEOUT_S
    """From creation to the first stream, for a deferred job."""
    retry: RetryPolicy = RetryPolicy()
    retry_later_limit: int = 100
    """How often the handler may raise `RetryLater`."""
    concurrency_key: str | None = None
    cancel_when_unwatched: bool = False


class OperationDefaults(Protocol):
    """What an operation's decorator says; None is what it does not say."""

    @property
    def priority(self) -> Priority | None:
        """The priority of its jobs."""
        ...

    @property
    def timeout_s(self) -> float | None:
        """Seconds for one attempt."""
        ...

    @property
    def queue_timeout_s(self) -> float | None:
        """Seconds from queueing to the first start."""
        ...

    @property
    def deadline_s(self) -> float | None:
        """Seconds from creation to the end."""
        ...

    @property
    def max_attempts(self) -> int | None:
        """Attempts that may fail or succeed, the first one included."""
        ...

    @property
    def base_delay_s(self) -> float | None:
        """Seconds before the second attempt, at most."""
        ...

    @property
    def multiplier(self) -> float | None:
        """Growth of the delay from attempt to attempt."""
        ...

    @property
    def max_delay_s(self) -> float | None:
        """Seconds beyond which the delay does not grow."""
        ...

    @property
    def jitter(self) -> Jitter | None:
        """Whether the delay is drawn by lot."""
        ...

    @property
    def retry_on(self) -> tuple[type[BaseException], ...] | None:
        """Exceptions that are retried; None is any."""
        ...

    @property
    def never_on(self) -> tuple[type[BaseException], ...]:
        """Exceptions that are not retried, whatever `retry_on` says."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a submission may ask for at most; the operation's own decorator is trusted."""

    max_timeout_s: float = 86_400.0
    """Holds for every limit of time and every delay."""
    max_attempts: int = 100
    retry_later_limit: int = 100


def resolve(submission: Submission, defaults: OperationDefaults, limits: Limits) -> Policy:
    """The policy of a job.

    Raises:
        InvalidSubmission: it names every field that is above the server's limits.

    """
    errors = _above(submission, limits)
    if errors:
        raise InvalidSubmission(errors)
    return Policy(
        priority=submission.priority or defaults.priority or Priority.NORMAL,
        timeout_s=_either(submission.timeout_s, defaults.timeout_s),
        queue_timeout_s=_either(submission.queue_timeout_s, defaults.queue_timeout_s),
        deadline_s=_either(submission.deadline_s, defaults.deadline_s),
        attach_timeout_s=_either(submission.attach_timeout_s, ATTACH_TIMEOUT_S),
        retry=_merged(submission.retry or _NOTHING, defaults),
        retry_later_limit=limits.retry_later_limit,
        concurrency_key=submission.concurrency_key,
        cancel_when_unwatched=submission.cancel_when_unwatched,
    )


def type_name(exception_type: type[BaseException]) -> str:
    """How an exception type is told and matched: OpenTelemetry's `exception.type`.

    >>> type_name(TimeoutError)
    'TimeoutError'
    """
    module, name = exception_type.__module__, exception_type.__qualname__
    return name if module == "builtins" else f"{module}.{name}"


def lineage(exception_type: type[BaseException]) -> tuple[str, ...]:
    """The names of a type and of all its ancestors, nearest first, for `verdict.decide`."""
    return tuple(
        type_name(ancestor)
        for ancestor in exception_type.__mro__
        if issubclass(ancestor, BaseException)
    )


def _either(asked: _Value | None, otherwise: _Value) -> _Value:
    return otherwise if asked is None else asked


def _merged(asked: RetryOptions, defaults: OperationDefaults) -> RetryPolicy:
    """Field by field: the submission's, else the decorator's, else the standard."""
    given: dict[str, Any] = {}
    for name in RetryOptions.model_fields:
        value = getattr(asked, name)
        if value is None:
            value = getattr(defaults, name)
        if value is not None:
            given[name] = value
    return RetryPolicy(
        **given,
        retry_on=frozenset(map(type_name, defaults.retry_on or ())),
        never_on=frozenset(map(type_name, defaults.never_on)),
    )


def _above(submission: Submission, limits: Limits) -> Sequence[FieldError]:
    """One entry for each field that asks for more than is allowed."""
    retry, longest = submission.retry or _NOTHING, limits.max_timeout_s
    asked: tuple[tuple[float | None, float, tuple[str, ...]], ...] = (
        (submission.timeout_s, longest, ("timeout_s",)),
        (submission.queue_timeout_s, longest, ("queue_timeout_s",)),
        (submission.deadline_s, longest, ("deadline_s",)),
        (submission.attach_timeout_s, longest, ("attach_timeout_s",)),
        (retry.base_delay_s, longest, ("retry", "base_delay_s")),
        (retry.max_delay_s, longest, ("retry", "max_delay_s")),
        (retry.max_attempts, limits.max_attempts, ("retry", "max_attempts")),
    )
    return [
        field_error(f"must be at most {most:g}, the limit of this server; it is {value:g}", *loc)
        for value, most, loc in asked
        if value is not None and value > most
    ]

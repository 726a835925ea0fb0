"""What follows an attempt: success, another attempt, failure, or the end of a cancellation.

Pure: one function from the job, how the attempt ended and a random number to a verdict. It changes
nothing; `app.jobs.job` does. The rules, first match wins:

1. A job that is `cancelling` stops, whatever the handler made of it.
2. A completed attempt succeeds.
3. An abandoned attempt fails its job: two attempts must never overlap.
4. `Reject` is final. So is a deadline that has passed.
5. `RetryLater` is retried after the time it names, as often as its own cap allows.
6. What `never_on` names is not retried, even if `retry_on` names it too.
7. `retry_on` narrows the exceptions that the handler raises. A timeout or a loss is not the
   handler's word: it is retried unless `never_on` names `TimeoutError`.
8. With no attempt left, the job fails for the last one's reason.
9. A retry that would start at or after the deadline is not waited for: the job fails at once, as
   it would at the deadline, with the reason `timeout`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from app.jobs.backoff import delay_s
from app.jobs.job import Job
from app.jobs.policy import RetryPolicy, lineage
from telemetry.names import Outcome, Reason, State, TimeoutKind

MAX_RETRY_LATER_S: Final = 366 * 86_400.0
"""Seconds; a handler that asks for more has made a mistake, and its job fails."""


@dataclass(frozen=True, slots=True)
class Succeed:
    """The job is done."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The cancellation has come to its end."""


@dataclass(frozen=True, slots=True)
class Fail:
    """No further attempt.

    `timeout` says which limit ran out where the reason is `timeout`; `message`, if there is one,
    explains what the attempt's own error does not.
    """

    reason: Reason
    timeout: TimeoutKind | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt in `delay_s` seconds; `reason` is the outcome that made it necessary."""

    delay_s: float
    reason: Outcome


Verdict = Succeed | Stop | Fail | Retry

REASONS: Final[Mapping[Outcome, Reason]] = MappingProxyType(
    {
        Outcome.ERROR: Reason.ERROR,
        Outcome.TIMEOUT: Reason.TIMEOUT,
        Outcome.REJECTED: Reason.REJECTED,
        Outcome.LOST: Reason.LOST,
        Outcome.RETRY_LATER: Reason.ERROR,
        # A handler that cancels itself, with nobody having asked, has made an error.
        Outcome.CANCELLED: Reason.ERROR,
    }
)
"""Why a job fails whose last attempt ended so."""


def decide(
    job: Job,
    outcome: Outcome,
    *,
    random: Callable[[], float],
    exception_types: tuple[str, ...] = (),
    retry_after_s: float | None = None,
    abandoned: bool = False,
    deadline_passed: bool = False,
    left_s: float | None = None,
) -> Verdict:
    """What follows the attempt that has just ended with `outcome`.

    `exception_types` is the `lineage` of what the handler raised; `retry_after_s` what `RetryLater`
    asked for; `left_s` the seconds until the deadline, None without one; `random` gives a number
    in [0, 1).
    """
    if job.state is State.CANCELLING:
        return Stop()
    if outcome is Outcome.COMPLETED:
        return Succeed()
    if abandoned or deadline_passed or outcome is Outcome.REJECTED:
        return _fail(outcome, deadline_passed=deadline_passed)
    if outcome is Outcome.RETRY_LATER:
        return _later(job, retry_after_s or 0.0, left_s)
    retry = job.policy.retry
    if job.spent_attempts >= retry.max_attempts or not _retryable(retry, outcome, exception_types):
        return _fail(outcome)
    return _in_time(delay_s(retry, job.spent_attempts, random), outcome, left_s)


def expired(kind: TimeoutKind, *, started: bool) -> Reason:
    """Why a job fails when a limit of `kind` runs out: `expired` if it never started."""
    return Reason.TIMEOUT if started or kind is TimeoutKind.ATTEMPT else Reason.EXPIRED


def _fail(outcome: Outcome, *, deadline_passed: bool = False) -> Fail:
    if deadline_passed and outcome is not Outcome.REJECTED:
        return Fail(Reason.TIMEOUT, TimeoutKind.DEADLINE)
    return Fail(REASONS[outcome], TimeoutKind.ATTEMPT if outcome is Outcome.TIMEOUT else None)


def _later(job: Job, after_s: float, left_s: float | None) -> Verdict:
    if job.postponed > job.policy.retry_later_limit:
        limit = job.policy.retry_later_limit
        return Fail(
            Reason.ERROR, message=f"RetryLater was raised more than {limit} times, its limit"
        )
    if not (math.isfinite(after_s) and 0 <= after_s <= MAX_RETRY_LATER_S):
        legal = f"legal is 0 to {MAX_RETRY_LATER_S:g}"
        return Fail(Reason.ERROR, message=f"RetryLater asked for {after_s:g} s; {legal}")
    return _in_time(after_s, Outcome.RETRY_LATER, left_s)


def _retryable(retry: RetryPolicy, outcome: Outcome, exception_types: tuple[str, ...]) -> bool:
    if outcome is Outcome.TIMEOUT:
        return retry.never_on.isdisjoint(lineage(TimeoutError))
    if outcome is Outcome.LOST:
        return True
    if not retry.never_on.isdisjoint(exception_types):
        return False
    return not retry.retry_on or not retry.retry_on.isdisjoint(exception_types)


def _in_time(after_s: float, outcome: Outcome, left_s: float | None) -> Verdict:
    if left_s is not None and after_s >= left_s:
        return Fail(
            Reason.TIMEOUT,
            TimeoutKind.DEADLINE,
            f"the next attempt, due in {after_s:.3g} s, would have started after the deadline, "
            f"which was {max(0.0, left_s):.3g} s away",
        )
    return Retry(after_s, outcome)

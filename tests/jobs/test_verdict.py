import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.job import Job
from app.jobs.policy import Policy, RetryPolicy, lineage
from app.jobs.verdict import Fail, Retry, Stop, Succeed, decide, expired
from telemetry.names import Outcome, Reason, State, TimeoutKind

MakeJob = Callable[..., Job]


def policy(max_attempts: int = 3, **retry: Any) -> Policy:
    return Policy(
        retry_later_limit=2,
        retry=RetryPolicy(
            max_attempts=max_attempts, base_delay_s=1, max_delay_s=8, jitter="none", **retry
        ),
    )


def half() -> float:
    return 0.5


@given(
    outcome=st.sampled_from(Outcome),
    abandoned=st.booleans(),
    deadline_passed=st.booleans(),
)
def test_whatever_happens_to_a_job_that_is_cancelling_it_stops(
    make_job: MakeJob, *, outcome: Outcome, abandoned: bool, deadline_passed: bool
) -> None:
    job = make_job(State.CANCELLING, policy=policy())

    verdict = decide(
        job, outcome, abandoned=abandoned, deadline_passed=deadline_passed, random=half
    )

    assert verdict == Stop()


@given(
    outcome=st.sampled_from([each for each in Outcome if each is not Outcome.COMPLETED]),
    abandoned=st.booleans(),
    deadline_passed=st.booleans(),
    left_s=st.none() | st.floats(-10, 100),
    attempt=st.integers(1, 6),
    postponed=st.integers(0, 6),
)
def test_a_retry_is_never_without_an_attempt_left_nor_beside_an_abandoned_one_nor_too_late(
    make_job: MakeJob,
    *,
    outcome: Outcome,
    abandoned: bool,
    deadline_passed: bool,
    left_s: float | None,
    attempt: int,
    postponed: int,
) -> None:
    job = make_job(State.RUNNING, policy=policy())
    job.attempt, job.postponed = attempt + postponed, postponed

    verdict = decide(
        job,
        outcome,
        retry_after_s=3.0,
        abandoned=abandoned,
        deadline_passed=deadline_passed,
        left_s=left_s,
        random=half,
    )

    if isinstance(verdict, Retry):
        assert not abandoned
        assert not deadline_passed
        assert outcome is not Outcome.REJECTED
        assert attempt < 3 or outcome is Outcome.RETRY_LATER
        assert left_s is None or verdict.delay_s < left_s
    else:
        assert isinstance(verdict, Fail)


def test_a_completed_attempt_succeeds(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING)

    assert decide(job, Outcome.COMPLETED, random=half) == Succeed()


def test_without_more_attempts_a_job_fails_for_the_reason_of_its_last_one(
    make_job: MakeJob,
) -> None:
    job = make_job(State.RUNNING)

    assert decide(job, Outcome.ERROR, random=half) == Fail(Reason.ERROR)
    assert decide(job, Outcome.LOST, random=half) == Fail(Reason.LOST)
    assert decide(job, Outcome.TIMEOUT, random=half) == Fail(Reason.TIMEOUT, TimeoutKind.ATTEMPT)
    assert decide(job, Outcome.CANCELLED, random=half) == Fail(Reason.ERROR)


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.TIMEOUT, Outcome.LOST])
def test_with_attempts_left_it_is_retried_after_a_growing_delay(
    make_job: MakeJob, outcome: Outcome
) -> None:
    job = make_job(State.RUNNING, policy=policy())

    assert decide(job, outcome, random=half) == Retry(1.0, outcome)
    job.attempt = 2
    assert decide(job, outcome, random=half) == Retry(2.0, outcome)
    job.attempt = 3
    assert isinstance(decide(job, outcome, random=half), Fail)


def test_the_delay_is_drawn_by_lot(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING, policy=Policy(retry=RetryPolicy(max_attempts=2, base_delay_s=8)))

    assert decide(job, Outcome.ERROR, random=lambda: 0.25) == Retry(2.0, Outcome.ERROR)


def test_a_rejection_is_final(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING, policy=policy())

    assert decide(job, Outcome.REJECTED, random=half) == Fail(Reason.REJECTED)
    assert decide(job, Outcome.REJECTED, deadline_passed=True, random=half) == Fail(Reason.REJECTED)


def test_an_abandoned_attempt_fails_its_job_without_a_retry(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING, policy=policy())

    verdict = decide(job, Outcome.TIMEOUT, abandoned=True, random=half)

    assert verdict == Fail(Reason.TIMEOUT, TimeoutKind.ATTEMPT)


def test_after_the_deadline_there_is_no_retry(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING, policy=policy())

    verdict = decide(job, Outcome.TIMEOUT, deadline_passed=True, random=half)

    assert verdict == Fail(Reason.TIMEOUT, TimeoutKind.DEADLINE)


def test_a_retry_that_would_start_after_the_deadline_fails_at_once(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING, policy=policy())

    verdict = decide(job, Outcome.ERROR, left_s=1.0, random=half)

    assert isinstance(verdict, Fail)
    assert (verdict.reason, verdict.timeout) == (Reason.TIMEOUT, TimeoutKind.DEADLINE)
    assert "due in 1 s, would have started after the deadline" in (verdict.message or "")
    assert decide(job, Outcome.ERROR, left_s=1.1, random=half) == Retry(1.0, Outcome.ERROR)


def test_retry_later_spends_no_attempt_and_has_its_own_cap(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING, policy=policy(max_attempts=1))

    for postponed in (1, 2):
        job.attempt = job.postponed = postponed
        verdict = decide(job, Outcome.RETRY_LATER, retry_after_s=5, random=half)
        assert verdict == Retry(5, Outcome.RETRY_LATER)
    job.attempt = job.postponed = 3
    verdict = decide(job, Outcome.RETRY_LATER, retry_after_s=5, random=half)

    assert isinstance(verdict, Fail)
    assert verdict.reason is Reason.ERROR
    assert "more than 2 times" in (verdict.message or "")


@pytest.mark.parametrize("after_s", [math.nan, math.inf, -1.0, 1e308])
def test_retry_later_with_an_absurd_time_fails_the_job(make_job: MakeJob, after_s: float) -> None:
    job = make_job(State.RUNNING)

    verdict = decide(job, Outcome.RETRY_LATER, retry_after_s=after_s, random=half)

    assert isinstance(verdict, Fail)
    assert "RetryLater asked for" in (verdict.message or "")


def test_only_what_retry_on_names_is_retried_descendants_included(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING, policy=policy(retry_on=frozenset({"OSError"})))

    reset = decide(job, Outcome.ERROR, exception_types=lineage(ConnectionResetError), random=half)
    wrong = decide(job, Outcome.ERROR, exception_types=lineage(ValueError), random=half)

    assert reset == Retry(1.0, Outcome.ERROR)
    assert wrong == Fail(Reason.ERROR)


def test_never_on_goes_over_retry_on(make_job: MakeJob) -> None:
    job = make_job(
        State.RUNNING,
        policy=policy(
            retry_on=frozenset({"OSError"}), never_on=frozenset({"ConnectionResetError"})
        ),
    )

    verdict = decide(job, Outcome.ERROR, exception_types=lineage(ConnectionResetError), random=half)

    assert verdict == Fail(Reason.ERROR)


def test_retry_on_says_nothing_of_timeouts_and_losses(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING, policy=policy(retry_on=frozenset({"ValueError"})))

    assert isinstance(decide(job, Outcome.TIMEOUT, random=half), Retry)
    assert isinstance(decide(job, Outcome.LOST, random=half), Retry)


@pytest.mark.parametrize("named", ["TimeoutError", "OSError", "Exception"])
def test_never_on_can_name_timeouts(make_job: MakeJob, named: str) -> None:
    job = make_job(State.RUNNING, policy=policy(never_on=frozenset({named})))

    verdict = decide(job, Outcome.TIMEOUT, random=half)

    assert verdict == Fail(Reason.TIMEOUT, TimeoutKind.ATTEMPT)
    assert isinstance(decide(job, Outcome.LOST, random=half), Retry)


@pytest.mark.parametrize(
    ("kind", "started", "reason"),
    [
        (TimeoutKind.ATTEMPT, True, Reason.TIMEOUT),
        (TimeoutKind.QUEUE, False, Reason.EXPIRED),
        (TimeoutKind.ATTACH, False, Reason.EXPIRED),
        (TimeoutKind.DEADLINE, False, Reason.EXPIRED),
        (TimeoutKind.DEADLINE, True, Reason.TIMEOUT),
    ],
)
def test_what_never_started_expires(kind: TimeoutKind, *, started: bool, reason: Reason) -> None:
    assert expired(kind, started=started) is reason

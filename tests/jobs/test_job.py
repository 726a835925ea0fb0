from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs import job as jobs
from app.jobs.encoding import NotJsonError
from app.jobs.errors import AlreadyFinished, IllegalTransition, NarratorError
from app.jobs.job import AttemptError, Failure, Job
from app.jobs.lifecycle import FAILURE_REASONS, TRANSITIONS, Trigger
from app.jobs.policy import Policy
from app.jobs.submission import Submission
from telemetry.names import TERMINAL, CancelOrigin, Outcome, Reason, State

MakeJob = Callable[..., Job]

ERROR = AttemptError(type="ValueError", message="no")


def failure(reason: Reason = Reason.ERROR) -> Failure:
    return Failure(reason=reason, type="ValueError", message="no")


def snapshot(job: Job) -> dict[str, Any]:
    data = {each.name: getattr(job, each.name) for each in fields(job)}
    return {**data, "attempts": list(job.attempts)}


STEPS: dict[Trigger, Callable[[Job, Reason], object]] = {
    Trigger.START: lambda job, _: jobs.start(job, now_ns=5),
    Trigger.SUCCEED: lambda job, _: jobs.succeed(job, result=b"1", now_ns=5),
    Trigger.FAIL: lambda job, reason: jobs.fail(job, failure(reason), now_ns=5),
    Trigger.RETRY: lambda job, _: jobs.schedule_retry(job, next_retry_ns=9),
    Trigger.DUE: lambda job, _: jobs.due(job),
    Trigger.CANCEL: lambda job, _: jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=5),
    Trigger.STOP: lambda job, _: jobs.stop(job, now_ns=5),
}
OTHER_STEPS: list[Callable[[Job], object]] = [
    lambda job: jobs.queue(job, now_ns=4, now_mono=4.0),
    lambda job: jobs.end_attempt(job, outcome=Outcome.ERROR, error=ERROR, now_ns=5),
    lambda job: jobs.end_attempt(job, outcome=Outcome.RETRY_LATER, now_ns=5),
]


def check(job: Job) -> None:
    """What holds for a job at any time."""
    runs = bool(job.attempts) and job.attempts[-1].outcome is None
    assert (job.finished_ns is not None) == job.finished == (job.state in TERMINAL)
    assert (job.failure is not None) == (job.state is State.FAILED)
    assert (job.next_retry_ns is not None) == (job.state is State.RETRYING)
    assert (job.result is not None) == (job.state is State.COMPLETED)
    assert not runs or job.state in (State.RUNNING, State.CANCELLING)
    assert [each.number for each in job.attempts] == list(range(1, job.attempt + 1))
    assert all(each.outcome is not None for each in job.attempts[:-1])
    assert job.queued_ns is None or job.state is State.QUEUED
    assert not job.deferred or (job.state is State.QUEUED and job.queued_ns is None)
    if job.state in (State.CANCELLING, State.CANCELLED):
        assert job.cancel is not None


@given(
    on_stream=st.booleans(),
    steps=st.lists(
        st.tuples(
            st.sampled_from([*STEPS, *range(len(OTHER_STEPS))]),
            st.sampled_from(Reason),
        ),
        max_size=30,
    ),
)
def test_whatever_is_called_follows_the_table_or_raises_and_changes_nothing(
    make_job: MakeJob, *, on_stream: bool, steps: list[tuple[Trigger | int, Reason]]
) -> None:
    job = make_job(on_stream=on_stream)
    for step, reason in steps:
        before, state = snapshot(job), job.state
        try:
            if isinstance(step, Trigger):
                STEPS[step](job, reason)
                assert job.state is TRANSITIONS[state][step]
            else:
                OTHER_STEPS[step](job)
                assert job.state is state
        except NarratorError:
            assert snapshot(job) == before
        check(job)


@pytest.mark.parametrize("trigger", Trigger)
@pytest.mark.parametrize("state", State)
def test_from_each_state_an_illegal_trigger_raises_and_changes_nothing(
    make_job: MakeJob, state: State, trigger: Trigger
) -> None:
    job = make_job(state)
    reason = next(iter(FAILURE_REASONS.get(state, {Reason.ERROR})))
    if state in (State.RUNNING, State.CANCELLING) and trigger is not Trigger.CANCEL:
        jobs.end_attempt(job, outcome=Outcome.ERROR, now_ns=4)
    before = snapshot(job)

    if trigger in TRANSITIONS[state]:
        STEPS[trigger](job, reason)
        assert job.state is TRANSITIONS[state][trigger]
    else:
        with pytest.raises((IllegalTransition, AlreadyFinished)):
            STEPS[trigger](job, reason)
        assert snapshot(job) == before


def test_a_job_cannot_end_while_its_attempt_runs(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING)

    with pytest.raises(IllegalTransition, match="end an attempt"):
        jobs.fail(job, failure(), now_ns=4)


def test_a_reason_that_does_not_fit_the_state_is_refused(make_job: MakeJob) -> None:
    job = make_job(State.QUEUED)

    with pytest.raises(IllegalTransition, match=r"fail \(lost\)"):
        jobs.fail(job, failure(Reason.LOST), now_ns=4)

    assert job.state is State.QUEUED


def test_a_deferred_job_cannot_start_before_it_is_queued(make_job: MakeJob) -> None:
    job = make_job(on_stream=True)
    assert job.deferred

    with pytest.raises(IllegalTransition, match="queue"):
        jobs.start(job, now_ns=1)
    jobs.queue(job, now_ns=7, now_mono=7.5)

    assert (job.deferred, job.queued_ns, job.queued_mono) == (False, 7, 7.5)


def test_a_job_is_queued_once(make_job: MakeJob) -> None:
    job = make_job(State.QUEUED)

    with pytest.raises(IllegalTransition, match="'queue'"):
        jobs.queue(job, now_ns=2, now_mono=2.0)


def test_the_first_start_stays_and_the_attempts_are_kept(make_job: MakeJob) -> None:
    job = make_job(State.RETRYING)
    assert job.next_retry_ns == 10

    jobs.due(job)
    jobs.queue(job, now_ns=10, now_mono=10.0)
    jobs.start(job, now_ns=11, span_id="b")
    ended = jobs.end_attempt(job, outcome=Outcome.COMPLETED, now_ns=12)

    assert (job.started_ns, job.attempt) == (2, 2)
    assert [each.outcome for each in job.attempts] == [Outcome.ERROR, Outcome.COMPLETED]
    assert (ended.started_ns, ended.finished_ns, ended.span_id) == (11, 12, "b")
    assert job.attempts[0].error == ERROR


def test_retry_later_raises_the_attempt_but_spends_none(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING)

    jobs.end_attempt(job, outcome=Outcome.RETRY_LATER, now_ns=3, span_id="a")

    assert (job.attempt, job.postponed, job.spent_attempts) == (1, 1, 0)
    assert job.attempts[0].span_id == "a"


def test_the_first_who_cancels_stays_on_record(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING)

    first = jobs.cancel(job, origin=CancelOrigin.UNWATCHED, now_ns=5)
    again = jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=6)
    jobs.end_attempt(job, outcome=Outcome.CANCELLED, now_ns=7)
    jobs.stop(job, now_ns=7, abandoned=True)

    assert (first, again) == (State.CANCELLING, State.CANCELLING)
    assert job.cancel is not None
    assert (job.cancel.origin, job.cancel.requested_ns) == (CancelOrigin.UNWATCHED, 5)
    assert job.cancel.abandoned
    assert job.state is State.CANCELLED


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_what_has_ended_cannot_be_cancelled(make_job: MakeJob, state: State) -> None:
    job = make_job(state, job_id="j9")

    with pytest.raises(AlreadyFinished, match=f"j9 is already {state}"):
        jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=9)


def test_each_change_is_told(make_job: MakeJob) -> None:
    job = make_job(on_stream=True)
    seen: list[tuple[State, bool]] = []
    job.on_change = lambda changed: seen.append((changed.state, changed.deferred))

    jobs.queue(job, now_ns=1, now_mono=1.0)
    jobs.start(job, now_ns=2)
    jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=3)
    jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=3)
    jobs.end_attempt(job, outcome=Outcome.CANCELLED, now_ns=4)
    jobs.stop(job, now_ns=4)

    assert seen == [
        (State.QUEUED, False),
        (State.RUNNING, False),
        (State.CANCELLING, False),
        (State.CANCELLED, False),
    ]


def test_a_handler_cannot_change_the_params_of_the_next_attempt(make_job: MakeJob) -> None:
    job = make_job(params={"xs": [1]}, metadata={"m": {}})

    job.params["xs"].append(2)
    job.metadata["m"]["n"] = 1

    assert (job.params, job.metadata) == ({"xs": [1]}, {"m": {}})


def test_validated_params_replace_the_submitted_ones() -> None:
    submission = Submission(operation="op", params={"n": 1})

    job = jobs.submit(
        submission, job_id="j", policy=Policy(), params={"n": 1.5}, now_ns=0, now_mono=0.0
    )

    assert job.params == {"n": 1.5}


def test_params_that_json_cannot_carry_are_refused() -> None:
    with pytest.raises(NotJsonError):
        jobs.submit(
            Submission(operation="op"),
            job_id="j",
            policy=Policy(),
            params={"n": float("nan")},
            now_ns=0,
            now_mono=0.0,
        )


def test_what_was_submitted_can_be_submitted_again() -> None:
    submission = Submission.model_validate(
        {
            "operation": "op",
            "params": {"n": 1},
            "tags": {"a": "b"},
            "metadata": {"m": None},
            "priority": "high",
            "timeout_s": 3,
            "retry": {"max_attempts": 2},
            "start": "on_stream",
        }
    )

    job = jobs.submit(submission, job_id="j", policy=Policy(), now_ns=0, now_mono=0.0)

    assert jobs.submission_of(job).model_dump(exclude_unset=True) == submission.model_dump(
        exclude_unset=True
    )


def test_the_time_left_counts_from_creation(make_job: MakeJob) -> None:
    assert make_job(policy=Policy(deadline_s=10)).left_s(4.0) == 6.0
    assert make_job().left_s(4.0) is None


def test_the_checkpoint_is_what_the_last_attempt_left(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING)
    assert jobs.last_checkpoint(job) is None

    job.checkpoint = b'{"page":3}'

    assert jobs.last_checkpoint(job) == {"page": 3}


def test_result_and_failure_are_told_in_wire_form(make_job: MakeJob) -> None:
    completed, failed = make_job(State.COMPLETED), make_job(State.FAILED)

    assert bytes(completed.result_json() or b"") == b'{"n":1}'
    assert failed.result_json() is None
    assert completed.failure_fields() is None
    assert failed.failure_fields() == {"reason": "error", "type": "ValueError", "message": "no"}
    assert (completed.reason, failed.reason) == (None, Reason.ERROR)

"""Attempts that follow attempts: when, how often, for what; and a retry that is a new job."""

import asyncio

import pytest

from app.handlers.context import JobContext, Reject, RetryLater
from app.handlers.operation import operation
from app.jobs.errors import JobNotFound, NotFinished
from app.jobs.submission import RetryChanges
from telemetry.names import MetricName
from tests.engine.harness import Bench, run, seconds
from tests.engine.operations import flaky, hang, later, refuse, sleep

NO_JITTER = {"jitter": "none"}


def test_failed_attempts_are_retried_at_exact_times_until_one_succeeds() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky",
            {"times": 3, "for_s": 0.5},
            retry={"max_attempts": 5, "base_delay_s": 2, "multiplier": 3, "jitter": "none"},
        )
        record = await bench.ended(job)

        starts = [seconds(each.started_at) for each in record.attempts]
        assert starts == [0, 0.5 + 2, 3 + 6, 9.5 + 18]
        assert bench.outcomes(job) == ["error", "error", "error", "completed"]
        assert (record.state, record.result, record.attempt) == ("completed", 4, 4)
        assert record.attempts[0].error is not None
        assert record.attempts[0].error.model_dump() == {
            "type": "ValueError",
            "message": "attempt 1 failed",
        }
        assert bench.metric(MetricName.RETRIES, operation="flaky", reason="error") == 3
        assert bench.metric(MetricName.ATTEMPTS, operation="flaky", outcome="error") == 3
        assert len(bench.spans("job.backoff", job)) == 3

    run(test, flaky)


def test_the_delay_is_capped() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky",
            {"times": 4},
            retry={"max_attempts": 5, "base_delay_s": 1, "max_delay_s": 3, "jitter": "none"},
        )
        record = await bench.ended(job)

        assert [seconds(each.started_at) for each in record.attempts] == [0, 1, 3, 6, 9]

    run(test, flaky)


@pytest.mark.parametrize("uniform", [0.0, 0.25, 0.75])
def test_full_jitter_draws_the_delay_between_nothing_and_its_length(uniform: float) -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky", {"times": 2}, retry={"max_attempts": 3, "base_delay_s": 4, "multiplier": 2}
        )
        record = await bench.ended(job)

        starts = [seconds(each.started_at) for each in record.attempts]
        assert starts == [0, 4 * uniform, 12 * uniform]

    run(test, flaky, uniform=uniform)


def test_while_it_waits_the_record_and_the_story_say_when_the_next_attempt_is_due() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky", {"times": 1}, retry={"max_attempts": 2, "base_delay_s": 30, **NO_JITTER}
        )
        await bench.at(1)
        record = bench.record(job)
        assert record.state == "retrying"
        assert seconds(record.next_retry_at) == 30
        told = bench.events(job)[-1]
        assert (told["state"], told["next_retry_at"]) == ("retrying", record.next_retry_at)
        moment = bench.moment(job, "retry_scheduled")
        assert moment["job.delay_s"] == 30
        assert moment["job.next_retry_at"] == record.next_retry_at
        await bench.ended(job)

        assert bench.record(job).next_retry_at is None
        assert bench.states(job) == [
            "queued",
            "running",
            "retrying",
            "queued",
            "running",
            "completed",
        ]

    run(test, flaky)


def test_with_no_attempt_left_the_job_fails_for_the_last_ones_reason() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("flaky", {"times": 9}, retry={"max_attempts": 3, "base_delay_s": 0})
        record = await bench.ended(job)

        assert bench.state(job) == "failed/error"
        assert len(record.attempts) == 3
        assert record.failure is not None
        assert record.failure.message == "attempt 3 failed"
        assert record.failure.type == "ValueError"
        assert bench.events(job)[-1]["marker"] == "[ERROR] attempt 3 failed"

    run(test, flaky)


def test_retry_later_is_obeyed_and_spends_no_attempt() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("later", {"times": 4, "after_s": 10})
        record = await bench.ended(job)

        assert (record.state, record.attempt, record.result) == ("completed", 5, 5)
        assert [seconds(each.started_at) for each in record.attempts] == [0, 10, 20, 30, 40]
        assert bench.outcomes(job) == ["retry_later"] * 4 + ["completed"]
        assert bench.metric(MetricName.RETRIES, operation="later", reason="retry_later") == 4
        assert "attempt_failed" not in bench.moments(job)

    run(test, later)


def test_retry_later_has_a_cap_of_its_own() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("later", {"times": 99, "after_s": 1}, retry={"max_attempts": 5})
        record = await bench.ended(job)

        assert bench.state(job) == "failed/error"
        assert len(record.attempts) == 4
        assert record.failure is not None
        assert "RetryLater was raised more than 3 times" in record.failure.message

    run(test, later, retry_later_limit=3)


def test_retry_later_and_failures_are_counted_apart() -> None:
    @operation(max_attempts=2, base_delay_s=1, jitter="none")
    async def mixed(*, job: JobContext) -> str:
        if job.attempt == 2:
            raise RetryLater(5)
        if job.attempt == 1:
            raise ValueError("no")
        return "third time"

    async def test(bench: Bench) -> None:
        job = bench.submit("mixed")
        await bench.ended(job)

        assert bench.outcomes(job) == ["error", "retry_later", "completed"]

    run(test, mixed)


def test_a_rejected_job_is_not_retried() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("refuse", retry={"max_attempts": 5})
        record = await bench.ended(job)

        assert bench.state(job) == "failed/rejected"
        assert bench.outcomes(job) == ["rejected"]
        assert record.failure is not None
        assert record.failure.message == "this will never work"

    run(test, refuse)


def test_only_what_retry_on_names_is_retried_and_never_on_is_stronger() -> None:
    @operation(max_attempts=3, base_delay_s=0, retry_on=OSError, never_on=FileNotFoundError)
    async def picky(error: str) -> None:
        raise {"os": OSError, "missing": FileNotFoundError, "value": ValueError}[error]("x")

    async def test(bench: Bench) -> None:
        tried = {}
        for error in ("os", "missing", "value"):
            job = bench.submit("picky", {"error": error})
            tried[error] = len((await bench.ended(job)).attempts)

        assert tried == {"os": 3, "missing": 1, "value": 1}

    run(test, picky)


def test_never_on_timeout_error_stops_the_retry_of_timeouts() -> None:
    @operation(max_attempts=3, timeout_s=1, never_on=TimeoutError)
    async def slow() -> None:
        await asyncio.Event().wait()

    async def test(bench: Bench) -> None:
        job = bench.submit("slow")
        await bench.ended(job)

        assert bench.outcomes(job) == ["timeout"]

    run(test, slow)


def test_what_is_submitted_is_laid_over_the_decorators_policy() -> None:
    @operation(max_attempts=3, base_delay_s=5, multiplier=1, jitter="none")
    async def fails() -> None:
        raise ValueError("no")

    async def test(bench: Bench) -> None:
        job = bench.submit("fails", retry={"base_delay_s": 2})
        record = await bench.ended(job)

        assert [seconds(each.started_at) for each in record.attempts] == [0, 2, 4]

    run(test, fails)


def test_every_attempt_waits_and_runs_in_the_metrics() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky", {"times": 1, "for_s": 2}, retry={"max_attempts": 2, "jitter": "none"}
        )
        await bench.ended(job)

        labels = {"operation": "flaky", "priority": "normal"}
        assert bench.metric(MetricName.WAIT, "_count", **labels) == 2
        assert bench.metric(MetricName.WAIT, "_sum", **labels) == 0
        for outcome in ("error", "completed"):
            found = {"operation": "flaky", "outcome": outcome}
            assert bench.metric(MetricName.RUN, "_count", **found) == 1
            assert bench.metric(MetricName.RUN, "_sum", **found) == 2

    run(test, flaky)


def test_a_failed_attempt_is_an_error_span_and_the_job_that_succeeds_is_not() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("flaky", {"times": 1}, retry={"max_attempts": 2, "base_delay_s": 0})
        await bench.ended(job)
        attempts = bench.spans("job.attempt", job)
        (whole,) = bench.spans("job flaky", job)

        assert [each.status.status_code.name for each in attempts] == ["ERROR", "UNSET"]
        assert [event.name for event in attempts[0].events] == ["exception"]
        assert whole.status.status_code.name == "UNSET"

    run(test, flaky)


# --- a finished job, run again as a new one -----------------------------------------------------


def test_a_finished_job_can_be_run_again_as_it_was() -> None:
    async def test(bench: Bench) -> None:
        old = bench.submit(
            "sleep", {"value": "v"}, tags={"a": "b"}, metadata={"m": 1}, priority="high"
        )
        await bench.ended(old)
        again = bench.engine.retry(old)
        record = await bench.ended(again.id)

        assert record.retry_of == old
        assert (record.params, record.tags, record.metadata, record.priority, record.result) == (
            {"value": "v"},
            {"a": "b"},
            {"m": 1},
            "high",
            "v",
        )
        (span,) = bench.spans("job sleep", again.id)
        (first,) = bench.spans("job sleep", old)
        assert first.context is not None
        assert [link.context.span_id for link in span.links] == [first.context.span_id]
        assert (span.attributes or {})["job.retry_of"] == old

    run(test, sleep)


def test_a_job_is_run_again_with_changes() -> None:
    async def test(bench: Bench) -> None:
        old = bench.submit("sleep", {"for_s": 9, "value": "v"}, timeout_s=1)
        await bench.ended(old)
        changes = RetryChanges.model_validate({"params": {"for_s": 2}, "timeout_s": 5})
        record = await bench.ended(bench.engine.retry(old, changes).id)

        assert record.params == {"for_s": 2.0, "value": "v"}
        assert record.state == "completed"

    run(test, sleep)


def test_an_unfinished_or_unknown_job_cannot_be_run_again() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("hang")
        with pytest.raises(NotFinished):
            bench.engine.retry(job)
        with pytest.raises(JobNotFound):
            bench.engine.retry("nobody")

    run(test, hang)


def test_reject_and_retry_later_work_in_threads() -> None:
    @operation
    def blocked(*, job: JobContext) -> None:
        if job.attempt == 1:
            raise RetryLater(3)
        raise Reject("in a thread")

    async def test(bench: Bench) -> None:
        job = bench.submit("blocked")
        await bench.ended(job)

        assert bench.outcomes(job) == ["retry_later", "rejected"]
        assert bench.now >= 3

    run(test, blocked)

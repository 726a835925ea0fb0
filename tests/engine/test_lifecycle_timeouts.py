"""The limits of time: of an attempt, of the wait for a slot, of the wait for a stream, in all."""

import asyncio

import pytest

from app.handlers.operation import operation
from telemetry.names import MetricName, TimeoutKind
from tests.engine.harness import Bench, run, seconds
from tests.engine.operations import flaky, hang, later, reluctant, sleep, stubborn


def _timeouts(bench: Bench, operation_name: str) -> dict[str, float]:
    counts = {
        each.value: bench.metric(MetricName.TIMEOUTS, operation=operation_name, kind=each.value)
        for each in TimeoutKind
    }
    return {kind: count for kind, count in counts.items() if count}


def test_an_attempt_that_runs_too_long_is_stopped_and_fails() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("hang", timeout_s=3)
        record = await bench.ended(job)

        assert bench.now == 3
        assert bench.state(job) == "failed/timeout"
        assert bench.outcomes(job) == ["timeout"]
        assert record.failure is not None
        assert (record.failure.type, record.failure.message) == (
            "timeout",
            "the attempt ran longer than timeout_s = 3 s",
        )
        assert bench.moments(job) == [
            "queued",
            "started",
            "attempt_timed_out",
            "attempt_failed",
            "failed",
        ]
        assert bench.moment(job, "attempt_timed_out")["job.timeout.kind"] == "attempt"
        assert _timeouts(bench, "hang") == {"attempt": 1}

    run(test, hang)


def test_a_timeout_holds_for_each_attempt_anew() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "hang",
            timeout_s=3,
            retry={"max_attempts": 3, "base_delay_s": 1, "multiplier": 1, "jitter": "none"},
        )
        await bench.ended(job)

        assert bench.outcomes(job) == ["timeout"] * 3
        assert [seconds(each.started_at) for each in bench.record(job).attempts] == [0, 4, 8]
        assert bench.now == 11
        assert _timeouts(bench, "hang") == {"attempt": 3}

    run(test, hang)


def test_the_time_in_the_queue_is_not_the_attempts() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("sleep", {"for_s": 10})
        await bench.settle()
        job = bench.submit("sleep", {"for_s": 2}, timeout_s=3)
        await bench.ended(job)

        assert bench.state(job) == "completed"

    run(test, sleep, concurrency=1)


def test_a_job_stays_running_until_a_timed_out_attempt_has_really_stopped() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", {"stops_after_s": 2}, timeout_s=3)
        await bench.at(4)
        assert bench.state(job) == "running"
        assert bench.engine._core.free_slots == bench.narrator.settings.concurrency - 1
        await bench.ended(job)

        assert bench.now == 5
        assert bench.state(job) == "failed/timeout"

    run(test, reluctant)


@pytest.mark.parametrize("how", ["finish", "raise", "later", "reject", "cancelled"])
def test_an_attempt_that_has_timed_out_is_a_timeout_however_it_ends(how: str) -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", {"how": how}, timeout_s=3)
        record = await bench.ended(job)

        assert bench.state(job) == "failed/timeout"
        assert bench.outcomes(job) == ["timeout"]
        assert record.result is None

    run(test, reluctant)


def test_a_timed_out_attempt_that_will_not_stop_is_abandoned_and_fails_without_retry() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("stubborn", {"for_s": 100}, timeout_s=3, retry={"max_attempts": 5})
        waiting = bench.submit("sleep")
        record = await bench.ended(job)

        assert bench.now == 8
        assert bench.state(job) == "failed/timeout"
        assert bench.outcomes(job) == ["timeout"]
        assert record.cancel is None
        assert bench.moments(job)[-4:] == [
            "attempt_timed_out",
            "abandoned",
            "attempt_failed",
            "failed",
        ]
        assert bench.metric(MetricName.ABANDONED, operation="stubborn") == 1
        await bench.ended(waiting)
        assert bench.now == 8
        await bench.at(101)  # it ends at last, and nothing comes of it
        assert bench.record(job) == record
        assert bench.engine._core.free_slots == 1

    run(test, stubborn, sleep, concurrency=1)


def test_a_job_that_is_not_started_in_time_expires() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        await bench.settle()
        job = bench.submit("sleep", queue_timeout_s=7)
        record = await bench.ended(job)

        assert bench.now == 7
        assert bench.state(job) == "failed/expired"
        assert record.started_at is None
        assert record.attempts == []
        assert record.failure is not None
        assert record.failure.message == "not started within queue_timeout_s = 7 s"
        assert bench.moments(job) == ["queued", "expired"]
        assert bench.moment(job, "expired")["job.timeout.kind"] == "queue"
        assert _timeouts(bench, "sleep") == {"queue": 1}
        assert (
            bench.metric(MetricName.FINISHED, operation="sleep", outcome="failed", reason="expired")
            == 1
        )

    run(test, hang, sleep, concurrency=1)


def test_the_queue_timeout_is_over_with_the_first_start() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky",
            {"times": 1},
            queue_timeout_s=2,
            retry={"max_attempts": 2, "base_delay_s": 1, "jitter": "none"},
        )
        await bench.settle()
        bench.submit("sleep", {"for_s": 50})  # takes the slot while the job waits for its retry
        await bench.ended(job)

        assert bench.state(job) == "completed"
        assert bench.now == 50

    run(test, flaky, sleep, concurrency=1)


def test_a_deadline_stops_what_runs() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("hang", deadline_s=6, retry={"max_attempts": 9})
        record = await bench.ended(job)

        assert bench.now == 6
        assert bench.state(job) == "failed/timeout"
        assert record.failure is not None
        assert record.failure.message == "not finished within deadline_s = 6 s"
        assert bench.moment(job, "attempt_timed_out")["job.timeout.kind"] == "deadline"
        assert _timeouts(bench, "hang") == {"deadline": 1}

    run(test, hang)


def test_a_deadline_counts_from_creation_retries_included() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "hang",
            timeout_s=4,
            deadline_s=7,
            retry={"max_attempts": 9, "base_delay_s": 1, "multiplier": 1, "jitter": "none"},
        )
        await bench.ended(job)

        assert bench.now == 7
        assert bench.outcomes(job) == ["timeout", "timeout"]
        assert _timeouts(bench, "hang") == {"attempt": 1, "deadline": 1}
        assert bench.state(job) == "failed/timeout"

    run(test, hang)


def test_a_deadline_that_passes_in_the_queue_is_an_expiry() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        await bench.settle()
        job = bench.submit("sleep", deadline_s=5)
        await bench.ended(job)

        assert bench.now == 5
        assert bench.state(job) == "failed/expired"
        assert bench.moment(job, "expired")["job.timeout.kind"] == "deadline"

    run(test, hang, sleep, concurrency=1)


def test_a_deadline_that_passes_in_the_queue_after_a_start_is_a_timeout() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky",
            {"times": 1},
            deadline_s=5,
            retry={"max_attempts": 2, "base_delay_s": 1, "jitter": "none"},
        )
        await bench.settle()
        bench.submit("hang")
        await bench.at(2)
        assert bench.states(job)[-1] == "queued"
        record = await bench.ended(job)

        assert bench.now == 5
        assert bench.state(job) == "failed/timeout"
        assert record.failure is not None
        assert record.failure.type == "timeout"
        assert _timeouts(bench, "flaky") == {"deadline": 1}

    run(test, flaky, hang, concurrency=1)


@pytest.mark.parametrize(("after_s", "ends_at"), [(4.0, 4), (5.0, 0), (60.0, 0)])
def test_a_retry_after_the_deadline_is_not_waited_for(after_s: float, ends_at: float) -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("later", {"times": 1, "after_s": after_s}, deadline_s=5)
        await bench.ended(job)

        assert bench.now == ends_at
        assert bench.state(job) == ("completed" if ends_at else "failed/timeout")
        assert _timeouts(bench, "later") == ({} if ends_at else {"deadline": 1})

    run(test, later)


def test_a_timed_out_attempt_whose_retry_would_be_too_late_counts_both_limits() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "hang",
            timeout_s=4,
            deadline_s=5,
            retry={"max_attempts": 2, "base_delay_s": 1, "jitter": "none"},
        )
        record = await bench.ended(job)

        assert bench.now == 4
        assert bench.state(job) == "failed/timeout"
        assert record.failure is not None
        assert "would have started after the deadline" in record.failure.message
        assert _timeouts(bench, "hang") == {"attempt": 1, "deadline": 1}

    run(test, hang)


def test_a_deadline_during_the_grace_of_a_timeout_changes_only_its_words() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", {"stops_after_s": 4}, timeout_s=3, deadline_s=5)
        record = await bench.ended(job)

        assert bench.now == 7
        assert bench.state(job) == "failed/timeout"
        assert record.failure is not None
        assert record.failure.message == "not finished within deadline_s = 5 s"
        assert _timeouts(bench, "reluctant") == {"attempt": 1, "deadline": 1}

    run(test, reluctant)


def test_a_deadline_during_a_cancellation_changes_nothing() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", {"stops_after_s": 4}, deadline_s=5)
        await bench.at(3)
        bench.engine.cancel(job)
        await bench.ended(job)

        assert bench.now == 7
        assert bench.state(job) == "cancelled"
        assert _timeouts(bench, "reluctant") == {}

    run(test, reluctant)


def test_limits_of_the_decorator_hold_where_the_submission_says_nothing() -> None:
    @operation(timeout_s=2, deadline_s=30, queue_timeout_s=9)
    async def limited() -> None:
        await asyncio.Event().wait()

    async def test(bench: Bench) -> None:
        own = bench.submit("limited")
        other = bench.submit("limited", timeout_s=4)
        await bench.ended(own)
        assert bench.now == 2
        await bench.ended(other)
        assert bench.now == 4

    run(test, limited)


def test_a_timeout_at_the_very_moment_of_the_end_wins() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 5}, timeout_s=5)
        await bench.ended(job)

        assert bench.state(job) == "failed/timeout"

    run(test, sleep)


def test_a_generator_is_closed_in_time_when_it_times_out() -> None:
    from collections.abc import AsyncIterator  # noqa: PLC0415  # only here

    closed: list[float] = []

    @operation
    async def tokens() -> AsyncIterator[str]:
        try:
            for number in range(1000):
                yield f"t{number}"
                await asyncio.sleep(1)
        finally:
            closed.append(asyncio.get_running_loop().time())

    async def test(bench: Bench) -> None:
        job = bench.submit("tokens", timeout_s=2.5)
        await bench.ended(job)

        assert bench.output(job) == ["t0", "t1", "t2"]
        assert closed == [2.5]

    run(test, tokens)

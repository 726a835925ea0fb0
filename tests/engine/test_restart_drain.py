"""Shutting down with a store: what waits, and what would not end in time, is handed back.

What becomes of it without one is in `test_lifecycle_drain`.
"""

import asyncio

import pytest

from telemetry.names import State
from tests.engine.harness import Handler, seconds
from tests.engine.lives import Lives, run_lives
from tests.engine.operations import flaky, hang, reluctant, sleep, stubborn

pytestmark = pytest.mark.backend("sqlite")


def test_a_drain_leaves_what_waits_and_gives_what_runs_its_time() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start(concurrency=1)
        running = bench.submit("sleep", {"for_s": 5})
        retrying = bench.submit("flaky", {"times": 1}, retry={"max_attempts": 2})
        await bench.settle()
        queued = [bench.submit("sleep") for _ in range(3)]
        deferred = bench.submit("sleep", start="on_stream")
        drain = asyncio.create_task(bench.engine.drain(10))
        await asyncio.sleep(0)
        assert bench.state(running) == "running"
        await drain
        assert bench.now == 5
        assert bench.state(running) == "completed"
        left = [*queued, retrying, deferred]
        before = {job: bench.record(job) for job in left}
        assert {each.state for each in before.values()} <= {State.QUEUED, State.RETRYING}
        await lives.stop()
        bench = await lives.start()
        assert {job: bench.record(job) for job in left} == before
        for job in (*queued, retrying):
            await bench.ended(job)
            assert bench.state(job) == "completed"
        assert bench.state(running) == "completed"

    run_lives(test, sleep, flaky)


def test_what_runs_beyond_the_grace_is_lost_and_tried_again() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        retried = bench.submit("hang", retry={"max_attempts": 2, "base_delay_s": 100})
        reluctant_one = bench.submit(
            "reluctant", {"stops_after_s": 2}, retry={"max_attempts": 2, "base_delay_s": 100}
        )
        failed = bench.submit("hang")
        await bench.settle()
        await bench.engine.drain(7)
        assert bench.now == 9
        assert [bench.state(job) for job in (retried, reluctant_one, failed)] == [
            *("retrying", "retrying", "failed/lost")
        ]
        await lives.stop()
        bench = await lives.start(sleep, flaky)  # neither is served
        for job in (retried, reluctant_one):
            assert bench.outcomes(job) == ["lost"]
            error = bench.record(job).attempts[0].error
            assert error is not None
            assert "shut down" in error.message

    run_lives(test, hang, reluctant)


def test_what_will_not_stop_is_lost_and_does_not_hold_up_the_drain() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("stubborn", {"for_s": 1000}, retry={"max_attempts": 2})
        await bench.settle()
        await bench.engine.drain(3)
        assert bench.now == 3 + 5
        assert bench.state(job) == "retrying"
        assert bench.outcomes(job) == ["lost"]
        await lives.stop()

    run_lives(test, stubborn)


@pytest.mark.parametrize("handler", [reluctant, stubborn])
def test_a_job_that_is_being_cancelled_is_cancelled_by_the_drain(handler: Handler) -> None:
    async def test(lives: Lives) -> None:
        name = "reluctant" if handler is reluctant else "stubborn"
        bench = await lives.start()
        job = bench.submit(name, retry={"max_attempts": 3})
        await bench.settle()
        bench.engine.cancel(job)
        await bench.engine.drain(0)

        cancel = bench.record(job).cancel
        assert bench.state(job) == "cancelled"
        assert bench.outcomes(job) == ["cancelled"]
        assert cancel is not None
        assert (cancel.origin, cancel.abandoned) == ("client", handler is stubborn)

    run_lives(test, reluctant, stubborn)


def test_an_attempt_that_ran_too_long_before_the_drain_has_timed_out() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("reluctant", timeout_s=5, retry={"max_attempts": 2})
        await bench.at(6)
        await bench.engine.drain(0)

        assert bench.outcomes(job) == ["timeout"]
        assert bench.state(job) == "retrying"
        await lives.stop()

    run_lives(test, reluctant)


def test_a_job_that_fails_during_the_drain_is_tried_again_by_the_next_engine() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        retry = {"max_attempts": 2, "base_delay_s": 9, "jitter": "none"}
        job = bench.submit("flaky", {"times": 1, "for_s": 2}, retry=retry)
        await bench.settle()
        await bench.engine.drain(30)
        assert bench.now == 2
        assert bench.states(job) == ["queued", "running", "retrying"]
        await lives.stop(after_s=1)
        bench = await lives.start()
        record = await bench.ended(job)
        assert seconds(record.attempts[1].started_at) == 2 + 9
        assert bench.state(job) == "completed"

    run_lives(test, flaky)


def test_a_narrator_that_stops_hands_back_what_is_left() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("sleep", {"for_s": 60}, retry={"max_attempts": 2})
        await bench.settle()
        await lives.stop()
        bench = await lives.start(drain_s=100)
        await bench.ended(job)
        assert bench.outcomes(job) == ["lost", "completed"]

    run_lives(test, sleep, drain_s=1)

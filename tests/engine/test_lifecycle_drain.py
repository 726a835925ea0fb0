"""Shutting down: nothing new, waiting jobs cancelled, running ones given their time.

What is handed back instead, with a store, is in `test_restart_drain`.
"""

import asyncio

import pytest

from app.jobs.errors import Draining
from narration.resume import StreamQuery, resolve
from telemetry.names import CancelOrigin, MetricName
from tests.engine.harness import Bench, run
from tests.engine.operations import flaky, hang, reluctant, sleep, stubborn

pytestmark = pytest.mark.backend("memory")


def _origin(bench: Bench, job: str) -> CancelOrigin | None:
    cancel = bench.record(job).cancel
    return cancel.origin if cancel else None


def test_waiting_jobs_are_cancelled_at_once_and_running_ones_finish() -> None:
    async def test(bench: Bench) -> None:
        running = bench.submit("sleep", {"for_s": 5})
        retrying = bench.submit("flaky", {"times": 1}, retry={"max_attempts": 2})
        await bench.settle()
        queued = [bench.submit("sleep") for _ in range(3)]
        deferred = bench.submit("sleep", start="on_stream")
        drain = asyncio.create_task(bench.engine.drain(10))
        await asyncio.sleep(0)
        for job in (*queued, retrying, deferred):
            assert bench.state(job) == "cancelled"
            assert _origin(bench, job) == "shutdown"
        assert bench.state(running) == "running"
        await drain

        assert bench.now == 5
        assert bench.state(running) == "completed"

    run(test, sleep, flaky, concurrency=1)


def test_what_runs_beyond_the_grace_is_cancelled() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", {"stops_after_s": 2})
        await bench.settle()
        await bench.engine.drain(7)

        assert bench.now == 9
        assert bench.state(job) == "cancelled"
        assert _origin(bench, job) == "shutdown"
        labels = {"operation": "reluctant", "origin": "shutdown"}
        assert bench.metric(MetricName.CANCELLATIONS, **labels) == 1

    run(test, reluctant)


def test_what_will_not_stop_does_not_hold_up_the_drain() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("stubborn", {"for_s": 1000})
        await bench.settle()
        await bench.engine.drain(3)

        assert bench.now == 3 + 5
        record = bench.record(job)
        assert record.cancel is not None
        assert record.cancel.abandoned

    run(test, stubborn)


def test_a_job_that_fails_during_the_drain_is_not_waited_for_until_its_retry() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky", {"times": 1, "for_s": 2}, retry={"max_attempts": 2, "base_delay_s": 9}
        )
        await bench.settle()
        await bench.engine.drain(30)

        assert bench.now == 2
        assert bench.states(job) == ["queued", "running", "retrying", "cancelled"]
        assert _origin(bench, job) == "shutdown"

    run(test, flaky)


def test_an_idle_engine_drains_at_once() -> None:
    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit("sleep"))
        await bench.engine.drain(30)

        assert bench.now == 0

    run(test, sleep)


def test_submitting_and_retrying_are_refused_meanwhile() -> None:
    async def test(bench: Bench) -> None:
        old = bench.submit("sleep")
        await bench.ended(old)
        await bench.engine.drain(0)
        ready = bench.engine.ready()
        assert (ready["accepting"], ready["queue"]) == (False, True)
        assert bench.engine.draining
        with pytest.raises(Draining) as refused:
            bench.submit("sleep")
        with pytest.raises(Draining):
            bench.engine.retry(old)

        assert refused.value.retry_after_s == 1
        assert bench.metric(MetricName.REFUSED, reason="draining") == 2

    run(test, sleep)


def test_open_streams_are_told_and_closed() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 3})
        log, query = bench.engine.log(job), StreamQuery()
        reader = bench.engine.streams.open(log, query, resolve(log, query))
        bench.engine.streams.attach(reader)
        await bench.settle()
        drain = asyncio.create_task(bench.engine.drain(10))
        told = b"".join([chunk async for chunk in reader]).decode()
        bench.engine.streams.detach(reader)
        await drain

        assert "event: draining" in told
        assert '"reason":"shutdown"' in told
        assert "event: end" not in told

    run(test, sleep)


def test_a_narrator_that_stops_cancels_what_is_left_with_the_origin_shutdown() -> None:
    left: list[str] = []
    benches: list[Bench] = []

    async def test(bench: Bench) -> None:
        left.append(bench.submit("hang"))
        await bench.settle()
        benches.append(bench)

    run(test, hang)  # its end checks that all stories have ended
    (bench,) = benches
    assert bench.state(left[0]) == "cancelled"
    assert _origin(bench, left[0]) == "shutdown"


def test_draining_twice_at_once_ends_both() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 4})
        await bench.settle()
        await asyncio.gather(bench.engine.drain(10), bench.engine.drain(10))

        assert bench.now == 4
        assert bench.state(job) == "completed"

    run(test, sleep)


def test_killing_all_ends_nothing_that_cannot_be_ended_by_force() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 2})
        await bench.settle()
        bench.engine.kill_all()
        await bench.ended(job)

        assert bench.state(job) == "completed"

    run(test, sleep)

"""Jobs that are cancelled when nobody watches them any more, if they asked for that."""

import asyncio

from telemetry.names import MetricName
from tests.engine.harness import Bench, run
from tests.engine.operations import hang, sleep


def test_a_job_is_cancelled_when_the_last_watcher_has_left_and_the_grace_is_over() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("hang", cancel_when_unwatched=True)
        bench.engine.attached(job)
        bench.engine.attached(job)
        await bench.at(5)
        bench.engine.detached(job, by_client=True)
        await bench.at(50)
        assert bench.state(job) == "running"
        bench.engine.detached(job, by_client=True)
        await bench.at(59.9)
        assert bench.state(job) == "running"
        record = await bench.ended(job)

        assert bench.now == 60
        assert record.cancel is not None
        assert record.cancel.origin == "unwatched"
        assert bench.metric(MetricName.CANCELLATIONS, operation="hang", origin="unwatched") == 1

    run(test, hang)


def test_a_watcher_that_comes_back_within_the_grace_keeps_it_alive() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("hang", cancel_when_unwatched=True)
        for _ in range(3):
            bench.engine.attached(job)
            await asyncio.sleep(1)
            bench.engine.detached(job, by_client=True)
            await asyncio.sleep(9.5)
        assert bench.state(job) == "running"
        await bench.ended(job)

        assert bench.now == 3 * 10.5 + 0.5

    run(test, hang)


def test_streams_that_the_server_closes_do_not_count() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 100}, cancel_when_unwatched=True)
        bench.engine.attached(job)
        bench.engine.attached(job)
        bench.engine.detached(job, by_client=True)
        bench.engine.detached(job, by_client=False)
        await bench.ended(job)

        assert bench.state(job) == "completed"

    run(test, sleep)


def test_a_disconnect_alone_never_cancels() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 100})
        bench.engine.attached(job)
        bench.engine.detached(job, by_client=True)
        await bench.ended(job)

        assert bench.state(job) == "completed"

    run(test, sleep)


def test_a_job_that_nobody_has_watched_yet_is_not_cancelled() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 100}, cancel_when_unwatched=True)
        await bench.ended(job)

        assert bench.state(job) == "completed"

    run(test, sleep)


def test_a_waiting_job_is_cancelled_too() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        job = bench.submit("sleep", start="on_stream", cancel_when_unwatched=True)
        bench.engine.attached(job)
        bench.engine.detached(job, by_client=True)
        record = await bench.ended(job)

        assert (bench.now, record.state, record.started_at) == (10, "cancelled", None)

    run(test, hang, sleep, concurrency=1)


def test_leaving_a_job_that_has_ended_or_is_gone_does_nothing() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", cancel_when_unwatched=True)
        bench.engine.attached(job)
        await bench.ended(job)
        bench.engine.detached(job, by_client=True)
        bench.engine.forget(job)
        bench.engine.attached(job)
        bench.engine.detached(job, by_client=True)
        await bench.at(60)

        assert bench.now == 60

    run(test, sleep)


def test_a_job_that_is_being_cancelled_anyway_keeps_its_origin() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 100}, cancel_when_unwatched=True)
        bench.engine.attached(job)
        bench.engine.detached(job, by_client=True)
        await bench.settle()
        bench.engine.cancel(job)
        record = await bench.ended(job)
        await bench.at(20)

        assert record.cancel is not None
        assert record.cancel.origin == "client"

    run(test, sleep)

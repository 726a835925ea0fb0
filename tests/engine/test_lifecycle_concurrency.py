"""How many may run at once: in all, of one operation, of one key."""

import asyncio
from collections import Counter

from app.handlers.context import JobContext
from app.handlers.operation import operation
from telemetry.names import MetricName
from tests.engine.harness import Bench, registry, run, seconds
from tests.engine.operations import hang, sleep


class _Peak:
    """How many were in a block at once, at most."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    async def stay(self, for_s: float) -> None:
        """Be in the block for a while."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(for_s)
        self.inside -= 1


def test_no_more_jobs_run_than_there_are_slots() -> None:
    peak = _Peak()

    @operation
    async def work() -> None:
        await peak.stay(1)

    async def test(bench: Bench) -> None:
        jobs = [bench.submit("work") for _ in range(10)]
        await bench.settle()
        assert bench.metric(MetricName.RUNNING, operation="work") == 3
        for job in jobs:
            await bench.ended(job)

        assert (peak.most, bench.now) == (3, 4)

    run(test, work, concurrency=3)


def test_an_operation_keeps_to_its_own_limit_and_holds_no_other_back() -> None:
    peak = _Peak()

    @operation(concurrency=2)
    async def narrow() -> None:
        await peak.stay(1)

    async def test(bench: Bench) -> None:
        jobs = [bench.submit("narrow") for _ in range(6)]
        other = bench.submit("sleep")
        await bench.ended(other)
        assert bench.now == 0
        for job in jobs:
            await bench.ended(job)

        assert (peak.most, bench.now) == (2, 3)

    run(test, narrow, sleep, concurrency=10)


def test_jobs_with_one_key_run_one_at_a_time_in_order_whatever_their_operation() -> None:
    peak = _Peak()

    @operation
    async def one() -> None:
        await peak.stay(1)

    @operation
    async def two() -> None:
        await peak.stay(1)

    async def test(bench: Bench) -> None:
        jobs = [bench.submit(("one", "two")[n % 2], concurrency_key="tenant-7") for n in range(6)]
        free = bench.submit("one", concurrency_key="tenant-8")
        await bench.ended(free)
        assert bench.now == 1
        for job in jobs:
            await bench.ended(job)

        assert [seconds(bench.record(job).started_at) for job in jobs] == [*range(6)]
        assert peak.most == 2

    run(test, one, two)


def test_an_operation_may_allow_more_than_one_of_a_key() -> None:
    peak = _Peak()

    @operation(key_concurrency=3)
    async def work() -> None:
        await peak.stay(1)

    async def test(bench: Bench) -> None:
        jobs = [bench.submit("work", concurrency_key="k") for _ in range(6)]
        for job in jobs:
            await bench.ended(job)

        assert (peak.most, bench.now) == (3, 2)

    run(test, work)


def test_a_job_that_waits_for_its_retry_holds_neither_slot_nor_key() -> None:
    @operation(max_attempts=2, base_delay_s=100, jitter="none")
    async def fails_once(*, job: JobContext) -> None:
        if job.attempt == 1:
            raise ValueError("no")

    async def test(bench: Bench) -> None:
        first = bench.submit("fails_once", concurrency_key="k")
        second = bench.submit("sleep", {"for_s": 3}, concurrency_key="k")
        await bench.ended(second)
        assert bench.state(first) == "retrying"
        assert bench.metric(MetricName.RETRYING, operation="fails_once") == 1
        assert bench.now == 3
        await bench.ended(first)

    run(test, fails_once, sleep, concurrency=1)


def test_a_held_back_job_of_high_priority_lets_others_pass() -> None:
    @operation(concurrency=1)
    async def narrow() -> None:
        await asyncio.sleep(10)

    async def test(bench: Bench) -> None:
        bench.submit("narrow")
        await bench.settle()
        held = bench.submit("narrow", priority="critical")
        low = bench.submit("sleep", priority="low")
        await bench.ended(low)

        assert bench.now == 0
        assert bench.state(held) == "queued"

    run(test, narrow, sleep, concurrency=2)


def test_gauges_of_running_jobs_are_told_for_every_operation() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        await bench.settle()
        running = {
            each.labels["operation"]: each.value
            for family in registry(bench.narrator).collect()
            for each in family.samples
            if each.name == MetricName.RUNNING
        }

        assert running == {"hang": 1, "sleep": 0}

    run(test, hang, sleep)


def test_threads_keep_to_the_limits_as_coroutines_do() -> None:
    import threading  # noqa: PLC0415  # only here

    lock, counts = threading.Lock(), Counter[str]()
    meet = threading.Barrier(2)

    @operation(concurrency=2)
    def work() -> None:
        with lock:
            counts["inside"] += 1
            counts["most"] = max(counts["most"], counts["inside"])
        meet.wait(10)  # two are here at once, or nobody gets on
        with lock:
            counts["inside"] -= 1

    async def test(bench: Bench) -> None:
        for job in [bench.submit("work") for _ in range(8)]:
            await bench.ended(job)

        assert counts["most"] == 2

    run(test, work)

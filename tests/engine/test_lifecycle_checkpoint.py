"""Checkpoints: what an attempt leaves for the next one."""

from typing import Any

from app.handlers.context import JobContext, RetryLater
from app.handlers.operation import operation
from tests.engine.harness import Bench, run


def test_the_next_attempt_finds_the_last_checkpoint() -> None:
    @operation(max_attempts=3, base_delay_s=0)
    async def counts(*, job: JobContext) -> Any:
        last = job.last_checkpoint or {"done": 0}
        if job.attempt < 3:
            job.checkpoint({"done": last["done"] + 1})
            job.checkpoint({"done": last["done"] + 2})
            raise ValueError("no")
        return last

    async def test(bench: Bench) -> None:
        record = await bench.ended(bench.submit("counts"))

        assert record.result == {"done": 4}

    run(test, counts)


def test_an_attempt_that_leaves_none_keeps_the_one_before() -> None:
    @operation
    async def waits(*, job: JobContext) -> Any:
        if job.attempt == 1:
            job.checkpoint("from 1")
        if job.attempt < 4:
            raise RetryLater(1)
        return job.last_checkpoint

    async def test(bench: Bench) -> None:
        assert (await bench.ended(bench.submit("waits"))).result == "from 1"

    run(test, waits)


def test_a_thread_leaves_checkpoints_too_even_when_it_times_out() -> None:
    @operation(max_attempts=2, base_delay_s=0, timeout_s=0.02)
    def slow(*, job: JobContext) -> Any:
        if job.attempt == 2:
            return job.last_checkpoint
        job.checkpoint([1, 2])
        job.token.wait(30)
        return None

    async def test(bench: Bench) -> None:
        job = bench.submit("slow")
        record = await bench.ended(job)

        assert bench.outcomes(job)[0] == "timeout"
        assert record.result == [1, 2]

    run(test, slow)


def test_a_checkpoint_is_a_copy() -> None:
    @operation(max_attempts=2, base_delay_s=0)
    async def changes(*, job: JobContext) -> Any:
        if job.attempt == 2:
            return job.last_checkpoint
        value = [1]
        job.checkpoint(value)
        value.append(2)
        raise ValueError("no")

    async def test(bench: Bench) -> None:
        assert (await bench.ended(bench.submit("changes"))).result == [1]

    run(test, changes)


def test_a_checkpoint_that_json_cannot_carry_or_that_is_too_large_is_refused_in_the_handler() -> (
    None
):
    @operation
    async def tries(*, job: JobContext) -> list[str]:
        told = []
        for value in (object(), "x" * 2_000_000):
            try:
                job.checkpoint(value)
            except ValueError as error:
                told.append(str(error))
        return told

    async def test(bench: Bench) -> None:
        record = await bench.ended(bench.submit("tries"))

        assert "the checkpoint is a object that JSON cannot carry" in record.result[0]
        assert record.result[1] == "the checkpoint has 2000002 bytes of JSON; the limit is 1048576"

    run(test, tries)


def test_a_job_run_again_does_not_inherit_the_checkpoint() -> None:
    @operation
    async def leaves(*, job: JobContext) -> Any:
        job.checkpoint("mine")
        return job.last_checkpoint

    async def test(bench: Bench) -> None:
        old = bench.submit("leaves")
        await bench.ended(old)
        again = await bench.ended(bench.engine.retry(old).id)

        assert again.result is None

    run(test, leaves)

"""Progress, coalesced before it is numbered; output, which is data and is never dropped."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from app.handlers.context import JobContext
from app.handlers.operation import operation
from narration.narrate import narrate
from telemetry.names import MetricName
from tests.engine.harness import Bench, run


def test_a_flood_of_progress_gives_few_events_and_the_last_is_told_before_the_end() -> None:
    @operation
    async def flood(*, job: JobContext) -> None:
        for done in range(10_000):
            job.progress(done, 10_000)
            if done % 1000 == 999:
                await asyncio.sleep(0.05)

    async def test(bench: Bench) -> None:
        job = bench.submit("flood")
        record = await bench.ended(job)
        told = bench.progress(job)

        assert told[0] == 0
        assert told[-1] == 9999
        assert len(told) <= 7  # half a second, ten a second, and the last
        assert told == sorted(told)
        assert record.progress is not None
        assert record.progress.model_dump() == {"done": 9999, "total": 10_000, "text": None}
        assert len(bench.events(job)) < 20

    run(test, flood)


def test_a_flood_of_progress_from_a_thread_is_coalesced_as_well() -> None:
    @operation
    def flood(*, job: JobContext) -> None:
        for done in range(10_000):
            job.progress(done, text="so far")

    async def test(bench: Bench) -> None:
        job = bench.submit("flood")
        await bench.ended(job)
        told = bench.progress(job)

        assert (told[0], told[-1]) == (0, 9999)
        assert told == sorted(told)

    run(test, flood, progress_interval_s=60.0)


def test_progress_is_told_again_once_the_interval_is_over() -> None:
    @operation
    async def steps(*, job: JobContext) -> None:
        for done in range(4):
            job.progress(done, 4)
            job.progress(done + 0.5, 4)
            await asyncio.sleep(1)

    async def test(bench: Bench) -> None:
        job = bench.submit("steps")
        await bench.ended(job)

        assert bench.progress(job) == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]

    run(test, steps, progress_interval_s=0.25)


def test_with_no_interval_every_step_is_told() -> None:
    @operation
    async def steps(*, job: JobContext) -> None:
        for done in range(50):
            job.progress(done)

    async def test(bench: Bench) -> None:
        job = bench.submit("steps")
        await bench.ended(job)

        assert bench.progress(job) == [*range(50)]

    run(test, steps, progress_interval_s=0.0)


def test_each_attempt_begins_without_progress() -> None:
    @operation(max_attempts=2, base_delay_s=0)
    async def twice(*, job: JobContext) -> None:
        if job.attempt == 1:
            job.progress(5, 10)
            job.progress(6, 10)
            raise ValueError("no")

    async def test(bench: Bench) -> None:
        job = bench.submit("twice")
        record = await bench.ended(job)

        assert bench.progress(job) == [5, 6]
        assert record.progress is None

    run(test, twice)


def test_what_an_earlier_attempt_left_running_does_not_speak_for_a_later_one() -> None:
    tasks = []

    @operation(max_attempts=2, base_delay_s=1, jitter="none")
    async def twice(*, job: JobContext) -> object:
        async def later() -> None:
            await asyncio.sleep(2)
            job.progress(1)
            job.output("from attempt 1")
            job.checkpoint("from attempt 1")

        if job.attempt == 1:
            tasks.append(asyncio.create_task(later()))
            raise ValueError("no")
        await asyncio.sleep(5)
        return job.last_checkpoint

    async def test(bench: Bench) -> None:
        job = bench.submit("twice")
        record = await bench.ended(job)

        assert (record.progress, record.result) == (None, None)
        assert (bench.progress(job), bench.output(job)) == ([], [])
        assert bench.metric(MetricName.MESSAGES_DROPPED, reason="late") == 3

    run(test, twice)


def test_the_words_of_progress_are_masked_and_cut() -> None:
    @operation
    async def tells(*, job: JobContext) -> None:
        job.progress(1, text="hunter2 is the word")
        await asyncio.sleep(1)
        job.progress(2, text="x" * 1000)

    async def test(bench: Bench) -> None:
        job = bench.submit("tells")
        await bench.ended(job)
        texts = [each["text"] for each in bench.events(job) if each["event"] == "progress"]

        assert texts == ["[MASKED] is the word", "x" * 100]

    run(test, tells, secrets=(SecretStr("hunter2"),), max_message_bytes=100)


@pytest.mark.parametrize(
    "arguments", [(float("nan"),), (float("inf"),), (1, float("nan")), ("7",), (True,)]
)
def test_progress_that_is_no_number_fails_the_attempt(arguments: tuple[Any, ...]) -> None:
    @operation
    async def wrong(*, job: JobContext) -> None:
        job.progress(*arguments)

    async def test(bench: Bench) -> None:
        job = bench.submit("wrong")
        record = await bench.ended(job)

        assert bench.state(job) == "failed/error"
        assert record.failure is not None
        assert record.failure.type == "ValueError"

    run(test, wrong)


def test_output_of_any_json_is_told_in_order() -> None:
    chunks = ["text", 1, 2.5, None, True, [1, {"a": "b"}], {"deep": [[]]}, 2**100, "\ud800?"]

    @operation
    async def puts(*, job: JobContext) -> None:
        for chunk in chunks:
            job.output(chunk)

    async def test(bench: Bench) -> None:
        job = bench.submit("puts")
        await bench.ended(job)

        assert bench.output(job) == [*chunks[:-1], "\ufffd?"]

    run(test, puts)


def test_generators_of_both_kinds_put_out_what_they_yield() -> None:
    @operation
    async def on_loop() -> AsyncIterator[str]:
        for number in range(200):
            yield f"{number}"

    @operation
    def in_thread() -> Iterator[str]:
        for number in range(200):
            yield f"{number}"

    async def test(bench: Bench) -> None:
        for name in ("on_loop", "in_thread"):
            job = bench.submit(name)
            record = await bench.ended(job)

            assert bench.output(job) == [f"{number}" for number in range(200)]
            assert (record.state, record.result) == ("completed", None)

    run(test, on_loop, in_thread)


def test_output_is_masked_and_cut_and_says_so() -> None:
    @operation
    async def puts(*, job: JobContext) -> None:
        job.output("x" * 150)
        job.output("the word is hunter2")
        job.output({"hunter2": ["hunter2", 5]})

    async def test(bench: Bench) -> None:
        job = bench.submit("puts")
        await bench.ended(job)
        told = [each for each in bench.events(job) if each["event"] == "output"]

        assert told[0]["chunk"] == "x" * 100
        assert told[0]["truncated"] == {"bytes": 150}
        assert "truncated" not in told[1]
        assert bench.output(job)[1:] == ["the word is [MASKED]", {"[MASKED]": ["[MASKED]", 5]}]

    run(test, puts, secrets=(SecretStr("hunter2"),), max_message_bytes=100)


@pytest.mark.parametrize("chunk", [object(), {1, 2, object()}, float("nan"), ["x" * 200]])
def test_output_that_json_cannot_carry_or_that_is_too_large_is_an_error(chunk: object) -> None:
    @operation
    async def puts(*, job: JobContext) -> None:
        job.output(chunk)

    async def test(bench: Bench) -> None:
        job = bench.submit("puts")
        record = await bench.ended(job)

        assert record.failure is not None
        assert "output chunk" in record.failure.message

    run(test, puts, max_message_bytes=100)


def test_output_from_threads_that_outrun_the_loop_is_never_dropped() -> None:
    each, threads = 6_000, 4
    go, full = threading.Event(), threading.Barrier(threads + 1)

    @operation
    def floods(*, job: JobContext) -> None:
        def put(source: int) -> None:
            for number in range(each):
                if number == 2_000:
                    full.wait(30)
                job.output([source, number])

        go.wait(30)
        others = [threading.Thread(target=put, args=(source,)) for source in range(threads)]
        for other in others:
            other.start()
        for other in others:
            other.join()

    async def test(bench: Bench) -> None:
        job = bench.submit("floods")
        await bench.settle()
        go.set()
        full.wait(30)  # the loop has stood still: there is room for 2,000 more
        while not bench.engine._core.entries[job].story.full:
            threading.Event().wait(0.001)
        await bench.ended(job)
        chunks = bench.output(job)

        assert len(chunks) == each * threads
        for source in range(threads):
            assert [n for s, n in chunks if s == source] == [*range(each)]
        assert bench.metric(MetricName.MESSAGES_DROPPED, reason="overflow") == 0

    run(test, floods, log_limit=100_000)


def test_narration_that_outruns_the_loop_is_dropped_counted_and_told() -> None:
    go, over = threading.Event(), threading.Event()

    @operation
    def floods() -> None:
        go.wait(30)
        for number in range(12_000):
            narrate("say", "number {number}", number=number)
        over.set()

    async def test(bench: Bench) -> None:
        job = bench.submit("floods")
        await bench.settle()
        go.set()
        over.wait(30)  # the loop stands still
        await bench.ended(job)
        told = [each for each in bench.messages(job) if each["action"] == "dropped"]
        lost = bench.metric(MetricName.MESSAGES_DROPPED, reason="overflow")

        assert lost > 0
        assert sum(each["fields"]["count"] for each in told) == lost
        assert len(bench.texts(job)) - len(told) == 12_000 - lost

    run(test, floods, log_limit=100_000)


def test_a_thread_that_never_stops_talking_does_not_keep_the_loop_from_stopping_it() -> None:
    @operation
    def chatters(*, job: JobContext) -> None:
        while not job.cancelled:
            narrate("say", "and another thing")

    async def test(bench: Bench) -> None:
        job = bench.submit("chatters", timeout_s=0.05)
        await bench.ended(job)

        assert bench.state(job) == "failed/timeout"
        assert bench.outcomes(job) == ["timeout"]
        assert bench.total(MetricName.ABANDONED) == 0

    run(test, chatters)

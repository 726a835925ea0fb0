"""How long finished jobs stay, and what becomes of their readers."""

import gc
import tracemalloc

import pytest

from app.engine.keeping import ENTRY_BYTES
from app.handlers.context import JobContext
from app.handlers.operation import operation
from app.jobs.errors import JobNotFound, NotFinished
from app.jobs.registry import JobFilter
from narration import narrate
from narration.resume import StreamQuery, resolve
from telemetry.names import MetricName
from tests.engine.harness import Bench, run
from tests.engine.operations import hang, sleep


def _kept(bench: Bench) -> list[str]:
    return [each.id for each in bench.engine.find(JobFilter()).jobs][::-1]


def test_a_finished_job_goes_after_its_time() -> None:
    async def test(bench: Bench) -> None:
        old = bench.submit("sleep")
        await bench.at(5)
        new = bench.submit("sleep")
        await bench.at(9)
        assert _kept(bench) == [old, new]
        await bench.at(11)
        assert _kept(bench) == [new]
        with pytest.raises(JobNotFound):
            bench.record(old)
        with pytest.raises(JobNotFound):
            bench.engine.log(old)
        await bench.at(16)

        assert _kept(bench) == []
        assert bench.metric(MetricName.RETAINED_JOBS) == 0
        assert bench.metric(MetricName.RETAINED_BYTES) == 0

    run(test, sleep, retention_s=10.0)


def test_the_oldest_goes_when_there_are_too_many() -> None:
    async def test(bench: Bench) -> None:
        jobs = []
        for _ in range(5):
            jobs.append(bench.submit("sleep"))
            await bench.ended(jobs[-1])

        assert _kept(bench) == jobs[-3:]
        assert bench.metric(MetricName.RETAINED_JOBS) == 3

    run(test, sleep, retention_jobs=3)


def test_the_oldest_goes_when_they_hold_too_much() -> None:
    @operation
    async def talk(chunks: int, *, job: JobContext) -> None:
        for _ in range(chunks):
            job.output("x" * 1000)

    async def test(bench: Bench) -> None:
        jobs = []
        for _ in range(4):
            jobs.append(bench.submit("talk", {"chunks": 400}))
            await bench.ended(jobs[-1])

        assert _kept(bench) == jobs[-2:]
        assert 800_000 < bench.metric(MetricName.RETAINED_BYTES) < 1_300_000
        large = bench.submit("talk", {"chunks": 4000})
        await bench.ended(large)
        assert _kept(bench) == [large]  # it could not be read once otherwise

    run(test, talk, retention_bytes=1_300_000)


def test_params_result_and_checkpoint_count_as_memory() -> None:
    @operation
    async def echo(text: str, *, job: JobContext) -> str:
        job.checkpoint(text)
        return text

    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit("echo", {"text": "x" * 100_000}))

        # three times as itself, and once in the `end` of the story
        assert bench.metric(MetricName.RETAINED_BYTES) > 400_000 + ENTRY_BYTES

    run(test, echo)


def test_an_unfinished_job_is_kept_whatever_the_limits() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("hang")
        await bench.ended(bench.submit("sleep"))
        await bench.at(30)

        assert _kept(bench) == [job]

    run(test, hang, sleep, retention_s=0.0, retention_jobs=0, retention_bytes=0)


def test_where_nothing_is_kept_whoever_waits_still_gets_the_end() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 1})
        record = await bench.ended(job)

        assert record.state == "completed"
        with pytest.raises(JobNotFound):
            bench.record(job)

    run(test, sleep, retention_jobs=0)


def test_a_finished_job_is_forgotten_when_asked_for_an_unfinished_one_is_not() -> None:
    async def test(bench: Bench) -> None:
        running = bench.submit("hang")
        with pytest.raises(NotFinished):
            bench.engine.forget(running)
        done = bench.submit("sleep")
        await bench.ended(done)
        bench.engine.forget(done)
        with pytest.raises(JobNotFound):
            bench.engine.forget(done)

        assert _kept(bench) == [running]
        assert bench.metric(MetricName.RETAINED_BYTES) == 0

    run(test, hang, sleep)


def test_an_open_reader_is_told_by_a_gap_that_the_story_is_gone() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep")
        await bench.ended(job)
        log, query = bench.engine.log(job), StreamQuery()
        reader = bench.engine.streams.open(log, query, resolve(log, query))
        bench.engine.streams.attach(reader)
        bench.engine.forget(job)
        told = b"".join([chunk async for chunk in reader]).decode()
        bench.engine.streams.detach(reader)

        assert "event: gap" in told
        assert '"reason":"forgotten"' in told

    run(test, sleep)


def test_the_log_of_a_job_keeps_its_newest_events() -> None:
    @operation
    async def flood(*, job: JobContext) -> None:
        for number in range(100):
            job.output(number)

    async def test(bench: Bench) -> None:
        job = bench.submit("flood")
        await bench.ended(job)
        log = bench.engine.log(job)

        assert (log.first, log.next) == (log.next - 16, log.next)
        assert log.next > 100
        assert bench.events(job)[-1]["event"] == "end"

    run(test, flood, log_limit=16)


def test_the_bytes_that_are_told_are_those_that_are_held() -> None:
    @operation
    async def talk(*, job: JobContext) -> None:
        for number in range(10):
            narrate("step", "Step {number} of ten", number=number)

    async def test(bench: Bench) -> None:
        async def grow(count: int) -> None:
            for _ in range(count):
                await bench.ended(bench.submit("talk"))
            await bench.at(bench.now + 5)  # by then they are packed
            bench._spans.clear()  # what was exported
            gc.collect()

        await grow(50)
        before = bench.metric(MetricName.RETAINED_BYTES)
        tracemalloc.start()
        try:
            await grow(200)
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

        assert 0.8 < (bench.metric(MetricName.RETAINED_BYTES) - before) / held < 1.25

    run(test, talk, feed_limit=1)

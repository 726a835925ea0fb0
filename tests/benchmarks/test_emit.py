"""What narration adds to one event, one span, and the work of one job."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.conftest import Record, Size
from tests.benchmarks.measuring import Rounds, cpu_each, in_turn
from tests.benchmarks.works import EVENTS, LIBRARY, Stories, Work, one_job, provider, say

REPEATS = 500
"""Of the measured thing in one round."""


def events(tracer: trace.Tracer, context: Context) -> None:
    """Events with two attributes, on one span."""
    span = tracer.start_span("work", context)
    say(span, REPEATS)
    span.end()


def spans(tracer: trace.Tracer, context: Context) -> None:
    """Spans with two attributes and no event."""
    for number in range(REPEATS):
        tracer.start_span("work", context, attributes={"number": number, "name": "barn"}).end()


def jobs(tracer: trace.Tracer, context: Context) -> None:
    """The work of one job."""
    one_job(tracer, context)


def test_one_event_on_the_thread_of_a_job(
    benchmark: BenchmarkFixture, record: Record, size: Size
) -> None:
    """Its own CPU time; what it hands over is told on the loop, which runs meanwhile."""
    bare, told = provider().get_tracer(LIBRARY), Stories()
    with loop_elsewhere() as loop:
        call(loop, told.bind)
        context, log = told.open()

        def ours() -> float:
            found = cpu_each(lambda: events(told.tracer, context), REPEATS, time.thread_time)()
            call(loop, lambda: None)  # all of it has been told
            return found

        reference = cpu_each(lambda: events(bare, Context()), REPEATS, time.thread_time)
        found = in_turn(benchmark, ours, reference, rounds=size.of(200, 2))
        stored = log.next - 1

    record.pair("emit-thread", found)
    assert stored == (REPEATS + 2) * (len(found.ours) + 1)  # nothing was dropped


def test_one_event_until_it_is_in_the_log(
    benchmark: BenchmarkFixture, record: Record, size: Size
) -> None:
    found, stored = on_the_loop(benchmark, events, rounds=size.of(200, 2))

    record.pair("emit-encoded", found)
    assert stored == REPEATS + 2


def test_one_span(benchmark: BenchmarkFixture, record: Record, size: Size) -> None:
    found, stored = on_the_loop(benchmark, spans, rounds=size.of(100, 2))

    record.pair("span", found)
    assert stored == 2 * REPEATS


def test_the_work_of_one_job(benchmark: BenchmarkFixture, record: Record, size: Size) -> None:
    found, stored = on_the_loop(benchmark, jobs, rounds=size.of(200, 2), stories=50)

    record.pair("work", found)
    assert stored == EVENTS + 2 * 3


def on_the_loop(
    benchmark: BenchmarkFixture, work: Work, *, rounds: int, stories: int = 1
) -> tuple[Rounds, int]:
    """Measure `work` on the loop's thread, told and bare; and how much one story has kept of it.

    A round tells `stories` stories, which are opened before its clock starts.
    """
    bare, told, kept = provider().get_tracer(LIBRARY), Stories(), 0
    count = stories if stories > 1 else REPEATS

    def ours() -> float:
        nonlocal kept
        opened = [told.open() for _ in range(stories)]
        found = cpu_each(lambda: [work(told.tracer, each) for each, _ in opened], count)()
        kept = opened[-1][1].next - 1
        return found

    def reference() -> None:
        for _ in range(stories):
            work(bare, Context())

    async def measure() -> Rounds:
        told.bind()
        return in_turn(benchmark, ours, cpu_each(reference, count), rounds=rounds, warmup=3)

    return asyncio.run(measure()), kept


@contextmanager
def loop_elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs on another thread until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Run `function` on `loop`, and wait for it."""

    async def run() -> None:
        function()

    asyncio.run_coroutine_threadsafe(run(), loop).result()

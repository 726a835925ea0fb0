"""What narration adds to one event, one span, and the work of one job."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context

from tests.benchmarks.measuring import Measure, cpu_each
from tests.benchmarks.recording import Record, Size
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


def test_one_event_on_the_thread_of_a_job(record: Record, size: Size) -> None:
    """Its own CPU time; what it hands over is told on the loop, which runs meanwhile."""
    bare, told = provider().get_tracer(LIBRARY), Stories()
    with loop_elsewhere() as loop:
        call(loop, told.bind)
        context, log = told.open()

        def ours() -> float:
            before = log.next
            found = cpu_each(lambda: events(told.tracer, context), REPEATS, time.thread_time)()
            call(loop, lambda: None)  # all of it has been told
            assert log.next - before == REPEATS + 2  # nothing was dropped
            return found

        reference = cpu_each(lambda: events(bare, Context()), REPEATS, time.thread_time)
        record.pair("emit-thread", ours, reference, rounds=size.of(200, 2))


def test_one_event_until_it_is_in_the_log(record: Record, size: Size) -> None:
    stored = on_the_loop(record, "emit-encoded", events, count=REPEATS, rounds=size.of(200, 2))

    assert stored == REPEATS + 2


def test_one_span(record: Record, size: Size) -> None:
    stored = on_the_loop(record, "span", spans, count=REPEATS, rounds=size.of(100, 2))

    assert stored == 2 * REPEATS


def test_the_work_of_one_job(record: Record, size: Size) -> None:
    stored = on_the_loop(record, "work", one_job, stories=50, count=50, rounds=size.of(200, 2))

    assert stored == EVENTS + 2 * 3


def on_the_loop(
    record: Record, key: str, work: Work, *, count: int, rounds: int, stories: int = 1
) -> int:
    """Measure `work` on the loop's thread, told and bare; how much a story has kept of it.

    A round tells `stories` stories, opened before its clock starts, and does `count` things.
    """
    bare, told, kept = provider().get_tracer(LIBRARY), Stories(), 0

    def ours() -> float:
        nonlocal kept
        opened = [told.open() for _ in range(stories)]
        found = cpu_each(lambda: each_of([context for context, _ in opened]), count)()
        kept = opened[-1][1].next - 1
        return found

    def each_of(contexts: list[Context]) -> None:
        for context in contexts:
            work(told.tracer, context)

    def reference() -> Measure:
        contexts = [Context()] * stories

        def bare_work() -> None:
            for context in contexts:
                work(bare, context)

        return cpu_each(bare_work, count)

    async def measure() -> None:
        told.bind()
        record.pair(key, ours, reference(), rounds=rounds, warmup=3)

    asyncio.run(measure())
    return kept


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

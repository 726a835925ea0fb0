"""Isolation: what is said under a job is told in its story, and in no other."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace

from app.handlers.context import JobContext
from app.handlers.operation import operation
from narration.narrate import narrate
from telemetry.names import StreamEvent
from tests.engine.harness import Bench, run
from tests.engine.operations import sleep

logger = logging.getLogger("tests.isolation")
tracers: list[trace.Tracer] = []
"""The one of the bench under test: the global provider may be anybody's."""


def _say(name: str, number: int, job: JobContext) -> None:
    """One thing in each of the ways that there are."""
    narrate("say", "{name} narrates {number}", name=name, number=number)
    logger.warning("%s logs %d", name, number)
    with tracers[0].start_as_current_span(f"{name} spans {number}") as span:
        span.add_event(f"{name} adds {number}")
    trace.get_current_span().add_event(f"{name} adds to its attempt {number}")
    job.progress(number, text=f"{name} moves {number}")


@operation
async def on_loop(name: str, steps: int, *, job: JobContext) -> None:
    """Speak as a coroutine, and from a task of its own."""

    async def aside(number: int) -> None:
        await asyncio.sleep(0)
        narrate("say", "{name} asides {number}", name=name, number=number)

    for number in range(steps):
        _say(name, number, job)
        job.output(f"{name} puts {number}")
        await asyncio.gather(aside(number), asyncio.sleep(number % 3))


@operation
def in_thread(name: str, steps: int, *, job: JobContext) -> None:
    """Speak as a thread, and from one of its own (whose context is carried over)."""
    for number in range(steps):
        _say(name, number, job)
        job.output(f"{name} puts {number}")
        other = threading.Thread(
            target=narrate, args=("say", f"{name} asides {number}"), name=f"aside of {name}"
        )
        other.start()
        other.join()


@operation
async def yields_on_loop(name: str, steps: int, *, job: JobContext) -> AsyncIterator[str]:
    """Speak as an async generator."""
    for number in range(steps):
        _say(name, number, job)
        yield f"{name} puts {number}"
        narrate("say", "{name} asides {number}", name=name, number=number)
        await asyncio.sleep(1)


@operation
def yields_in_thread(name: str, steps: int, *, job: JobContext) -> Iterator[str]:
    """Speak as a generator."""
    for number in range(steps):
        _say(name, number, job)
        yield f"{name} puts {number}"
        narrate("say", "{name} asides {number}", name=name, number=number)


KINDS = {each.__name__: each for each in (on_loop, in_thread, yields_on_loop, yields_in_thread)}


@given(
    st.lists(st.tuples(st.sampled_from([*KINDS]), st.integers(1, 4)), min_size=2, max_size=8),
    st.integers(1, 8),
)
@settings(max_examples=15, deadline=None)
def test_a_story_holds_all_that_its_job_said_and_nothing_else(
    plan: list[tuple[str, int]], slots: int
) -> None:
    async def test(bench: Bench) -> None:
        tracers[:] = [bench.narrator._tracing.provider.get_tracer("tests.isolation")]
        jobs: dict[str, tuple[str, int]] = {}
        for place, (kind, steps) in enumerate(plan):
            name = f"<job {place}>"
            jobs[bench.submit(kind, {"name": name, "steps": steps})] = (name, steps)
            narrate("say", "nobody says this")
            logger.warning("nobody logs this")
        for job, (name, steps) in jobs.items():
            await bench.ended(job)
            _check(bench, job, name, steps)

    run(test, *KINDS.values(), concurrency=slots)


def _check(bench: Bench, job: str, name: str, steps: int) -> None:
    messages = bench.messages(job)
    assert {each["job_id"] for each in messages} == {job}
    assert {each["trace_id"] for each in messages} == {bench.record(job).trace_id}
    said = [each for each in messages if each["kind"] != "lifecycle"]
    assert all(name in each["text"] for each in said)
    assert {each["attempt"] for each in said} == {1}
    told = Counter(each["kind"] for each in said)
    assert told == {
        "narrate": 2 * steps,
        "log": steps,
        "event": 2 * steps,
        "span_start": steps,
        "span_end": steps,
    }
    assert bench.output(job) == [f"{name} puts {number}" for number in range(steps)]
    moves = [each for each in bench.events(job) if each["event"] == StreamEvent.PROGRESS]
    assert all(name in each["text"] for each in moves)
    assert moves[-1]["done"] == steps - 1


def test_what_is_said_outside_of_any_job_is_told_nowhere() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 5})
        await bench.settle()
        before = bench.events(job)
        narrate("say", "to nobody")
        logger.error("to nobody")
        with bench.narrator._tracing.tracer.start_as_current_span("nobody's") as span:
            span.add_event("to nobody")

        assert bench.events(job) == before

    run(test, sleep)


def test_a_job_submitted_by_a_handler_has_a_story_of_its_own() -> None:
    benches: list[Bench] = []

    @operation
    async def parent() -> str:
        narrate("say", "the parent speaks")
        return (await benches[0].narrator.submit("child")).id

    @operation
    async def child() -> None:
        narrate("say", "the child speaks")

    async def test(bench: Bench) -> None:
        benches.append(bench)
        job = bench.submit("parent")
        record = await bench.ended(job)
        await bench.ended(record.result)

        assert bench.texts(job) == ["the parent speaks"]
        assert bench.texts(record.result) == ["the child speaks"]
        assert bench.moments(job) == ["queued", "started", "completed"]
        assert bench.moments(record.result) == ["queued", "started", "completed"]
        assert bench.record(record.result).trace_id == record.trace_id

    run(test, parent, child)


def test_the_context_of_whoever_submits_does_not_reach_the_handler() -> None:
    import contextvars  # noqa: PLC0415  # only here

    variable = contextvars.ContextVar("variable", default="unset")

    @operation
    async def reads() -> str:
        return variable.get()

    async def test(bench: Bench) -> None:
        variable.set("the submitter's")

        assert (await bench.ended(bench.submit("reads"))).result == "unset"

    run(test, reads)

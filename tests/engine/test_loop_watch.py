"""Code that keeps a real event loop from running is named while it does, in log, count and story.

Each handler blocks until the log has named it, so that no test knows how long that takes.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from app.handlers.operation import operation
from app.service import Narrator
from app.settings import Settings
from telemetry.names import MetricName
from tests.engine.harness import Bench, events_of, run

pytestmark = pytest.mark.backend("memory")

WAIT_S = 60.0
"""Bound of a blocking; far beyond what it takes to be named."""

LIMIT_S = 0.3
"""Seconds; a busy machine is not late by as much."""

LOGGER = logging.getLogger("app.engine.blocking")


class Named(logging.Handler):
    """Keeps the warnings, and lets go of who waits for the first."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.one = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.one.set()


@pytest.fixture
def named() -> Iterator[Named]:
    """What is logged of blockings, from now on."""
    handler = Named()
    LOGGER.addHandler(handler)
    yield handler
    LOGGER.removeHandler(handler)


def stand(until: threading.Event) -> None:
    """What blocks: a call that waits, on the loop's thread."""
    assert until.wait(WAIT_S), "nobody has named what blocks"


@asynccontextmanager
async def served(*handlers: Any) -> AsyncIterator[Narrator]:
    """A narrator on a real loop and a real clock."""
    settings = Settings(blocked_loop_s=LIMIT_S, drain_s=0)
    narrator = Narrator(handlers, settings=settings, tracer_provider=TracerProvider())
    async with narrator.running():
        yield narrator


def counted(narrator: Narrator, operation: str) -> float | None:
    """The blockings of an operation."""
    assert narrator.metrics is not None
    return narrator.metrics.registry.get_sample_value(
        MetricName.LOOP_BLOCKED, {"operation": operation}
    )


async def story_of(narrator: Narrator, operation: str) -> list[dict[str, Any]]:
    """What was told of a job of `operation`, once it has ended."""
    record = await narrator.result((await narrator.submit(operation)).id)
    assert record.state == "completed"
    return events_of(narrator.engine, record.id)


def blockings(story: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The moments that tell of a blocking."""
    return [each for each in story if each.get("action") == "loop_blocked"]


def test_a_handler_that_blocks_the_loop_is_named_in_log_metric_and_story(named: Named) -> None:
    @operation("blocks")
    async def blocks() -> None:
        stand(named.one)

    async def test() -> None:
        async with served(blocks) as narrator:
            story = await story_of(narrator, "blocks")

            (told,) = blockings(story)
            assert told["level"] == "warn"
            assert told["fields"]["job.operation"] == "blocks"
            assert told["fields"]["job.blocked_s"] > LIMIT_S
            assert told["fields"]["code.function.name"] == "threading.Condition.wait"
            assert f"{__file__}:" in told["fields"]["code.stacktrace"]
            assert " in stand\n" in told["fields"]["code.stacktrace"]
            assert counted(narrator, "blocks") == 1
            (line,) = named.lines
            assert "operation 'blocks'" in line
            assert told["job_id"] in line
            assert " in stand\n" in line

    asyncio.run(test())


def test_it_is_told_before_the_end_of_the_job(named: Named) -> None:
    @operation("blocks")
    async def blocks() -> None:
        stand(named.one)

    async def test() -> None:
        async with served(blocks) as narrator:
            story = await story_of(narrator, "blocks")

            assert story.index(blockings(story)[0]) < len(story) - 1
            assert story[-1]["event"] == "end"

    asyncio.run(test())


def test_the_stack_begins_with_the_code_of_the_user(named: Named) -> None:
    @operation("blocks")
    async def blocks() -> None:
        stand(named.one)

    async def test() -> None:
        async with served(blocks) as narrator:
            (told,) = blockings(await story_of(narrator, "blocks"))

            assert told["fields"]["code.stacktrace"].splitlines()[0].endswith(".blocks")

    asyncio.run(test())


def test_a_task_that_the_handler_has_started_speaks_for_its_job(named: Named) -> None:
    async def aside() -> None:
        stand(named.one)

    @operation("starts")
    async def starts() -> None:
        await asyncio.create_task(aside())

    async def test() -> None:
        async with served(starts) as narrator:
            (told,) = blockings(await story_of(narrator, "starts"))

            assert told["fields"]["code.stacktrace"].splitlines()[0].endswith(".aside")
            assert counted(narrator, "starts") == 1

    asyncio.run(test())


def test_only_the_job_that_blocks_is_told_of_it(named: Named) -> None:
    @operation("blocks")
    async def blocks() -> None:
        stand(named.one)

    @operation("waits")
    async def waits() -> None:
        while not named.lines:  # noqa: ASYNC110 - the other one sets no event of asyncio's
            await asyncio.sleep(0)

    async def test() -> None:
        async with served(blocks, waits) as narrator:
            waiting, blocking = await asyncio.gather(
                story_of(narrator, "waits"), story_of(narrator, "blocks")
            )

            assert (len(blockings(waiting)), len(blockings(blocking))) == (0, 1)

    asyncio.run(test())


def test_what_blocks_for_no_job_is_named_without_one(named: Named) -> None:
    async def test() -> None:
        async with served() as narrator:
            await asyncio.sleep(0)
            stand(named.one)

            assert counted(narrator, "") == 1
            (line,) = named.lines
            assert "no job" in line
            assert " in stand\n" in line

    asyncio.run(test())


def test_each_blocking_is_named_once(named: Named) -> None:
    @operation("blocks")
    async def blocks() -> None:
        for _ in range(2):
            stand(named.one)
            named.one.clear()
            for _ in range(3):  # the beat is due, and comes
                await asyncio.sleep(0)

    async def test() -> None:
        async with served(blocks) as narrator:
            story = await story_of(narrator, "blocks")

            assert len(blockings(story)) == len(named.lines) == counted(narrator, "blocks") == 2

    asyncio.run(test())


def test_a_thread_that_blocks_is_no_blocking(named: Named) -> None:
    @operation("blocks")
    def blocks() -> None:
        assert not named.one.wait(1.0)  # longer than what counts as a blocking

    async def test() -> None:
        async with served(blocks) as narrator:
            assert blockings(await story_of(narrator, "blocks")) == []
            assert counted(narrator, "blocks") == 0

    asyncio.run(test())


def test_virtual_time_is_not_watched(named: Named) -> None:
    @operation("sleeps")
    async def sleeps() -> None:
        await asyncio.sleep(3600)
        assert not named.one.wait(1.0)  # longer than what counts as a blocking

    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit("sleeps"))

        assert "narrator-loop" not in {each.name for each in threading.enumerate()}
        assert bench.total(MetricName.LOOP_BLOCKED) == 0

    run(test, sleeps, blocked_loop_s=LIMIT_S)


def test_the_watch_ends_with_the_narrator() -> None:
    async def test() -> None:
        async with served():
            assert "narrator-loop" in {each.name for each in threading.enumerate()}
        assert "narrator-loop" not in {each.name for each in threading.enumerate()}

    asyncio.run(test())

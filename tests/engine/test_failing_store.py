"""A store that can't be written for long: what is held back meanwhile has a bound.

The store's file is real, and has no more room; what the journal holds is looked at where it is.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app import operation
from app.jobs.errors import StoreUnavailable
from app.virtual_time import VirtualClock, run_virtual
from narration import narrate
from telemetry.names import MetricName
from tests.engine.harness import Bench, make_narrator, run

pytestmark = pytest.mark.backend("sqlite")

NO_LIMIT = 4_294_967_294
LOG_LIMIT = 50


@operation("chatty")
async def chatty(seconds: int) -> int:
    """Tell something each second."""
    for second in range(seconds):
        narrate("second", "Second {second}", second=second)
        await asyncio.sleep(1)
    return seconds


def journal_of(bench: Bench) -> Any:
    """What notes the changes."""
    return bench.engine._core.journal


def take_room(bench: Bench) -> None:
    """From now on the file may not grow by a page."""
    writer = journal_of(bench)._store._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")


@contextmanager
def no_room(bench: Bench) -> Iterator[None]:
    """The file may not grow by a page."""
    take_room(bench)
    yield
    journal_of(bench)._store._writer.execute(f"PRAGMA max_page_count = {NO_LIMIT}")


async def until_it_fails(bench: Bench) -> None:
    """Wait until something could not be written: a few pages have room for some."""
    async with asyncio.timeout(300):
        while journal_of(bench).failing is None:  # noqa: ASYNC110 — no event tells it
            await asyncio.sleep(1)


def test_what_a_failing_store_holds_back_is_a_note_for_each_job_and_a_log_for_each_story() -> None:
    async def test(bench: Bench) -> None:
        running = [bench.submit("chatty", {"seconds": 600}) for _ in range(3)]
        waiting = [bench.submit("chatty", {"seconds": 1}) for _ in range(5)]
        await bench.at(1)
        with no_room(bench):
            await until_it_fails(bench)
            with pytest.raises(StoreUnavailable):
                bench.submit("chatty", {"seconds": 1})
            await bench.at(590)
            held = journal_of(bench)._gathered
            assert set(held.jobs) <= {*running, *waiting}
            assert not held.waiters
            for log in held.logs:
                assert len(log.held()[1]) <= LOG_LIMIT
            assert bench.metric(MetricName.STORE_FAILURES, reason="store-full") > 10
        for job_id in (*running, *waiting):
            assert (await bench.ended(job_id)).state == "completed"
        told = [each for each in bench.events(running[0]) if each["event"] == "narration"]
        assert len(told) <= LOG_LIMIT
        assert journal_of(bench)._gathered.is_empty()

    run(test, chatty, concurrency=3, log_limit=LOG_LIMIT)


def test_what_cannot_be_written_at_the_end_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def main(clock: VirtualClock) -> None:
        narrator, spans = make_narrator(clock, [chatty], drain_s=0)
        async with narrator.running():
            bench = Bench(narrator, clock, spans)
            bench.submit("chatty", {"seconds": 10_000})
            await bench.at(1)
            take_room(bench)
            await until_it_fails(bench)

    run_virtual(main)

    assert "the store could not be written before the end, and 1 jobs are there as" in caplog.text

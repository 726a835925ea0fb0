"""Packing finished jobs: a while after their end, in the time that is left."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import pairwise

import pytest

from app.engine.compaction import COMPACT_AFTER_S, PAUSE_S, Compaction
from app.virtual_time import VirtualClock, run_virtual
from narration.span_record import SpanRecord
from tests.engine.harness import Bench, run
from tests.engine.operations import sleep

pytestmark = pytest.mark.backend("memory")


class _Clock:
    """Seconds that pass when a step says so, beside those of the loop."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.spent = 0.0

    def monotonic(self) -> float:
        return self._clock.monotonic() + self.spent

    def wall_ns(self) -> int:
        return self._clock.wall_ns()

    def hold(self) -> AbstractContextManager[None]:
        return self._clock.hold()


def _compaction(clock: VirtualClock, *, step_s: float = 0.0) -> tuple[Compaction, list[str]]:
    """One whose every step takes `step_s`, and the jobs it has packed."""
    told = _Clock(clock)
    packed: list[str] = []

    def pack(job_id: str) -> Iterator[None]:
        yield
        told.spent += step_s
        packed.append(job_id)

    return Compaction(asyncio.get_running_loop(), told, pack=pack), packed


def test_a_job_is_packed_a_while_after_its_end() -> None:
    async def main(clock: VirtualClock) -> None:
        compaction, packed = _compaction(clock)
        compaction.add("a")
        compaction.run()
        await asyncio.sleep(0.9 * COMPACT_AFTER_S)
        compaction.run()
        await asyncio.sleep(0)
        assert packed == []
        await asyncio.sleep(0.2 * COMPACT_AFTER_S)
        compaction.run()
        await asyncio.sleep(0.01)

        assert packed == ["a"]

    run_virtual(main)


def test_thousands_of_jobs_are_packed_within_seconds_when_nothing_else_goes_on() -> None:
    async def main(clock: VirtualClock) -> None:
        compaction, packed = _compaction(clock, step_s=0.0001)
        for number in range(5_000):
            compaction.add(str(number))
        await asyncio.sleep(COMPACT_AFTER_S)
        compaction.run()
        await asyncio.sleep(1)

        assert packed == [str(number) for number in range(5_000)]

    run_virtual(main)


def test_a_turn_ends_when_its_time_is_over() -> None:
    async def main(clock: VirtualClock) -> None:
        compaction, packed = _compaction(clock, step_s=0.001)
        for number in range(100):
            compaction.add(str(number))
        await asyncio.sleep(COMPACT_AFTER_S)
        compaction.run()
        await asyncio.sleep(PAUSE_S[0] / 2)

        assert 1 <= len(packed) <= 3

    run_virtual(main)


def test_a_loop_that_is_late_is_left_alone_for_longer() -> None:
    async def main(clock: VirtualClock) -> None:
        told = _Clock(clock)
        turns: list[float] = []

        def pack(_job_id: str) -> Iterator[None]:
            turns.append(clock.monotonic())
            told.spent += 0.003  # each job is a turn of its own
            yield

        compaction = Compaction(asyncio.get_running_loop(), told, pack=pack)
        for number in range(30):
            compaction.add(str(number))
        await asyncio.sleep(COMPACT_AFTER_S)
        compaction.run()
        for _ in range(2_000):  # other work: 5 ms of each
            await asyncio.sleep(0.001)
            told.spent += 0.005
        pauses = [after - before for before, after in pairwise(turns)]

        assert len(turns) > 10
        assert max(pauses[:2]) < PAUSE_S[1] / 10
        assert PAUSE_S[1] / 2 < pauses[-1] < 2 * PAUSE_S[1]

    run_virtual(main)


def test_no_turn_comes_after_the_stop() -> None:
    async def main(clock: VirtualClock) -> None:
        compaction, packed = _compaction(clock)
        compaction.add("a")
        await asyncio.sleep(COMPACT_AFTER_S)
        compaction.run()
        compaction.stop()
        await asyncio.sleep(1)

        assert packed == []

    run_virtual(main)


def test_a_packed_job_is_read_as_before() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 1})
        await bench.ended(job)
        before = (bench.record(job), bench.events(job), _spans(bench, job))
        loose = bench.engine.log(job).size
        await bench.at(5)

        assert bench.engine.log(job).size < loose / 2
        assert (bench.record(job), bench.events(job), _spans(bench, job)) == before

    run(test, sleep)


def _spans(bench: Bench, job: str) -> list[SpanRecord]:
    return bench.engine.trace(job)[0]

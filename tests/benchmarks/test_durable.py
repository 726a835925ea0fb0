"""What it costs to outlive the process: ours in memory and on disk, and two others on SQLite.

By the clock on the wall: who keeps things waits for a disk. Ours narrates ten events a job, which
are kept too; the others do nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.benchmarks.durable import Dbos, Huey
from tests.benchmarks.engines import BATCH, Ours
from tests.benchmarks.measuring import Measure, cpu_each
from tests.benchmarks.recording import Record, Size
from tests.benchmarks.test_job import per_second, running
from tests.benchmarks.works import provider

JOBS = 600
OTHERS = 100
"""Jobs of one round of the others: they take longer."""


@pytest.fixture(scope="module")
def kept(size: Size, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    """An engine whose jobs outlive a kill, and that has run for a while."""
    with running(size, provider(), store=tmp_path_factory.mktemp("kept") / "jobs.db") as engine:
        yield engine


@pytest.fixture(scope="module")
def synced(size: Size, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    """One whose jobs outlive a loss of power, too."""
    path = tmp_path_factory.mktemp("synced") / "jobs.db"
    with running(size, provider(), store=path, store_sync="full") as engine:
        yield engine


@pytest.fixture(scope="module")
def in_memory(size: Size) -> Iterator[Ours]:
    """One whose jobs outlive nothing."""
    with running(size, provider()) as engine:
        yield engine


def test_kept_beside_in_memory(record: Record, size: Size, kept: Ours, in_memory: Ours) -> None:
    count = size.of(JOBS, BATCH)
    record.pair("durable", rate(kept, count), rate(in_memory, count), rounds=size.of(7, 1))


def test_a_loss_of_power_beside_a_kill(
    record: Record, size: Size, synced: Ours, kept: Ours
) -> None:
    count = size.of(JOBS, BATCH)
    record.pair("durable-full", rate(synced, count), rate(kept, count), rounds=size.of(5, 1))


def test_one_job_at_a_time(record: Record, size: Size, kept: Ours, in_memory: Ours) -> None:
    """Nothing to share a commit with: what a job then takes from its submission to its end."""
    count = size.of(100, 1)
    record.pair("durable-alone", alone(kept, count), alone(in_memory, count), rounds=size.of(7, 1))


def test_beside_huey(record: Record, size: Size, kept: Ours, tmp_path: Path) -> None:
    """As it comes: no commit is synced, as with ours."""
    count, others = size.of(JOBS, BATCH), size.of(OTHERS, BATCH)
    with closing(Huey(tmp_path)) as huey:
        theirs = per_second(wall_each(lambda: huey.run(others), others))
        record.pair("durable-huey", rate(kept, count), theirs, rounds=size.of(5, 1))


def test_beside_dbos(record: Record, size: Size, synced: Ours, tmp_path: Path) -> None:
    """As it comes: each commit is synced, and so are ours."""
    count, others = size.of(JOBS, BATCH), size.of(OTHERS, BATCH)
    with closing(Dbos(tmp_path)) as dbos:
        theirs = per_second(wall_each(lambda: dbos.run(others), others))
        record.pair("durable-dbos", rate(synced, count), theirs, rounds=size.of(5, 1))


def rate(engine: Ours, count: int) -> Measure:
    """Narrated jobs a second, submitted twenty at a time."""
    return per_second(wall_each(lambda: engine.run(count, "ten_events"), count))


def alone(engine: Ours, count: int) -> Measure:
    """Microseconds of a narrated job, each submitted when the one before it has ended."""
    return wall_each(lambda: engine.run(count, "ten_events", batch=1), count)


def wall_each(work: Callable[[], object], count: int) -> Measure:
    """Microseconds of one thing of `count`, by the clock on the wall."""
    return cpu_each(work, count, time.perf_counter)

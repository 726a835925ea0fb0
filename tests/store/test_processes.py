"""A store and the processes around it: killed, at once with another, forked, read meanwhile."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from app.store.errors import StoreInUse
from app.store.inspection import StoreFile
from app.store.sqlite import SqliteStore
from tests.store.values import facts, heard, ids, making, plain_job, saying
from tests.store.writing import batch_of

ROOT: Final = Path(__file__).parents[2]


@contextmanager
def writing(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that writes batches and says the number of each that is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.writing", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged(process: "subprocess.Popen[str]", batches: int) -> Iterator[int]:
    """Kill the process when it has said so many; gives all that it said."""
    assert process.stdout is not None
    for number, line in enumerate(process.stdout, 1):
        if number == batches:
            process.kill()
        if line.endswith("\n"):
            yield int(line)


@pytest.mark.parametrize("batches", [1, 5, 50, 300])
def test_what_a_killed_process_acknowledged_is_there_and_nothing_is_half(
    path: Path, batches: int
) -> None:
    with writing(path) as process:
        said = list(acknowledged(process, batches))

    with StoreFile(path) as file:  # as it was left: nobody has opened it since
        assert list(file.findings()) == []
        assert file.count() >= 2 * batches
    with closing(SqliteStore(path)) as store:
        there = list(store.load())
        whole = len(there) // 2
        assert len(there) == 2 * whole
        assert whole >= said[-1] + 1 >= batches
        for number in range(whole):
            batch = batch_of(number)
            for stored, job in zip(there[2 * number :], batch.jobs.values(), strict=False):
                assert facts(stored.job) == facts(job)
                assert store.spans(job.id) == [*batch.spans[job.id]]
                if job.id != "0-a":
                    assert store.entries(job.id) == [*batch.told[job.id].entries]
        assert heard(store, "0-a") == ["x", *map(str, range(1, whole))]


def test_a_store_that_another_process_has_is_refused_and_free_once_it_is_killed(
    path: Path,
) -> None:
    with writing(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(StoreInUse, match=f"jobs.db: process {process.pid} has it; stop that"):
            SqliteStore(path)

    SqliteStore(path).close()


def test_one_process_has_it_once(path: Path) -> None:
    with closing(SqliteStore(path)), pytest.raises(StoreInUse, match=f"process {os.getpid()}"):
        SqliteStore(path)


def test_another_name_for_the_file_is_the_same_store(path: Path) -> None:
    link = path.with_name("link.db")
    with closing(SqliteStore(path)):
        link.symlink_to(path)
        with pytest.raises(StoreInUse):
            SqliteStore(link)


def test_a_child_does_not_hold_it(path: Path) -> None:
    store = SqliteStore(path)
    end, other = os.pipe()
    child = os.fork()
    if child == 0:  # lives until its pipe ends
        os.close(other)
        os.read(end, 1)
        os._exit(0)
    try:
        store.close()
        SqliteStore(path).close()
    finally:
        os.close(end)
        os.close(other)
        os.waitpid(child, 0)


def test_what_is_written_is_read_at_once_and_a_read_in_between_sees_whole_batches(
    path: Path,
) -> None:
    jobs = [plain_job(number) for number in range(1, 600)]
    with closing(SqliteStore(path)) as store:
        store.write(making(*jobs))
        loading = store.load()
        next(loading)
        batch = making(plain_job(600))
        batch.jobs |= {job.id: replace(job, operation="op", attempt=1) for job in jobs}
        batch.told = {job.id: saying(1, "a") for job in jobs}
        store.write(batch)

        assert len(list(loading)) == 599
        assert len(ids(store)) == 600
        assert heard(store, "job-300") == ["a"]

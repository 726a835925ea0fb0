"""A write that fails: nothing of its batch is there, and the same store takes it again."""

import logging
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.store.errors import StoreCorrupt, StoreError, StoreFailed, StoreFull, StoreUnusable
from app.store.protocol import Batch
from app.store.sqlite import WRITES_A_LOOK, SqliteStore
from tests.store.values import heard, ids, making, plain_job, saying

NO_LIMIT = 4_294_967_294


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """One job is in it, and has told one event."""
    with closing(SqliteStore(path)) as opened:
        batch = making(plain_job(1))
        batch.told = {"job-1": saying(1, "a")}
        opened.write(batch)
        yield opened


def large(number: int) -> Batch:
    """A batch that needs a hundred pages, of which a few come before the room ends."""
    batch = making(*(plain_job(each) for each in range(number, number + 20)))
    batch.told = {"job-1": saying(2, "b")}
    batch.spans = {f"job-{number}": [b"x" * 400_000]}
    return batch


@contextmanager
def few_pages(store: SqliteStore) -> Iterator[None]:
    """No more than a few pages have room in the file."""
    writer: Any = store._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages + 10}")
    yield
    writer.execute(f"PRAGMA max_page_count = {NO_LIMIT}")


@contextmanager
def small_files(store: SqliteStore) -> Iterator[None]:
    """The system refuses to let a file of this process grow beyond 200 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200 << 10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def held_by_another(store: SqliteStore) -> Any:
    """Somebody writes to the file by hand, in a transaction that lasts."""

    @contextmanager
    def hold() -> Iterator[None]:
        writer: Any = store._writer
        writer.execute("PRAGMA busy_timeout = 0")
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield

    return hold()


@pytest.mark.parametrize(
    ("failing", "error", "words"),
    [
        (few_pages, StoreFull, r"there is no room: database or disk is full .* KiB are free in /"),
        (small_files, StoreFailed, r"not written: disk I/O error \(SQLITE_IOERR_WRITE\)"),
        (held_by_another, StoreFailed, r"not written: database is locked \(SQLITE_BUSY\)"),
    ],
)
def test_nothing_of_it_is_there_and_it_is_written_once_the_cause_has_gone(
    store: SqliteStore,
    failing: Callable[[SqliteStore], Any],
    error: type[StoreError],
    words: str,
) -> None:
    batch = large(2)
    with failing(store):
        for _ in range(3):
            with pytest.raises(error, match=words):
                store.write(batch)
        assert ids(store) == ["job-1"]
        assert heard(store, "job-1") == ["a"]

    store.write(batch)

    assert len(ids(store)) == 21
    assert heard(store, "job-1") == ["a", "b"]
    assert store.spans("job-2") == [b"x" * 400_000]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount(8)")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_once_there_is_room_it_goes_on(disk: Path) -> None:
    with closing(SqliteStore(disk / "jobs.db")) as store:
        store.write(making(plain_job(1)))
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(b"x" * (1 << 20))
        with pytest.raises(StoreFull, match="there is no room"):
            store.write(large(2))
        assert ids(store) == ["job-1"]
        ballast.unlink()

        store.write(large(2))

        assert len(ids(store)) == 21


def test_a_disk_that_may_only_be_read_is_said(disk: Path) -> None:
    SqliteStore(disk / "jobs.db").close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

    with pytest.raises(StoreUnusable, match="or made: Read-only file system"):
        SqliteStore(disk / "jobs.db")


def test_a_batch_that_cannot_be_encoded_is_refused_whole(store: SqliteStore) -> None:
    batch = making(plain_job(2), plain_job(3, tags={"k": object()}))

    with pytest.raises(StoreFailed, match=r"a batch was not written: .*object"):
        store.write(batch)
    assert ids(store) == ["job-1"]


def test_a_batch_that_breaks_the_tables_is_refused_whole(store: SqliteStore) -> None:
    with pytest.raises(StoreFailed, match=r"UNIQUE constraint failed: job\.number"):
        store.write(making(plain_job(2), plain_job(1)))
    assert ids(store) == ["job-1"]


def test_pages_that_are_torn_are_said_when_they_are_read(store: SqliteStore, path: Path) -> None:
    store.write(making(*(plain_job(number) for number in range(2, 500))))
    writer: Any = store._writer
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\x55" * (size - 4096))
    with pytest.raises(StoreCorrupt, match=r"it is damaged: .*narrator store check"):
        list(store.load())


def test_a_row_that_does_not_hold_what_it_should_is_said_when_it_is_read(
    store: SqliteStore,
) -> None:
    writer: Any = store._writer
    writer.execute("UPDATE job SET state = 'asleep'")
    writer.execute("UPDATE narration SET events = x'c1'")

    with pytest.raises(StoreCorrupt, match="cannot read: 'asleep' is not a valid State"):
        list(store.load())
    with pytest.raises(StoreCorrupt, match="cannot read: "):
        store.entries("job-1")


def test_a_file_that_was_removed_or_replaced_is_not_written_to(store: SqliteStore) -> None:
    store.path.rename(store.path.with_suffix(".old"))
    with pytest.raises(StoreFailed, match="it was removed or replaced while it was in use"):
        store.write(making(plain_job(2)))

    store.path.touch()
    with pytest.raises(StoreFailed, match="it was removed or replaced"):
        store.write(making(plain_job(2)))


def test_a_log_that_a_reader_keeps_from_being_emptied_is_told_of(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        closing(SqliteStore(path, wal_warning_bytes=1 << 20)) as store,
        closing(sqlite3.connect(path)) as reader,
        caplog.at_level(logging.WARNING),
    ):
        store.write(making(plain_job(1)))
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM job").fetchone()
        for _ in range(4 * WRITES_A_LOOK):
            store.write(Batch(spans={"job-1": [b"x" * 50_000]}))

    assert 2 <= len(caplog.records) <= 3
    assert "goes on growing while another process reads the store" in caplog.text


def test_a_log_is_emptied_into_the_file_again_and_again(store: SqliteStore) -> None:
    for _ in range(100):
        store.write(Batch(spans={"job-1": [b"x" * 200_000]}))

    assert Path(f"{store.path}-wal").stat().st_size < 8 << 20


def test_the_room_of_forgotten_jobs_is_used_again(store: SqliteStore) -> None:
    sizes = []
    for turn in range(6):
        jobs = [plain_job(2 + 100 * turn + each) for each in range(100)]
        batch = making(*jobs)
        batch.spans = {job.id: [b"x" * 5_000] for job in jobs}
        store.write(batch)
        store.write(Batch(forgotten={job.id for job in jobs}))
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        sizes.append(pages)

    assert max(sizes) <= 1.1 * sizes[0]

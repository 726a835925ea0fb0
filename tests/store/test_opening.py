"""Opening a file: new, ours, older, newer, damaged, somebody else's, or in the way."""

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

from app.store.errors import StoreCorrupt, StoreError, StoreNewer, StoreUnusable
from app.store.inspection import StoreFile
from app.store.opening import QUICK_CHECK_BYTES
from app.store.schema import MIGRATIONS, Migration
from app.store.sqlite import SqliteStore
from tests.store.values import facts, heard, ids, making, plain_job, saying

MADE_UP: Final[Sequence[Migration]] = (
    *MIGRATIONS,
    ("ALTER TABLE job ADD COLUMN colour TEXT", "UPDATE job SET colour = 'blue'"),
    ("CREATE TABLE extra (job INTEGER PRIMARY KEY REFERENCES job) STRICT",),
)
"""As if there were two newer versions; those that there are stay in front."""


def version(path: Path) -> int:
    """The file's version of the schema."""
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    return int(found)


def with_a_job(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Make a store that has one job with a story."""
    with closing(SqliteStore(path, migrations=migrations)) as store:
        batch = making(plain_job(1))
        batch.told = {"job-1": saying(1, "a")}
        store.write(batch)


@pytest.mark.parametrize("steps", range(1, len(MADE_UP)))
def test_a_file_of_each_older_version_is_brought_up_to_date(path: Path, steps: int) -> None:
    with_a_job(path, MADE_UP[:steps])

    with closing(SqliteStore(path, migrations=MADE_UP)) as store:
        (stored,) = store.load()

        assert facts(stored.job) == facts(plain_job(1))
        assert heard(store, "job-1") == ["a"]
    assert version(path) == len(MADE_UP)


def test_a_step_that_fails_leaves_the_version_before_it(path: Path) -> None:
    with_a_job(path)
    broken = (*MADE_UP[:2], ("CREATE TABLE extra (n)", "INSERT INTO nowhere VALUES (1)"))

    with pytest.raises(StoreUnusable, match="no such table: nowhere"):
        SqliteStore(path, migrations=broken)
    assert version(path) == 2
    with closing(SqliteStore(path, migrations=MADE_UP)) as store:
        assert ids(store) == ["job-1"]


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    with_a_job(path, MADE_UP)
    before = path.read_bytes()

    with pytest.raises(StoreNewer, match=r"schema 3, this version knows up to 1\); update"):
        SqliteStore(path)
    with pytest.raises(StoreNewer):
        StoreFile(path)
    assert path.read_bytes() == before


def test_a_file_of_an_older_version_is_not_read_as_it_is(path: Path) -> None:
    path.touch()

    with pytest.raises(StoreUnusable, match="it is empty; `narrator store vacuum` brings"):
        StoreFile(path)


@pytest.mark.parametrize("size", [0, 4096])
def test_an_empty_file_is_a_new_store(path: Path, size: int) -> None:
    if size:  # a database in which nothing was made
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t (n)")
            connection.execute("DROP TABLE t")
    else:
        path.touch()

    with_a_job(path)

    assert version(path) == len(MIGRATIONS)


def test_only_its_owner_may_read_it(path: Path) -> None:
    with closing(SqliteStore(path)):
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}

    assert set(modes) == {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db.lock"}
    assert set(modes.values()) == {0o600}


def test_a_store_that_was_closed_is_one_file_and_its_lock(path: Path) -> None:
    with_a_job(path)

    assert {each.name for each in path.parent.iterdir()} == {"jobs.db", "jobs.db.lock"}


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE TABLE t (n)", "a database of something else, and is left as it is"),
        ("PRAGMA application_id = 7", "a database of something else"),
        ("PRAGMA user_version = 7", "a database of something else"),
    ],
)
def test_a_database_of_something_else_is_left_as_it_is(
    path: Path, statement: str, words: str
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    before = path.read_bytes()

    with pytest.raises(StoreUnusable, match=words):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_as_it_is(path: Path) -> None:
    path.write_text("milk, bread, eggs\n" * 1000)

    with pytest.raises(StoreCorrupt, match=r"no SQLite database.*narrator store check.*backup"):
        SqliteStore(path)
    assert path.read_text().startswith("milk")


@pytest.mark.parametrize("kept", [700, 5000, 20_000])
def test_a_file_that_was_cut_is_told(path: Path, kept: int) -> None:
    with_a_job(path)
    os.truncate(path, kept)

    with pytest.raises(StoreCorrupt, match="store check"):
        SqliteStore(path)


def test_pages_that_are_torn_are_found_at_the_start(path: Path) -> None:
    with_a_job(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\x55" * 4096)

    assert size < QUICK_CHECK_BYTES
    with pytest.raises(StoreCorrupt, match="it is damaged"):
        SqliteStore(path)


def test_a_missing_directory_is_named(path: Path) -> None:
    with pytest.raises(StoreUnusable, match=r"nowhere does not exist; make it"):
        SqliteStore(path.parent / "nowhere" / "jobs.db")
    with pytest.raises(StoreUnusable, match=r"nowhere does not exist; make it"):
        StoreFile(path.parent / "nowhere" / "jobs.db")


def test_a_directory_in_its_place_is_told(path: Path) -> None:
    path.mkdir()

    with pytest.raises(StoreUnusable, match="it is a directory; name a file in it"):
        SqliteStore(path)
    with pytest.raises(StoreUnusable, match="it is a directory; name a file in it"):
        StoreFile(path)


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of the present user's; the test goes on as somebody who may only look at it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    os.seteuid(65_534)
    try:
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def test_a_directory_in_which_one_may_not_write_is_told(nobody: Path) -> None:
    with pytest.raises(StoreUnusable, match=r"or made: Permission denied; this user"):
        SqliteStore(nobody / "jobs.db")


def test_a_file_that_one_may_not_open_is_told(nobody: Path) -> None:
    os.seteuid(0)
    with_a_job(nobody / "jobs.db")
    nobody.chmod(0o777)
    (nobody / "jobs.db.lock").chmod(0o666)
    os.seteuid(65_534)

    with pytest.raises(StoreUnusable, match="or made: Permission denied; this user"):
        SqliteStore(nobody / "jobs.db")


def test_what_could_not_be_opened_is_not_held(path: Path) -> None:
    path.write_text("no database" * 100)
    with pytest.raises(StoreError):
        SqliteStore(path)
    path.unlink()

    SqliteStore(path).close()


def test_what_instruments_sqlite_does_not_see_ours(path: Path) -> None:
    instrumentor = SQLite3Instrumentor()
    instrumentor.instrument()
    try:
        with closing(SqliteStore(path)) as store:
            assert type(store._writer) is type(store._reader) is sqlite3.Connection
    finally:
        instrumentor.uninstrument()

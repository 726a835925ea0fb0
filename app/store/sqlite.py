"""A store in one SQLite file, for one process on one machine.

A batch is one transaction of few steps, in the file's write-ahead log when `write` returns. Reading
has a connection of its own, and sees what is committed. It knows no loop: whose thread calls it is
the caller's choice.
"""

import functools
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from app.jobs.model import Job
from app.store import reading, statements
from app.store.errors import StoreFailed
from app.store.lock import StoreLock
from app.store.opening import (
    Sync,
    at_opening,
    at_writing,
    open_to_have,
    open_to_read,
    unreadable,
)
from app.store.protocol import Batch, StoredJob
from app.store.rows import Row, attempt_row, changing_row, fixed_row, submission_row
from app.store.schema import MIGRATIONS, Migration
from narration.log import Entry

WAL_WARNING_BYTES: Final = 64 << 20
"""Far more than a write-ahead log has that is emptied as it should be: four MiB."""
WRITES_A_LOOK: Final = 64
"""Batches between two looks at the size of the write-ahead log."""

_logger = logging.getLogger(__name__)
_Value = TypeVar("_Value")
_Step = tuple[statements.Statement, list[Row]]


class _Written(NamedTuple):
    """What is there of an unfinished job that need not be written again."""

    attempts: int
    """Those that have ended."""
    checkpoint: bytes | None


_NOTHING: Final = _Written(0, None)


class SqliteStore:
    """The store in the file `path`, which is made if it is not there.

    `sync` says what a commit outlives: `normal` a kill of the process, `full` a loss of power too.
    A file of an older version is brought up to date by `migrations`. A write-ahead log of
    `wal_warning_bytes` is told of in the log, and again each time that it has doubled.

    Raises:
        StoreInUse, StoreNewer, StoreUnusable, StoreCorrupt, StoreFull: each says what to do.

    """

    def __init__(
        self,
        path: Path,
        *,
        sync: Sync = "normal",
        migrations: Sequence[Migration] = MIGRATIONS,
        wal_warning_bytes: int = WAL_WARNING_BYTES,
    ) -> None:
        self.path: Final = path.resolve()
        self._lock = StoreLock(self.path)
        try:
            self._writer = open_to_have(self.path, sync=sync, migrations=migrations)
            try:
                self._reader = open_to_read(self.path, migrations=migrations)
            except BaseException:
                self._writer.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._identity = _identity(self.path)
        self._reading = threading.Lock()
        self._written: dict[int, _Written] = {}
        self._writes = 0
        self._wal_warning = self._warn_at = wal_warning_bytes

    def write(self, batch: Batch) -> None:
        """As `Store.write`.

        Raises:
            StoreFull, StoreFailed, StoreCorrupt: nothing of it was written.

        """
        jobs = [job for job_id, job in batch.jobs.items() if job_id not in batch.forgotten]
        try:
            steps = [step for step in _steps(batch, jobs, self._written) if step[1]]
        except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
            raise StoreFailed(self.path, f"a batch was not written: {error}") from error
        if not steps:
            return
        self._must_be_there()
        try:
            self._commit(steps)
        except sqlite3.Error as error:
            raise at_writing(self.path, error) from error
        self._remember(jobs)
        for job_id in batch.forgotten & batch.jobs.keys():
            self._written.pop(batch.jobs[job_id].number, None)
        self._look_at_log()

    def load(self) -> Iterator[StoredJob]:
        """As `Store.load`; some jobs are read at a time, and what is written meanwhile may be seen.

        Raises:
            StoreCorrupt, StoreUnusable: it cannot be read.

        """
        after = 0
        while found := self._read(functools.partial(reading.jobs_after, number=after)):
            yield from found
            after = found[-1].job.number

    def entries(self, job_id: str) -> list[Entry]:
        """As `Store.entries`.

        Raises:
            StoreCorrupt, StoreUnusable: it cannot be read.

        """
        return self._read(lambda reader: reading.entries_of(reader, job_id))

    def spans(self, job_id: str) -> list[bytes]:
        """As `Store.spans`.

        Raises:
            StoreCorrupt, StoreUnusable: it cannot be read.

        """
        return self._read(lambda reader: reading.spans_of(reader, job_id))

    def count(self) -> int:
        """As `Store.count`.

        Raises:
            StoreCorrupt, StoreUnusable: it cannot be read.

        """
        return self._read(reading.count_of)

    def secret(self) -> bytes:
        """As `Store.secret`.

        Raises:
            StoreCorrupt, StoreUnusable: it cannot be read.

        """
        return self._read(reading.secret_of)

    def close(self) -> None:
        """As `Store.close`; what the write-ahead log holds goes into the file."""
        self._reader.close()
        self._writer.close()
        self._lock.release()

    def _must_be_there(self) -> None:
        """Refuse to write to a file that nobody will find again."""
        try:
            there = _identity(self.path)
        except OSError:
            there = None
        if there != self._identity:
            raise StoreFailed(
                self.path, "it was removed or replaced while it was in use; start the server again"
            )

    def _commit(self, steps: Sequence[_Step]) -> None:
        writer = self._writer
        try:
            if writer.in_transaction:  # what failed before could not even be rolled back
                writer.execute("ROLLBACK")
            writer.execute("BEGIN IMMEDIATE")
            for statement, rows in steps:
                statement.run(writer, rows)
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:  # SQLite has rolled back some failures by itself
                writer.execute("ROLLBACK")
            raise

    def _remember(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.finished or not (job.attempts or job.checkpoint):
                self._written.pop(job.number, None)
            else:
                running = bool(job.attempts) and job.attempts[-1].outcome is None
                self._written[job.number] = _Written(len(job.attempts) - running, job.checkpoint)

    def _read(self, read: Callable[[sqlite3.Connection], _Value]) -> _Value:
        with self._reading:
            try:
                with reading.whole(self._reader):
                    return read(self._reader)
            except sqlite3.Error as error:
                raise at_opening(self.path, error) from error
            except reading.UNREADABLE as error:
                raise unreadable(self.path, error) from error

    def _look_at_log(self) -> None:
        """Warn of a write-ahead log that grows: it is emptied only when nobody reads."""
        self._writes += 1
        if self._writes % WRITES_A_LOOK:
            return
        file = Path(f"{self.path}-wal")
        try:
            size = file.stat().st_size
        except OSError:  # it is not there to be read
            return
        if size < self._wal_warning:
            self._warn_at = self._wal_warning
        elif size >= self._warn_at:
            self._warn_at = 2 * size
            _logger.warning(
                "%s has %d MiB, and goes on growing while another process reads the store "
                "(a sqlite3 shell in a transaction, a backup): end that one",
                file,
                size >> 20,
            )


def _identity(path: Path) -> tuple[int, int]:
    """Which file it is, whatever its name."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _steps(batch: Batch, jobs: Sequence[Job], written: dict[int, _Written]) -> list[_Step]:
    """What there is to do, in order; parents come before what belongs to them."""
    made = [(job, batch.made[job.id]) for job in jobs if job.id in batch.made]
    gone = batch.forgotten
    told = [(job_id, told) for job_id, told in batch.told.items() if job_id not in gone]
    attempts: list[Row] = []
    checkpoints: list[Row] = []
    for job in jobs:
        there = written.get(job.number, _NOTHING)
        attempts += [attempt_row(job, each) for each in job.attempts[there.attempts :]]
        if job.checkpoint is not None and job.checkpoint is not there.checkpoint:
            checkpoints.append((job.number, job.checkpoint.decode()))
    return [
        (statements.MAKE, [fixed_row(job, origin) + changing_row(job) for job, origin in made]),
        (statements.SUBMIT, [submission_row(job, origin) for job, origin in made]),
        (
            statements.CHANGE,
            [(job.number, *changing_row(job)) for job in jobs if job.id not in batch.made],
        ),
        (statements.ATTEMPTS, attempts),
        (statements.CHECKPOINTS, checkpoints),
        (
            statements.TELL,
            [
                (
                    job_id,
                    each.start,
                    each.start + len(each.entries),
                    each.first,
                    reading.encode_blob(each.entries),
                )
                for job_id, each in told
            ],
        ),
        (statements.EVICT, [(job_id, each.first) for job_id, each in told if each.first > 1]),
        (
            statements.SPANS,
            [
                (job_id, reading.encode_blob(records))
                for job_id, records in batch.spans.items()
                if job_id not in gone
            ],
        ),
        (statements.FORGET, [(job_id,) for job_id in gone]),
    ]

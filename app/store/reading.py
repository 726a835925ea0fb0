"""Reading jobs and their stories from a connection, a bounded number at a time.

Each read is whole, and over when it returns: nobody who reads slowly keeps the write-ahead log from
being emptied. It changes nothing, and does not know who else has the file.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from app.store.protocol import StoredJob
from app.store.rows import ATTEMPT, CHANGING, FIXED, SUBMISSION, Row, job_of, provenance_of
from narration.log import Entry

PAGE: Final = 256
"""Jobs that are read at a time."""
UNREADABLE: Final = (ValueError, TypeError, KeyError, msgspec.MsgspecError)
"""What reading raises of a row that does not hold what it should."""

_COLUMNS: Final = (
    *(f"job.{name}" for name in FIXED + CHANGING),
    *(f"submission.{name}" for name in SUBMISSION),
    "checkpoint.value",
    "last.first",
    "last.next",
)
_JOBS: Final = (
    "FROM job JOIN submission ON submission.job = job.number "
    "LEFT JOIN checkpoint ON checkpoint.job = job.number "
    "LEFT JOIN narration AS last ON last.job = job.number AND last.start = "
    "(SELECT max(start) FROM narration WHERE narration.job = job.number) "
    "WHERE job.number > ? ORDER BY job.number LIMIT ?"
)
_ATTEMPTS: Final = "FROM attempt WHERE job BETWEEN ? AND ? ORDER BY job, number"
_RUNS: Final = (
    "SELECT start, first, events FROM narration "
    "WHERE job = (SELECT number FROM job WHERE id = ?) ORDER BY start"
)
_SPANS: Final = "SELECT records FROM span WHERE job = (SELECT number FROM job WHERE id = ?)"


@contextmanager
def whole(connection: sqlite3.Connection) -> Iterator[None]:
    """What is read within is of one moment; not to be held while anybody is waited for."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def jobs_after(connection: sqlite3.Connection, number: int, most: int = PAGE) -> list[StoredJob]:
    """The next `most` jobs in the order of their making, after that of `number`; within `whole`.

    Raises:
        sqlite3.Error: they cannot be read.

    """
    rows = connection.execute(_select(_COLUMNS, _JOBS), (number, most)).fetchall()
    attempts: dict[int, list[Row]] = {}
    if rows:
        found = connection.execute(_select(("job", *ATTEMPT), _ATTEMPTS), (rows[0][0], rows[-1][0]))
        for job, *attempt in found:
            attempts.setdefault(job, []).append(tuple(attempt))
    return [_stored(row, attempts.get(row[0], [])) for row in rows]


def entries_of(connection: sqlite3.Connection, job_id: str) -> list[Entry]:
    """The events of a job that its log kept, in order; none of a job that is not there.

    Raises:
        sqlite3.Error: they cannot be read.

    """
    runs = connection.execute(_RUNS, (job_id,)).fetchall()
    if not runs:
        return []
    start, first = runs[0][0], runs[-1][1]
    entries = [entry for _, _, events in runs for entry in decode_events(events)]
    return entries[max(0, first - start) :]


def spans_of(connection: sqlite3.Connection, job_id: str) -> list[bytes]:
    """The spans of a job; none of a job that is not there.

    Raises:
        sqlite3.Error: they cannot be read.

    """
    found = connection.execute(_SPANS, (job_id,)).fetchone()
    return [] if found is None else decode_spans(found[0])


def count_of(connection: sqlite3.Connection) -> int:
    """How many jobs there are.

    Raises:
        sqlite3.Error: they cannot be counted.

    """
    return int(connection.execute("SELECT count(*) FROM job").fetchone()[0])


def secret_of(connection: sqlite3.Connection) -> bytes:
    """The 32 random bytes that were made with the store.

    Raises:
        sqlite3.Error: they cannot be read.

    """
    return bytes(connection.execute("SELECT bytes FROM secret").fetchone()[0])


def _select(columns: Sequence[str], rest: str) -> str:
    return f"SELECT {', '.join(columns)} {rest}"


def _stored(row: Row, attempts: list[Row]) -> StoredJob:
    fixed, rest = row[: len(FIXED)], row[len(FIXED) :]
    changing, rest = rest[: len(CHANGING)], rest[len(CHANGING) :]
    submission, (checkpoint, first, following) = rest[: len(SUBMISSION)], rest[len(SUBMISSION) :]
    return StoredJob(
        job=job_of(fixed, changing, submission, attempts, checkpoint),
        provenance=provenance_of(fixed, submission),
        first=first or 1,
        next=following or 1,
    )


def encode_blob(value: Any) -> bytes:
    """Events or spans as they are kept: MessagePack."""
    return _encoder.encode(value)


_encoder: Final = msgspec.msgpack.Encoder()
decode_events: Final = msgspec.msgpack.Decoder(list[Entry]).decode
"""The events of one run."""
decode_spans: Final = msgspec.msgpack.Decoder(list[bytes]).decode
"""The spans of one job."""

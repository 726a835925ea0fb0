"""The statements that write, each for many rows at once.

sqlite3 gives up the interpreter's lock at every step, and a busy loop gives it back milliseconds
later: so a batch takes few steps. A statement exists for 1, 2, 4 … rows, and is padded with rows of
nulls, which it passes over; each size is compiled once. What is said of a job that is not there is
passed over as well. It knows the tables, and no job.
"""

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final

from app.store.rows import ATTEMPT, CHANGING, FIXED, SUBMISSION, Row

MOST_ROWS: Final = 64
"""Of one statement; more take several."""


class Statement:
    """One statement over rows of `columns`, which it finds in the table `given`.

    In `text`, `{columns}` stands for their names, and `{changes}` for setting each but the first.
    """

    def __init__(self, text: str, *columns: str) -> None:
        self._width = len(columns)
        names = ", ".join(columns)
        changes = ", ".join(f"{name} = given.{name}" for name in columns[1:])
        row = f"({', '.join('?' * self._width)})"
        body = text.format(columns=names, changes=changes)
        self._texts = {
            size: f"WITH given ({names}) AS (VALUES {', '.join([row] * size)}) {body}"
            for size in (1 << exponent for exponent in range(MOST_ROWS.bit_length()))
        }

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Write all `rows`; the first value of none is null."""
        for start in range(0, len(rows), MOST_ROWS):
            some = rows[start : start + MOST_ROWS]
            size = 1 << (len(some) - 1).bit_length()
            padding = (None,) * (self._width * (size - len(some)))
            connection.execute(self._texts[size], (*chain.from_iterable(some), *padding))


MAKE: Final = Statement(
    "INSERT INTO job ({columns}) SELECT {columns} FROM given WHERE number IS NOT NULL",
    *FIXED,
    *CHANGING,
)
SUBMIT: Final = Statement(
    "INSERT INTO submission ({columns}) SELECT {columns} FROM given WHERE job IS NOT NULL",
    "job",
    *SUBMISSION,
)
CHANGE: Final = Statement(
    "UPDATE job SET {changes} FROM given WHERE job.number = given.number", "number", *CHANGING
)
ATTEMPTS: Final = Statement(
    "REPLACE INTO attempt ({columns}) SELECT given.* FROM given "
    "CROSS JOIN job ON job.number = given.job",
    "job",
    *ATTEMPT,
)
CHECKPOINTS: Final = Statement(
    "REPLACE INTO checkpoint ({columns}) SELECT given.* FROM given "
    "CROSS JOIN job ON job.number = given.job",
    "job",
    "value",
)
TELL: Final = Statement(
    "INSERT INTO narration (job, start, next, first, events) "
    "SELECT job.number, given.start, given.next, given.first, given.events FROM given "
    "CROSS JOIN job ON job.id = given.id",
    "id",
    "start",
    "next",
    "first",
    "events",
)
EVICT: Final = Statement(
    "DELETE FROM narration WHERE (job, start) IN (SELECT old.job, old.start FROM given "
    "CROSS JOIN job ON job.id = given.id "
    "CROSS JOIN narration AS old ON old.job = job.number AND old.start < given.first "
    "WHERE old.next <= given.first)",
    "id",
    "first",
)
"""The runs that are wholly before the first event that the log keeps."""
SPANS: Final = Statement(
    "REPLACE INTO span (job, records) SELECT job.number, given.records FROM given "
    "CROSS JOIN job ON job.id = given.id",
    "id",
    "records",
)
FORGET: Final = Statement("DELETE FROM job WHERE id IN (SELECT id FROM given)", "id")
"""What else there is of the jobs goes with them."""

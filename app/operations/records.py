"""The catalogue's SQLite file: every file that was found, its digest, and who has the same.

The connection, and no other, is wrapped by OpenTelemetry's own sqlite3 instrumentation, so that
each statement is a span. It knows no job and reads no folder.
"""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

from app.operations.folder import Digest, File, shown

APPLICATION_ID: Final = 0x4A4E4341
"""Marks the file as ours ("JNCA"; SQLite's `PRAGMA application_id`)."""

_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS file "
    "(path BLOB PRIMARY KEY, size INTEGER NOT NULL, sha256 TEXT) WITHOUT ROWID"
)
_DUPLICATES: Final = (
    "WITH copy AS (SELECT sha256, size, path, COUNT(*) OVER (PARTITION BY sha256) AS copies, "
    "ROW_NUMBER() OVER (PARTITION BY sha256 ORDER BY path) AS number "
    "FROM file WHERE sha256 IS NOT NULL AND size > 0) "
    "SELECT sha256, size, copies, path, SUM(number = 1) OVER () AS groups, "
    "SUM((number > 1) * size) OVER () AS wasted "
    "FROM copy WHERE copies > 1 ORDER BY (copies - 1) * size DESC, sha256, number"
)


class ForeignFileError(ValueError):
    """The database file is something else; it is left as it is."""


@dataclass(frozen=True, slots=True)
class Group:
    """Files with the same content: the first paths, and how many there are."""

    sha256: str
    size: int
    copies: int
    paths: list[str]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The groups that waste most; how many there are in all, and the bytes of needless copies."""

    groups: list[Group]
    count: int
    wasted: int


class Records:
    """The open catalogue; used by one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor: Any = SQLite3Instrumentor.instrument_connection(connection).cursor()
        self._cursor.execute(_TABLE)
        self._cursor.execute("DELETE FROM file")

    def add(self, files: Iterable[File]) -> None:
        """Note files that were found."""
        self._cursor.executemany(
            "INSERT INTO file (path, size) VALUES (?, ?)",
            [(file.path, file.size) for file in files],
        )
        self._connection.commit()

    def complete(self, digests: Iterable[tuple[bytes, Digest]]) -> None:
        """Note what was read of files."""
        self._cursor.executemany(
            "UPDATE file SET sha256 = ?, size = ? WHERE path = ?",
            [(digest.sha256, digest.size, path) for path, digest in digests],
        )
        self._connection.commit()

    def after(self, path: bytes, limit: int) -> list[bytes]:
        """The next `limit` paths in order, from the one after `path`."""
        self._cursor.execute(
            "SELECT path FROM file WHERE path > ? ORDER BY path LIMIT ?", (path, limit)
        )
        return [row[0] for row in self._cursor.fetchall()]

    def duplicates(self, *, groups: int, paths: int) -> Duplicates:
        """Files with the same content; at most so many `groups`, and `paths` of each."""
        found: list[Group] = []
        count = wasted = 0
        self._cursor.execute(_DUPLICATES)
        for sha256, size, copies, path, in_all, in_vain in self._cursor:
            count, wasted = in_all, in_vain
            if not found or found[-1].sha256 != sha256:
                if len(found) == groups:
                    break
                found.append(Group(sha256, size, copies, []))
            if len(found[-1].paths) < paths:
                found[-1].paths.append(shown(path))
        return Duplicates(found, count, wasted)


@contextmanager
def open_records(database: Path | None) -> Iterator[Records]:
    """A catalogue that is empty at first: in `database`, or in a temporary file that goes.

    Raises:
        ForeignFileError: `database` is a file of something else.
        sqlite3.Error: it cannot be opened or written.

    """
    if database is not None:
        with closing(_connect(database)) as connection:
            yield Records(connection)
        return
    with (
        tempfile.TemporaryDirectory(prefix="narrator-") as folder,
        closing(_connect(Path(folder) / "catalogue.sqlite")) as connection,
    ):
        yield Records(connection)


def _connect(database: Path) -> sqlite3.Connection:
    new = not database.exists()
    connection = sqlite3.connect(database)
    try:
        ours = new or _application_id(connection) == APPLICATION_ID
        if ours:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    raise ForeignFileError(f"{database} is no catalogue; it is left as it is")


def _application_id(connection: sqlite3.Connection) -> int:
    """The mark in the file's header; 0 where it has none, or is no database at all."""
    try:
        return int(connection.execute("PRAGMA application_id").fetchone()[0])
    except sqlite3.OperationalError:  # cannot be read: not the same as being something else
        raise
    except sqlite3.DatabaseError:
        return 0

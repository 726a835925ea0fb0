"""Opening a store's file: to have it, or only to read it; and SQLite's errors in our words.

What stands in the way is told with what to do about it; what is not ours is left as it is. It knows
the file and its schema's version, and no job.
"""

import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from app.store.errors import (
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreNewer,
    StoreUnusable,
)
from app.store.schema import MIGRATIONS, Migration, migrate, version_of

Sync = Literal["normal", "full"]
"""What a commit outlives: `normal` the process, `full` a loss of power as well."""

QUICK_CHECK_BYTES: Final = 64 << 20
"""A file up to this size is looked through when it is opened: it takes a fraction of a second."""
WAL_BYTES: Final = 16 << 20
"""What is left of the write-ahead log once all of it is in the file; it is used again."""
BUSY_S: Final = 5.0
"""How long another's short hold on the file is waited for, seconds."""
STATEMENTS: Final = 128
"""Prepared statements that a connection keeps; ours are fewer."""

_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY: Final = 0xFF  # of an extended result code


def open_to_have(
    path: Path, *, sync: Sync, migrations: Sequence[Migration] = MIGRATIONS
) -> sqlite3.Connection:
    """A connection that reads and writes, in autocommit; the file is made, or brought up to date.

    The caller holds the lock.

    Raises:
        StoreNewer, StoreUnusable, StoreCorrupt: nothing has been changed.
        StoreFull: it could not be made, or brought up to date.

    """
    try:
        # Ours alone: params and results may be private. SQLite's files beside it follow it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnusable.because(path, error) from None
    try:
        # Not `connect`, which an instrumentation may have wrapped: ours would be in its spans.
        connection = sqlite3.Connection(
            path,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS,
        )
    except sqlite3.Error as error:
        raise at_opening(path, error) from error
    try:
        _prepare(connection, path, sync, migrations)
    except sqlite3.Error as error:
        connection.close()
        raise at_opening(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path, *, migrations: Sequence[Migration] = MIGRATIONS) -> sqlite3.Connection:
    """A connection that only reads, in autocommit, whoever has the store.

    Raises:
        StoreNewer, StoreUnusable, StoreCorrupt: it is not a store of this version.

    """
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise IsADirectoryError
        connection = sqlite3.Connection(
            f"file:{quote(os.fspath(path))}?mode=ro",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
    except OSError as error:
        raise StoreUnusable.because(path, error) from None
    except sqlite3.Error as error:
        raise at_opening(path, error) from error
    try:
        version = _known_version(connection, path, migrations)
    except sqlite3.Error as error:
        connection.close()
        raise at_opening(path, error) from error
    except BaseException:
        connection.close()
        raise
    if version < len(migrations):
        connection.close()
        what = f"an older version has written it (schema {version})" if version else "it is empty"
        raise StoreUnusable(path, f"{what}; `narrator store vacuum` brings it up to date")
    return connection


def at_opening(path: Path, error: sqlite3.Error) -> StoreError:
    """What an error of SQLite means while a store is opened or read."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code == sqlite3.SQLITE_NOTADB:
        return StoreCorrupt(path, "it is no SQLite database, or its first page is damaged")
    if code in _CORRUPT:
        return StoreCorrupt(path, f"it is damaged: {_words(error)}")
    if code == sqlite3.SQLITE_FULL:
        return _full(path, error)
    return StoreUnusable(
        path,
        f"it cannot be opened or read: {_words(error)}; this user must be allowed to read and "
        "write the file and its directory",
    )


def unreadable(path: Path, error: Exception) -> StoreCorrupt:
    """A row does not hold what it should; `error` says what it holds."""
    return StoreCorrupt(path, f"it holds what this version cannot read: {error}")


def at_writing(path: Path, error: sqlite3.Error, what: str = "a batch") -> StoreError:
    """What an error of SQLite means while `what` is written: nothing of it is there."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code in _CORRUPT:
        return StoreCorrupt(path, f"it is damaged: {_words(error)}")
    if code == sqlite3.SQLITE_FULL:
        return _full(path, error)
    return StoreFailed(path, f"{what} was not written: {_words(error)}; it may be written again")


def _prepare(
    connection: sqlite3.Connection, path: Path, sync: Sync, migrations: Sequence[Migration]
) -> None:
    version = _known_version(connection, path, migrations)
    if version and path.stat().st_size <= QUICK_CHECK_BYTES:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreCorrupt(path, f"it is damaged: {found}")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnusable(
            path, "its file system has no shared memory for a write-ahead log; use a local disk"
        )
    connection.execute(f"PRAGMA synchronous = {sync.upper()}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    migrate(connection, version, migrations)
    connection.execute("PRAGMA foreign_keys = ON")


def _known_version(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]
) -> int:
    version = version_of(connection)
    if version is None:
        raise StoreUnusable(
            path, "it is a database of something else, and is left as it is; name another file"
        )
    if version > len(migrations):
        raise StoreNewer(path, version, len(migrations))
    return version


def _full(path: Path, error: sqlite3.Error) -> StoreFull:
    try:
        room = os.statvfs(path.parent)
        free = f"{room.f_bavail * room.f_frsize // 1024} KiB are free in {path.parent}"
    except OSError as unknown:
        free = f"{path.parent}: {unknown.strerror}"
    return StoreFull(
        path, f"there is no room: {_words(error)} ({free}); make room, and it goes on by itself"
    )


def _words(error: sqlite3.Error) -> str:
    """SQLite's words, and its name for the error, which says more."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)

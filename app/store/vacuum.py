"""Making a store's file small again: what was forgotten leaves room that only new jobs would use.

It has the store meanwhile: a server that has it is not disturbed.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from app.store.errors import StoreUnusable
from app.store.lock import StoreLock
from app.store.opening import at_writing, open_to_have


def vacuum(path: Path) -> tuple[int, int]:
    """Write the file at `path` anew, without what is not used; its bytes before and after.

    Raises:
        StoreInUse, StoreNewer, StoreUnusable, StoreCorrupt: it is left as it is.
        StoreFull, StoreFailed: the same; SQLite needs up to twice the file's size meanwhile.

    """
    path = path.resolve()
    if not path.exists():  # nothing is made where no store is
        raise StoreUnusable(path, "there is no such file")
    lock = StoreLock(path)
    try:
        with closing(open_to_have(path, sync="full")) as connection:
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                before = path.stat().st_size
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise at_writing(path, error, "the smaller file") from error
        return before, path.stat().st_size
    finally:
        lock.release()

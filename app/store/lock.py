"""One process has a store: a lock on a file beside it, which ends with the process.

The kernel takes the lock back when its holder dies, by whatever signal. It is on a file of its own:
closing any descriptor of the database would drop SQLite's own locks. The file stays when the lock
goes, since removing it would race with the next holder. It knows no database.
"""

import contextlib
import fcntl
import os
import time
import weakref
from pathlib import Path
from typing import Final

from app.store.errors import StoreInUse, StoreUnusable

SUFFIX = ".lock"
_PID_BYTES = 32

PATIENCE_S: Final = 0.5
"""Seconds for which a lock is tried: a child that was just forked holds it until it lets go."""

_PAUSE_S: Final = 0.02


class StoreLock:
    """The lock on the store at `path`, held until it is released.

    Raises:
        StoreInUse: another process has it, or this one has it already.
        StoreUnusable: the file beside the store cannot be made or opened.

    """

    def __init__(self, path: Path) -> None:
        file = path.with_name(path.name + SUFFIX)
        try:
            if path.is_dir():  # no file is made beside it
                raise IsADirectoryError
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusable.because(path, error) from None
        try:
            _lock(self._descriptor)
        except BlockingIOError:
            holder = os.pread(self._descriptor, _PID_BYTES, 0)
            self.release()
            raise StoreInUse(path, int(holder) if holder.isdigit() else None) from None
        except OSError as error:
            self.release()
            raise StoreUnusable(
                path, f"{file} cannot be locked: {error.strerror}; use a local disk"
            ) from None
        with contextlib.suppress(OSError):  # for words alone; a full disk has no room for them
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        # A child that is forked without exec would hold the lock beyond our death.
        release = weakref.WeakMethod(self.release)
        os.register_at_fork(after_in_child=lambda: (found := release()) and found())

    def release(self) -> None:
        """Let others have it; a second time is no error."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock the file.

    Raises:
        BlockingIOError: another has it, and keeps it.
        OSError: it cannot be locked.

    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(_PAUSE_S)
        else:
            return

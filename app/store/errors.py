"""What can be wrong with a store, as one tree; each message says what, where and what to do.

It knows no SQLite: `opening` says which of its errors is which of these.
"""

from pathlib import Path
from typing import ClassVar, Self

from app.jobs.errors import NarratorError
from telemetry.names import StoreFault

CHECK = "narrator store check"


class StoreError(NarratorError):
    """Something is wrong with the store at `path`; the root of the tree."""

    code: ClassVar[str] = "store"

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(f"store {path}: {message}")


# --- when it is opened ----------------------------------------------------------------------------


class StoreInUse(StoreError):  # noqa: N818  # the plain noun
    """Another process has it."""

    code = "store-in-use"

    def __init__(self, path: Path, process: int | None) -> None:
        self.process = process
        who = "another process" if process is None else f"process {process}"
        super().__init__(path, f"{who} has it; stop that one first, or name another file")


class StoreNewer(StoreError):  # noqa: N818  # the plain noun
    """A newer version has written it."""

    code = "store-newer"

    def __init__(self, path: Path, version: int, known: int) -> None:
        self.version = version
        self.known = known
        super().__init__(
            path,
            f"a newer version has written it (schema {version}, this version knows up to {known}); "
            "update job-narrator, or name another file",
        )


class StoreUnusable(StoreError):  # noqa: N818  # the plain noun
    """It cannot be opened or made where it is."""

    code = "store-unusable"

    @classmethod
    def because(cls, path: Path, error: OSError) -> Self:
        """What the system says, and what to do."""
        if isinstance(error, IsADirectoryError):
            return cls(path, "it is a directory; name a file in it")
        if isinstance(error, FileNotFoundError):
            if path.parent.is_dir():
                return cls(path, "there is no such file")
            return cls(
                path, f"the directory {path.parent} does not exist; make it, or name another file"
            )
        return cls(
            path,
            f"it cannot be opened or made: {error.strerror}; this user must be allowed to read and "
            "write the file and its directory",
        )


class StoreCorrupt(StoreError):  # noqa: N818  # the plain noun
    """It is no database, or a damaged one."""

    code = StoreFault.CORRUPT.value

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            path,
            f"{what}; `{CHECK} --store {path}` lists what is damaged. Put a backup in its place, "
            "or move it away to begin with an empty one",
        )


# --- when it is written ---------------------------------------------------------------------------


class StoreFull(StoreError):  # noqa: N818  # the plain noun
    """There was no room for a batch: nothing of it was written, and it may be written again."""

    code = StoreFault.FULL.value


class StoreFailed(StoreError):  # noqa: N818  # the plain noun
    """A batch was not written: nothing of it is there, and it may be written again."""

    code = StoreFault.FAILED.value

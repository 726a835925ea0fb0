"""Files of a folder: which there are, within the allowed roots, and the digest of one.

Symbolic links and special files are not followed, so that nothing outside of the folder is read.
It reads in chunks and keeps no list of files. It knows no job, no span and no database.
"""

import fnmatch
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 1 << 20
"""Bytes of a file that are in memory at a time."""

SHOWN: Final = 400
"""Characters of a path that are shown."""
ALWAYS_EXCLUDED: Final = ".git"

_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)  # swapped for a link since it was found
    | getattr(os, "O_NONBLOCK", 0)  # swapped for a pipe since then
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class OutsideError(ValueError):
    """A path is not within the allowed roots, or is no usable path."""


class Stopped(Exception):  # noqa: N818 — reading was told to stop: no error of its own
    """Reading was stopped between two chunks."""


@dataclass(frozen=True, slots=True)
class AllowedRoots:
    """The folders that an operation may read; a relative path begins at the first."""

    paths: tuple[Path, ...]

    def resolve(self, path: Path | None) -> Path:
        """`path` without links and dots; the first root without a path. It need not exist.

        Raises:
            OutsideError: it leads out of every root; the message names the roots.

        """
        roots = [root.resolve() for root in self.paths]
        try:
            found = roots[0] if path is None else (roots[0] / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a loop, a name too long, a NUL
            raise OutsideError(f"{path} is no usable path: {error}") from None
        if not any(found.is_relative_to(root) for root in roots):
            allowed = ", ".join(map(str, roots))
            raise OutsideError(f"{found} is outside of the allowed roots: {allowed}")
        return found


@dataclass(frozen=True, slots=True)
class File:
    """A regular file that was found: its path below the folder, as the system has it, and bytes."""

    path: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Digest:
    """What was read of a file: its SHA-256 in hexadecimal, and how many bytes that covers."""

    sha256: str
    size: int


Skip = Callable[[bytes, OSError], None]


def files_of(folder: Path, *, exclude: Iterable[str], skip: Skip) -> Iterator[File]:
    """The regular files below `folder`, one directory after the other, each sorted by name.

    Entries whose name matches a pattern of `exclude` (as in a shell) are left out, and `.git`
    always. `skip` is told of every directory or file that cannot be read.
    """
    top = os.fsencode(folder)
    patterns = [os.fsencode(pattern) for pattern in (ALWAYS_EXCLUDED, *exclude)]
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(os.path.join(top, directory)) as found:  # noqa: PTH118 — bytes
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            skip(directory, error)
            continue
        below: list[bytes] = []
        for entry in entries:
            if any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns):
                continue
            path = os.path.join(directory, entry.name)  # noqa: PTH118 — bytes
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield File(path, entry.stat(follow_symlinks=False).st_size)
            except OSError as error:
                skip(path, error)
        waiting.extend(reversed(below))


def digest_of(folder: Path, path: bytes, *, stopped: Callable[[], bool]) -> Digest:
    """The digest of the file at `path` below `folder`; at most the bytes that it has at first.

    Raises:
        OSError: it cannot be read, or is no regular file (any more).
        Stopped: `stopped` said so before all was read.

    """
    whole = os.path.join(os.fsencode(folder), path)  # noqa: PTH118 — bytes
    descriptor = os.open(whole, _FLAGS)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 — a descriptor
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("is no regular file")
        digest, buffer, read = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES)), 0
        while read < status.st_size:  # a file that grows has an end too
            if stopped():
                raise Stopped
            count = file.readinto(buffer[: min(CHUNK_BYTES, status.st_size - read)])
            if not count:
                break
            digest.update(buffer[:count])
            read += count
    return Digest(digest.hexdigest(), read)


def shown(path: bytes) -> str:
    """`path` as text, whatever bytes it has; the middle of a very long one is left out."""
    text = path.decode("utf-8", "backslashreplace") or "."
    half = SHOWN // 2
    return text if len(text) <= SHOWN else f"{text[:half]}…{text[-half:]}"

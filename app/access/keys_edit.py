"""Editing the keys file: one change at a time, made whole or not at all. Knows no command.

The file is written aside and put in place by a rename, so that a server that reads it meanwhile
sees the old one or the new one. Two who edit at once wait for each other: the folder is locked.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from app.access.key_text import hash_of, id_of, new_key
from app.access.keys_file import KeyEntry, Scope, read, text_of


def create(
    path: Path,
    *,
    tenant: str,
    scopes: Iterable[Scope],
    expires_at: datetime | None = None,
    note: str = "",
    random: Callable[[int], bytes],
) -> tuple[str, KeyEntry]:
    """A new key, and the entry that the file has of it now. A file that is not there is made.

    `tenant` and `note` are as `keys_file.tenant_of` and `note_of` take them; `random` gives so many
    random bytes.

    Raises:
        OSError: the file can't be read or written.
        KeysFileError: it is no keys file; it is left as it is.

    """
    path = path.resolve()  # a link stays one
    with _locked(path.parent):
        entries = read(path) if path.exists() else ()
        key, key_id = _unused(random, {each.id for each in entries})
        entry = KeyEntry(
            id=key_id,
            tenant=tenant,
            scopes=frozenset(scopes),
            hash=hash_of(key),
            expires_at=expires_at,
            note=note,
        )
        _write(path, text_of((*entries, entry)))
    return key, entry


def revoke(path: Path, key_id: str) -> KeyEntry | None:
    """Take the key of this id out of the file: the entry that it had, None if there was none.

    Raises:
        OSError, KeysFileError: as `create`, and where there is no file.

    """
    path = path.resolve()
    with _locked(path.parent):
        entries = read(path)
        found = next((each for each in entries if each.id == key_id), None)
        if found is not None:
            _write(path, text_of(each for each in entries if each is not found))
    return found


def _unused(random: Callable[[int], bytes], taken: set[str]) -> tuple[str, str]:
    """A new key and its id, which is none of those `taken`."""
    while True:
        key = new_key(random)
        key_id = id_of(key)
        if key_id is not None and key_id not in taken:
            return key, key_id


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else edits in `folder` until the block ends: a lock on the folder leaves no file."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415 — not there on Windows

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    """Put a file with `text` in the place of `path`: for its owner alone, who stays the same."""
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            _keep_owner(path, file.fileno())
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink()
        raise
    _sync_folder(path.parent)


def _keep_owner(path: Path, descriptor: int) -> None:
    """Give the new file to the owner of the old one: a server of theirs could not read ours."""
    if sys.platform == "win32" or not path.exists():
        return
    old, new = path.stat(), os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)


def _sync_folder(folder: Path) -> None:
    """Make the rename outlive a loss of power."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

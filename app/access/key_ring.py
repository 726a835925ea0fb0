"""The keys that open the server now: those of the keys file, read again when it changes.

It is asked for each request, so asking reads no file: `look` does, called once a second. A file
that can't be read, or is no keys file, leaves the keys as they were, and that is said: an edit gone
wrong must neither open the server nor lock everybody out. It knows no request.
"""

import hmac
import logging
import stat
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from app.access.caller import Caller
from app.access.key_text import hash_of, id_of
from app.access.keys_file import KeyEntry, KeysFileError, read

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_HASH: Final = "0" * 64
"""What a key is compared with whose id nobody has, so that it takes as long as any."""

_logger = logging.getLogger(__name__)


class KeyRing:
    """The keys of the file at `path`; `wall_ns` gives the time, nanoseconds since the Unix epoch.

    Raises:
        OSError: it can't be read.
        KeysFileError: it is no keys file.

    """

    def __init__(self, path: Path, *, wall_ns: Callable[[], int]) -> None:
        self._path = path
        self._wall_ns = wall_ns
        self._problem: str | None = None
        self._seen: tuple[int, ...] | None = self._signature()
        self._keys = _held(read(path))
        for each in self.warnings():
            _logger.warning("%s", each)

    def look(self) -> None:
        """Read the file again, if it has changed; what is wrong with it is logged, once."""
        problem = None
        try:
            now = self._signature()
            if now == self._seen:
                return
            self._seen = now  # also of what is wrong: it need not be read again until it changes
            self._keys = _held(read(self._path))
        except KeysFileError as error:
            problem = str(error)
        except OSError as error:
            self._seen = None
            problem = f"{self._path}: {error.strerror or error}"
        if problem != self._problem:
            self._problem = problem
            for each in self.warnings():
                _logger.warning("%s", each)

    def admitted(self, key: str) -> Caller | None:
        """Who calls with the text `key`; None if it opens nothing (any more).

        An id that nobody has costs what a wrong secret does.
        """
        key_id = id_of(key) or ""
        found = self._keys.get(key_id)
        expected = _NO_HASH if found is None else found[0].hash
        opens = hmac.compare_digest(hash_of(key), expected)
        return self.holder(key_id) if opens else None

    def holder(self, key_id: str) -> Caller | None:
        """Whose the key of that id is; None if it opens nothing (any more)."""
        found = self._keys.get(key_id)
        if found is None:
            return None
        entry, caller = found
        ended = entry.expires_at is not None and entry.expired(self._now())
        return None if ended else caller

    def warnings(self) -> list[str]:
        """What is wrong with the file, and no reason to stop."""
        found = [] if self._problem is None else [f"the keys stay as they were: {self._problem}"]
        if sys.platform != "win32" and self._seen is not None:
            mode = self._seen[-1]
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                found.append(f"{self._path} is open to other users of this machine: chmod 600 it")
        return found

    def _signature(self) -> tuple[int, ...]:
        """What changes when the file does."""
        seen = self._path.stat()
        return seen.st_mtime_ns, seen.st_size, seen.st_ino, seen.st_mode

    def _now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self._wall_ns() // 1000)


def _held(entries: tuple[KeyEntry, ...]) -> dict[str, tuple[KeyEntry, Caller]]:
    return {
        each.id: (each, Caller(tenant=each.tenant, scopes=each.scopes, key_id=each.id))
        for each in entries
    }

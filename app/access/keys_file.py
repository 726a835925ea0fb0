"""The keys file: who may do what, as TOML; its entries, read and written. It holds hashes, no key.

```toml
[[key]]
id = "k7f3q2m4x5ab"
tenant = "acme"
scopes = ["submit", "read"]
hash = "SHA-256 of the whole key, 64 hex digits"
expires_at = 2027-02-22T18:00:00Z  # optional
note = "the nightly import"        # optional
```

An entry with a field that is not known is an error: a misspelt `expires_at` would make a key that
never ends. It knows no request, and does not watch the file.
"""

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from app.access.key_text import ID

TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
MAX_NOTE: Final = 200
"""Characters of a note."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = ("id", "tenant", "scopes", "hash", "expires_at", "note")
_NEEDED: Final = _FIELDS[:4]


class Scope(StrEnum):
    """What a key allows, within its tenant."""

    SUBMIT = "submit"
    """Submit and retry jobs."""
    READ = "read"
    """Read jobs, their streams, operations and the overview."""
    CANCEL = "cancel"
    """Cancel and delete jobs."""
    ADMIN = "admin"
    """All of these, and what else is closed: metrics and the API's documents."""


class KeysFileError(ValueError):
    """The keys file can't be used; the message says where it is wrong, and repeats no hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """One key, as it is kept.

    `hash` is `key_text.hash_of` the key. From `expires_at` on, in UTC, it opens nothing.
    """

    id: str
    tenant: str
    scopes: frozenset[Scope]
    hash: str
    expires_at: datetime | None = None
    note: str = ""

    def allows(self, scope: Scope) -> bool:
        """Whether it has `scope`; `admin` has all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def expired(self, now: datetime) -> bool:
        """Whether it has ended at `now`, which has a time zone."""
        return self.expires_at is not None and now >= self.expires_at


def read(path: Path) -> tuple[KeyEntry, ...]:
    """The entries of the file.

    Raises:
        OSError: it can't be read.
        KeysFileError: it is not a keys file.

    """
    try:
        return entries_of(path.read_bytes().decode())
    except KeysFileError as error:
        raise KeysFileError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise KeysFileError(f"{path}: it is not UTF-8") from None


def entries_of(text: str) -> tuple[KeyEntry, ...]:
    """The entries that `text` has, in its order.

    Raises:
        KeysFileError: it is not the text of a keys file.

    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of too many digits; too deep
        raise KeysFileError(f"it is not TOML: {error}") from None
    given = table.pop("key", [])
    if table:
        raise KeysFileError(f"it has {_quoted(table)}; all that it may have is [[key]]")
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise KeysFileError("key must be a list of tables, each begun by [[key]]")
    entries = tuple(_entry(each, number) for number, each in enumerate(given, 1))
    ids = [each.id for each in entries]
    twice = {each for each in ids if ids.count(each) > 1} if len(set(ids)) < len(ids) else set()
    if twice:
        raise KeysFileError(f"{_quoted(sorted(twice))} stands there twice")
    return entries


def text_of(entries: Iterable[KeyEntry]) -> str:
    """The text of a keys file with these entries; `entries_of` gives them back."""
    return "\n".join(_table(each) for each in entries)


def _table(entry: KeyEntry) -> str:
    scopes = ", ".join(_string(each) for each in Scope if each in entry.scopes)
    lines = [
        "[[key]]",
        f"id = {_string(entry.id)}",
        f"tenant = {_string(entry.tenant)}",
        f"scopes = [{scopes}]",
        f"hash = {_string(entry.hash)}",
    ]
    if entry.expires_at is not None:
        lines.append(f"expires_at = {time_text(entry.expires_at)}")
    if entry.note:
        lines.append(f"note = {_string(entry.note)}")
    return "\n".join(lines) + "\n"


def time_text(time: datetime) -> str:
    """`time` in UTC, as RFC 3339 and TOML write it."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _string(text: str) -> str:
    """A basic string of TOML: JSON's escapes of quotes and backslashes are TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _entry(given: dict[str, Any], number: int) -> KeyEntry:
    named = given.get("id")
    is_id = isinstance(named, str) and ID.fullmatch(named)
    place = f"key {number} ({named})" if is_id else f"key {number}"
    unknown = [name for name in given if name not in _FIELDS]
    if unknown:
        raise KeysFileError(f"{place} has {_quoted(unknown)}; it may have {', '.join(_FIELDS)}")
    missing = [name for name in _NEEDED if name not in given]
    if missing:
        raise KeysFileError(f"{place} has no {', no '.join(missing)}")
    return KeyEntry(
        id=_matching(given["id"], ID, f"{place}: id must be 12 characters of a-z and 0-9"),
        tenant=tenant_of(given["tenant"], place=place),
        scopes=_scopes(given["scopes"], place),
        hash=_matching(given["hash"], _HASH, f"{place}: hash must be 64 digits of 0-9 and a-f"),
        expires_at=_time(given.get("expires_at"), place),
        note=note_of(given.get("note", ""), place=place),
    )


def tenant_of(given: object, *, place: str) -> str:
    """The name of a tenant.

    Raises:
        KeysFileError: it is none; the message begins with `place`.

    """
    wanted = "tenant must be 1 to 63 characters of a-z, 0-9, _ and -, and begin with a-z or 0-9"
    return _matching(given, TENANT, f"{place}: {wanted}, not {given!r}")


def note_of(given: object, *, place: str) -> str:
    """A note.

    Raises:
        KeysFileError: it is none; the message begins with `place`.

    """
    if not isinstance(given, str) or len(given) > MAX_NOTE or not given.isprintable():
        raise KeysFileError(f"{place}: note must be at most {MAX_NOTE} characters on one line")
    return given


def _matching(given: object, pattern: re.Pattern[str], wrong: str) -> str:
    if not isinstance(given, str) or not pattern.fullmatch(given):
        raise KeysFileError(wrong)
    return given


def _scopes(given: object, place: str) -> frozenset[Scope]:
    legal = ", ".join(Scope)
    if not isinstance(given, list) or not given or not all(each in list(Scope) for each in given):
        raise KeysFileError(
            f"{place}: scopes must be a list with one or more of {legal}, not {given!r}"
        )
    return frozenset(map(Scope, given))


def _time(given: object, place: str) -> datetime | None:
    if given is None:
        return None
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise KeysFileError(
            f"{place}: expires_at must be a time with its zone and without quotes, such as "
            "2027-02-22T18:00:00Z"
        )
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise KeysFileError(f"{place}: expires_at is no time of the calendar in UTC") from None


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))

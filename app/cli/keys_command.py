"""`narrator keys`: who may use a server. It edits the keys file, which servers read again.

It talks to no server: who can write the file may make keys.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from app.access.key_text import id_of
from app.access.keys_edit import create as create_key
from app.access.keys_edit import revoke as revoke_key
from app.access.keys_file import (
    KeyEntry,
    KeysFileError,
    Scope,
    note_of,
    read,
    tenant_of,
    time_text,
)
from app.cli.client.output import print_lines, width
from app.cli.client.reach import AsJson
from app.cli.client.submit import seconds
from app.cli.client.table import Column, table
from app.cli.configuration import settings_or_exit
from app.cli.failure import FAILED, REFUSED, USAGE, complain, fail
from app.cli.units import age
from app.jobs.model import DEFAULT_TENANT
from telemetry.clock import SystemClock

COLUMNS: Final = (
    Column(title="ID"),
    Column(title="TENANT", least=8),
    Column(title="SCOPES"),
    Column(title="EXPIRES"),
    Column(title="NOTE", least=8),
)

keys = typer.Typer(
    name="keys",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

KeysOption = Annotated[
    Path | None,
    typer.Option("--keys", metavar="FILE", help="The keys file.", show_default="NARRATOR_KEYS"),
]


@keys.callback()
def _keys() -> None:
    """Make, list and revoke the keys that open a server.

    A server that is given a keys file is closed to whoever has no key. The file holds no key, only
    hashes; servers read it again when it changes. --keys FILE, or NARRATOR_KEYS, names it.

    For example:

        narrator keys create --keys keys.toml --scope submit --scope read

        narrator serve --keys keys.toml
    """


@keys.command()
def create(
    *,
    scope: Annotated[
        list[Scope],
        typer.Option(
            "--scope", help="What it allows; may be given several times. admin is all of them."
        ),
    ],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose jobs it opens.")] = DEFAULT_TENANT,
    expires: Annotated[
        float | None,
        typer.Option(
            "--expires",
            parser=seconds,
            metavar="TIME",
            help="How long: 12h, 90d.",
            show_default="it does not end",
        ),
    ] = None,
    note: Annotated[str, typer.Option("--note", help="What it is for.", show_default=False)] = "",
    file: KeysOption = None,
) -> None:
    """Make a key, and print it: this once, alone on stdout.

    For example:

        narrator keys create --tenant acme --scope submit --scope read --expires 90d

        (umask 077; narrator keys create --scope admin > key) && narrator ls --key-file key
    """
    path = _path(file)
    try:
        tenant_of(tenant, place="--tenant")
        note_of(note, place="--note")
    except KeysFileError as error:
        fail(str(error), USAGE)
    with _told_errors(path):
        key, entry = create_key(
            path,
            tenant=tenant,
            scopes=scope,
            expires_at=_end(expires),
            note=note,
            random=os.urandom,
        )
    end = entry.expires_at
    until = "until it is revoked" if end is None else f"until {time_text(end)}"
    _say(f"key {entry.id} of tenant {entry.tenant}: {_scopes(entry)}; {until}")
    _say(f"it is shown this once; {path} has its hash")
    print(key, flush=True)


@keys.command("list")
def list_keys(*, as_json: AsJson = False, file: KeysOption = None) -> None:
    """List the keys: what they allow, and until when.

    For example:

        narrator keys list

        narrator keys list --json | jq -r 'select(.expired).id' | xargs narrator keys revoke
    """
    path = _path(file)
    with _told_errors(path):
        entries = read(path)
    now = _now()
    if as_json:
        for entry in entries:
            print(_as_json(entry, now))
        return
    print_lines(listed(entries, now=now, columns=width()))


@keys.command()
def revoke(
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of keys: narrator keys list.")
    ],
    *,
    file: KeysOption = None,
) -> None:
    """Revoke keys: they open nothing from now on.

    For example:

        narrator keys revoke k7f3q2m4x5ab
    """
    path = _path(file)
    code = 0
    for word in ids:
        key_id = id_of(word) or word  # the whole of a key that has got about will do as well
        with _told_errors(path):
            entry = revoke_key(path, key_id)
        if entry is None:
            complain(f"{path} has no key {key_id!r}: narrator keys list")
            code = REFUSED
        else:
            print(f"{entry.id}  revoked", flush=True)
    raise typer.Exit(code)


def listed(entries: Sequence[KeyEntry], *, now: datetime, columns: int | None) -> list[Text]:
    """The table of `entries` at the time `now`."""
    if not entries:
        return [Text("no keys: nobody may use the server", "dim")]
    rows = [
        [
            Text(entry.id),
            Text(entry.tenant),
            Text(_scopes(entry)),
            _expiry(entry, now),
            Text(entry.note, "dim"),
        ]
        for entry in entries
    ]
    return table(COLUMNS, rows, width=columns)


def _expiry(entry: KeyEntry, now: datetime) -> Text:
    if entry.expires_at is None:
        return Text("never", "dim")
    left = (entry.expires_at - now).total_seconds()
    return Text(f"in {age(left)}") if left > 0 else Text(f"expired {age(-left)} ago", "red")


def _as_json(entry: KeyEntry, now: datetime) -> str:
    end = entry.expires_at
    return json.dumps(
        {
            "id": entry.id,
            "tenant": entry.tenant,
            "scopes": [each.value for each in Scope if each in entry.scopes],
            "expires_at": None if end is None else time_text(end),
            "expired": entry.expired(now),
            "note": entry.note,
        },
        ensure_ascii=False,
    )


def _scopes(entry: KeyEntry) -> str:
    return ", ".join(each for each in Scope if each in entry.scopes)


def _path(given: Path | None) -> Path:
    path = settings_or_exit({"keys": given}).keys
    if path is None:
        fail("where is the keys file? --keys FILE, or NARRATOR_KEYS, names it", USAGE)
    return path


def _now() -> datetime:
    return datetime.fromtimestamp(SystemClock().wall_ns() // 1_000_000_000, UTC)


def _end(seconds_from_now: float | None) -> datetime | None:
    if seconds_from_now is None:
        return None
    if seconds_from_now < 1:
        fail("--expires: a key that has ended opens nothing; give it a time, such as 90d", USAGE)
    try:
        return _now() + timedelta(seconds=round(seconds_from_now))
    except OverflowError:
        fail("--expires: that is past the end of the calendar; without it, it does not end", USAGE)


def _say(line: str) -> None:
    print(f"narrator: {line}", file=sys.stderr)


@contextlib.contextmanager
def _told_errors(path: Path) -> Iterator[None]:
    """What is wrong with the keys file ends the command in words."""
    try:
        yield
    except FileNotFoundError:
        fail(f"{path} is not there: narrator keys create makes it, in a folder that is", USAGE)
    except KeysFileError as error:
        fail(str(error), USAGE)
    except OSError as error:
        fail(f"{path}: {error.strerror or error}", FAILED)

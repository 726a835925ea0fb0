"""How a command fails: a line on stderr and an exit code, never a traceback for a user's error."""

import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import typer

from app.settings import Settings, SettingsError, load, unknown_variables

USAGE: Final = 2
"""A wrong flag, setting or target."""
REFUSED: Final = 3
"""The server can't start: its address is in use or is not ours."""


def fail(message: str, code: int) -> NoReturn:
    """Say why on stderr and end with `code`."""
    for line in message.splitlines() or [""]:
        print(f"narrator: {line}", file=sys.stderr)
    raise typer.Exit(code)


def settings_or_exit(flags: Mapping[str, Any]) -> Settings:
    """The settings in force, or the end with what is wrong with them."""
    try:
        return load(flags)
    except SettingsError as error:
        fail(str(error), USAGE)


def warn_unknown_variables() -> None:
    """Name variables that look like settings and are none."""
    for line in unknown_variables():
        print(f"narrator: warning: {line}", file=sys.stderr)

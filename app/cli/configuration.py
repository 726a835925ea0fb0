"""The server's settings for a command that serves or shows them, or the end with what is wrong."""

import sys
from collections.abc import Mapping
from typing import Any

from app.cli.failure import USAGE, fail
from app.settings import Settings, SettingsError, load, unknown_variables


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

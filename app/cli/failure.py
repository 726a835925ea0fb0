"""How a command ends: its exit code, and a line on stderr; never a traceback for a user's error.

It knows neither the server nor its settings, so that a client's command may use it.
"""

import sys
from typing import Final, NoReturn

import typer

FAILED: Final = 1
"""The job failed, or what was asked for did not work."""
USAGE: Final = 2
"""A wrong flag, setting, target or parameter."""
REFUSED: Final = 3
"""Not there, not reached or not now; a server whose address is in use or is not ours."""
TIMED_OUT: Final = 124
"""The job ran out of time, or never started in time; as timeout(1) has it."""
INTERRUPTED: Final = 130
"""Ctrl-C, or the job was cancelled: 128 and the number of SIGINT."""


def fail(message: str, code: int) -> NoReturn:
    """Say why on stderr and end with `code`."""
    complain(message)
    raise typer.Exit(code)


def complain(message: str) -> None:
    """Say what is wrong on stderr, and go on."""
    for line in message.splitlines() or [""]:
        print(f"narrator: {line}", file=sys.stderr)

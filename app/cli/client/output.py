"""What commands print once, with colours where a terminal shows them (and NO_COLOR is not set)."""

import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from app.cli.client.screen import COLUMNS


def width() -> int | None:
    """Columns of the terminal; None where output goes elsewhere, and lines may be long."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or COLUMNS
    except (OSError, ValueError):
        return COLUMNS


def print_lines(lines: Iterable[Text]) -> None:
    """Print each, whole."""
    console = Console(file=sys.stdout, highlight=False, emoji=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def discard_output() -> None:
    """Nobody reads our output: the interpreter would complain when it flushes it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

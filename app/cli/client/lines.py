"""Lines for a terminal, and what they are made of: colours, marks, what fits, what is cut.

Pure, and shared by all that is drawn or printed. It knows neither jobs' stories nor terminals.
"""

import json
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from app.cli.story_printer import clean
from app.cli.units import short
from telemetry.names import Level, State

DONE: Final = "✓"
BROKEN: Final = "✗"
SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
TURNS: Final = 10
"""Steps of the spinner in a second."""
SHORT_ID: Final = 8
RESULT_LINES: Final = 20

_LEVELS: Final = {
    Level.WARN.label: "yellow",
    Level.ERROR.label: "red",
    Level.FATAL.label: "bold red",
    Level.DEBUG.label: "dim",
    Level.TRACE.label: "dim",
}
_STATES: Final = {
    State.RUNNING.value: "cyan",
    State.COMPLETED.value: "green",
    State.FAILED.value: "red",
    State.CANCELLED.value: "yellow",
    State.CANCELLING.value: "yellow",
    State.RETRYING.value: "yellow",
}


def state_style(state: str) -> str:
    """The colour of a state."""
    return _STATES.get(state, "")


def level_style(level: str) -> str:
    """The colour of a level of narration."""
    return _LEVELS.get(level, "")


def fitted(text: Text, width: int) -> Text:
    """`text` in one line of at most `width` columns."""
    text = text.copy()
    text.truncate(width, overflow="ellipsis")
    text.rstrip()
    return text


def wrapped(text: Text, width: int, *, most: int = 10) -> list[Text]:
    """`text` in lines of at most `width` columns, `most` of them."""
    lines = list(text.wrap(Console(width=width), width))
    for line in lines:
        line.rstrip()
    return lines[:most]


def running(what: str, seconds: float, width: int) -> Text:
    """One line for `what` runs, and for how long."""
    return row(Text.assemble((turn(seconds), "cyan"), f" {what}"), lasting(seconds), width)


def turn(now: float) -> str:
    """The spinner at the time `now`, in seconds."""
    return SPINNER[int(now * TURNS) % len(SPINNER)]


def pretty(value: Any) -> list[str]:
    """JSON in as many lines as fit a screen; what is left out is said."""
    whole = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) or len(whole) <= 78:  # noqa: PLR2004 — a line
        lines = clean(value if isinstance(value, str) else whole).splitlines()
    else:
        lines = clean(json.dumps(value, indent=2, ensure_ascii=False)).splitlines()
    if len(lines) > RESULT_LINES:
        left = len(lines) - RESULT_LINES
        lines = [*lines[:RESULT_LINES], f"… {left} more lines: narrator show --json has all"]
    return lines


def row(left: Text, right: str, width: int) -> Text:
    """`left`, and `right` at the right edge; `left` gives way."""
    room = width - cell_len(right) - 1
    left = fitted(left, room)
    return left + Text(" " * (room - left.cell_len + 1)) + Text(right, "dim")


def lasting(seconds: float) -> str:
    """A duration that grows, so that its unit does not flicker."""
    return f"{seconds:.1f}s" if seconds < 1 else short(seconds)


def one_line(text: str) -> str:
    """`text` without line breaks, and without what would steer a terminal."""
    return clean(" ".join(text.split("\n")))

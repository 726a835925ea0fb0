"""Prints a story on a terminal while it happens: time, who speaks, and what is said.

It is given the stream's events in their wire form and knows neither HTTP nor jobs. Colours and the
moving progress line are for terminals only; elsewhere everything is a plain line.
"""

import json
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, TextIO

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from telemetry.names import Kind, Level, StreamEvent

WIDTH: Final = 80
"""Columns."""
TIME_WIDTH: Final = 8
ACTOR_WIDTH: Final = 10
INDENT: Final = TIME_WIDTH + 2 + ACTOR_WIDTH + 2
BAR_WIDTH: Final = 20
PLAIN_STEPS: Final = 10
"""Where nothing can be overwritten, progress is a line each time another tenth is done."""

_ERASE: Final = "\r\x1b[2K"
_STYLES: Final = {
    Level.WARN.label: "yellow",
    Level.ERROR.label: "red",
    Level.FATAL.label: "bold red",
    Level.DEBUG.label: "dim",
    Level.TRACE.label: "dim",
}
_QUIET: Final = frozenset({Kind.SPAN_START.value, Kind.SPAN_END.value})


class StoryPrinter:
    """Prints the events of one story on `file`; times count from the first one."""

    def __init__(self, file: TextIO, *, terminal: bool | None = None, width: int = WIDTH) -> None:
        self._console = Console(
            file=file, width=width, force_terminal=terminal, highlight=False, emoji=False
        )
        self._width = width
        self._begun: datetime | None = None
        self._line_shown = False
        self._tenth = -1

    @property
    def terminal(self) -> bool:
        """Whether what is printed is seen as it changes."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        """Print one event of the stream; states are not printed, since messages tell them."""
        at = self._offset(data.get("at"))
        if name == StreamEvent.NARRATION:
            quiet = data["kind"] in _QUIET
            style = "dim" if quiet else _STYLES.get(data["level"], "")
            self._told(at, data["actor"], data["text"], style)
        elif name == StreamEvent.PROGRESS:
            self._progress(at, data)
        elif name == StreamEvent.OUTPUT:
            chunk = data["chunk"]
            self._told(at, "output", chunk if isinstance(chunk, str) else json.dumps(chunk), "cyan")
        elif name == StreamEvent.GAP:
            self._told(at, "", f"… messages are missing here ({data['reason']})", "yellow")
        elif name == StreamEvent.DRAINING:
            self._told(at, "", f"… the server is stopping ({data['reason']})", "yellow")
        elif name == StreamEvent.END:
            good = data["marker"] == "[DONE]"
            self._told(at, "", data["marker"], "bold green" if good else "bold red")

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line of one's own below the story."""
        self._erase()
        self._console.print(Text(text, style), soft_wrap=True)

    def close(self) -> None:
        """Leave the cursor at the beginning of a line."""
        self._erase()

    def _told(self, at: str, actor: str, text: str, style: str) -> None:
        self._erase()
        name = clean(actor)
        first = _beginning(name, ACTOR_WIDTH)
        if cell_len(name) > ACTOR_WIDTH:
            first = _beginning(name, ACTOR_WIDTH - 1) + "…"
        padding = " " * (ACTOR_WIDTH - cell_len(first))
        head = Text.assemble((f"{at:>{TIME_WIDTH}}  ", "dim"), (first, "blue"), padding, "  ")
        body = Text(clean(text), style).wrap(self._console, max(self._width - INDENT, 10))
        for number, row in enumerate(body or [Text()]):
            row.rstrip()
            whole = (head if number == 0 else Text(" " * INDENT)) + row
            whole.rstrip()
            self._console.print(whole, soft_wrap=True)

    def _progress(self, at: str, data: Mapping[str, Any]) -> None:
        done, total, text = data["done"], data.get("total"), data.get("text") or ""
        share = min(max(done / total, 0.0), 1.0) if total else None
        amount = f"{done:.15g}" if total is None else f"{done:.15g}/{total:.15g}"
        said = f"{amount} {text}".strip()
        if share is not None:
            said = f"{bar(share)} {share:4.0%}  {said}"
        if not self.terminal:
            tenth = -2 if share is None else int(share * PLAIN_STEPS)
            if tenth != self._tenth:
                self._tenth = tenth
                self._told(at, "progress", said, "")
            return
        self._erase()
        row = f"{at:>{TIME_WIDTH}}  {'progress':<{ACTOR_WIDTH}}  {clean(said)}"
        self._console.file.write(_beginning(row, self._width - 1))
        self._console.file.flush()
        self._line_shown = True

    def _erase(self) -> None:
        if self._line_shown:
            self._console.file.write(_ERASE)
            self._line_shown = False

    def _offset(self, at: str | None) -> str:
        """Seconds since the first event; nothing for an event without a time."""
        if at is None:
            return ""
        moment = datetime.fromisoformat(at)
        self._begun = self._begun or moment
        return f"{(moment - self._begun).total_seconds():.3f}s"


def bar(share: float) -> str:
    """A bar for a `share` from 0 to 1.

    >>> bar(0.5)
    '██████████░░░░░░░░░░'
    """
    full = round(share * BAR_WIDTH)
    return "█" * full + "░" * (BAR_WIDTH - full)


def clean(text: str) -> str:
    """`text` without what would steer a terminal: control and direction characters are spelled."""
    return "".join(
        each
        if each == "\n" or unicodedata.category(each) not in {"Cc", "Cf", "Cs"}
        else spelled(each, before)
        for before, each in pairwise(f" {text}")
    )


def spelled(character: str, before: str = " ") -> str:
    r"""A character by its code; a tab is two spaces, and a joiner after an emoji stays.

    >>> spelled(chr(27))
    '\\x1b'
    """
    if character == "\t":
        return "  "
    if character == "\N{ZERO WIDTH JOINER}" and unicodedata.category(before) in {"So", "Sk", "Mn"}:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _beginning(text: str, cells: int) -> str:
    """As much of `text` as fits in so many cells; what takes none is nothing."""
    return next(iter(chop_cells(text, cells)), "")

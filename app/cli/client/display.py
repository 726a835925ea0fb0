"""How a story is shown while it happens: drawn on a terminal, as plain lines, or as JSON lines.

A display is told events and shows them; it knows neither where they come from nor what a signal
means to the command. Its `key` understands those keys that change what is shown.
"""

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Protocol, TextIO

from app.cli.client.drawing import Detail, View, draw, draw_end
from app.cli.client.lines import pretty
from app.cli.client.picture import Picture
from app.cli.client.screen import Screen
from app.cli.story_printer import StoryPrinter
from app.client import Event
from telemetry.clock import Clock, SystemClock

UNWRAPPED: Final = 1_000_000
"""Columns of a plain line that no terminal shows: programs want it whole."""
KEYS: Final = "d more  s less  e first error  q detach  Ctrl-C twice cancels"
NO_KEYS: Final = "Ctrl-C detaches, twice cancels"


class Progress(StrEnum):
    """How to show it: `auto` draws on a terminal, and is plain elsewhere."""

    AUTO = "auto"
    TTY = "tty"
    PLAIN = "plain"
    JSON = "json"


class Display(Protocol):
    """What shows a story."""

    def event(self, event: Event) -> None:
        """Take one event."""
        ...

    def notice(self, text: str, *, lasting: bool = False) -> None:
        """Show what the program itself has to say; unless `lasting`, until the next event."""
        ...

    def tick(self) -> None:
        """Time has passed, or the terminal has another size."""
        ...

    def key(self, name: str) -> None:
        """A key was pressed."""
        ...

    def close(self) -> None:
        """Nothing more comes: show what stays, and give the terminal back."""
        ...


class DrawnDisplay:
    """Draws a picture of the job in place; when it is closed, the last one stays."""

    def __init__(
        self,
        picture: Picture,
        *,
        link: str = "",
        keys: str = KEYS,
        again: str = "",
        clock: Clock | None = None,
    ) -> None:
        self._picture = picture
        self._link = link
        self._keys = keys
        self._again = again
        self._clock = clock or SystemClock()
        self._screen = Screen()
        self._detail = Detail.LINES
        self._trouble = False
        self._notice = ""
        self._lasting = False
        self._ahead = 0.0  # seconds by which the server's clock is before ours, as far as is seen

    def event(self, event: Event) -> None:
        """Take one event; the next tick shows it."""
        self._picture.event(event)
        self._ahead = max(self._ahead, self._picture.last - self._wall())
        if not self._lasting:
            self._notice = ""

    def notice(self, text: str, *, lasting: bool = False) -> None:
        """Show it below the picture."""
        self._notice, self._lasting = text, lasting
        self.tick()

    def tick(self) -> None:
        """Draw again."""
        columns, rows = self._screen.size()
        view = self._view(columns, rows - 1)
        self._screen.draw(draw(self._picture, view))

    def key(self, name: str) -> None:
        """More and less detail, and the first error."""
        match name:
            case "d" | "+" | "right":
                self._detail = Detail(min(self._detail + 1, Detail.ALL))
            case "s" | "-" | "left":
                self._detail = Detail(max(self._detail - 1, Detail.STEPS))
            case "e":
                self._trouble = not self._trouble
            case _:
                return
        self.tick()

    def close(self) -> None:
        """Leave the last picture, or the end of the job."""
        self._notice = ""
        columns, _ = self._screen.size()
        view = self._view(columns, None, keys="")
        self._screen.leave((draw_end if self._picture.end else draw)(self._picture, view))
        self._screen.close()

    def _view(self, columns: int, rows: int | None, keys: str | None = None) -> View:
        return View(
            now=self._wall() + self._ahead,
            width=columns,
            height=rows,
            detail=self._detail,
            trouble=self._trouble,
            link=self._link,
            notice=self._notice,
            keys=self._keys if keys is None else keys,
            again=self._again,
        )

    def _wall(self) -> float:
        return self._clock.wall_ns() / 1e9


class PlainDisplay:
    """A line for each message, as it comes: for logs, pipes and terminals that can't be drawn on.

    What the program itself has to say goes to stderr.
    """

    def __init__(self, file: TextIO | None = None, *, width: int | None = None) -> None:
        self._file = file or sys.stdout
        self._printer = StoryPrinter(self._file, terminal=False, width=width or UNWRAPPED)

    def event(self, event: Event) -> None:
        """Print it."""
        data: dict[str, Any] = json.loads(event.raw)
        self._printer.event(event.name, data)
        if event.name == "end" and data.get("result") is not None:
            for line in pretty(data["result"]):
                self._printer.line(line)
        self._file.flush()

    def notice(self, text: str, *, lasting: bool = False) -> None:  # noqa: ARG002 — all lasts
        """Print it on stderr."""
        print(f"narrator: {text}", file=sys.stderr, flush=True)

    def tick(self) -> None:
        """Nothing: what is printed stays."""

    def key(self, name: str) -> None:
        """Nothing: there are no keys."""

    def close(self) -> None:
        """Nothing: what is printed stays."""


class JsonDisplay:
    """A JSON object in a line for each event: `event`, `id` and `data`, as in a story's NDJSON."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stdout

    def event(self, event: Event) -> None:
        """Print it with its data as it came."""
        self.line(event.name or getattr(event, "event", ""), event.raw, event.id)

    def line(self, name: str, raw: str, event_id: str | None = None) -> None:
        """Print one line; `raw` is JSON."""
        head = f'{{"event": {json.dumps(name)}, "id": {json.dumps(event_id)}, "data": '
        self._file.write(f"{head}{raw}}}\n")
        self._file.flush()

    def notice(self, text: str, *, lasting: bool = False) -> None:  # noqa: ARG002 — all lasts
        """Print it as an event that no server sends."""
        self.line("notice", json.dumps({"text": text}))

    def tick(self) -> None:
        """Nothing: what is printed stays."""

    def key(self, name: str) -> None:
        """Nothing: there are no keys."""

    def close(self) -> None:
        """Nothing: what is printed stays."""


def progress_of(asked: Progress, *, as_json: bool) -> Progress:
    """How it will be shown, never `auto`."""
    if as_json:
        return Progress.JSON
    if asked is not Progress.AUTO:
        return asked
    return Progress.TTY if StoryPrinter(sys.stdout).terminal else Progress.PLAIN


def display_for(
    progress: Progress,
    picture: Callable[[], Picture],
    *,
    link: str = "",
    keys: str = KEYS,
    again: str = "",
) -> Display:
    """What shows a job so; `picture` makes the empty one where it will be drawn."""
    if progress is Progress.JSON:
        return JsonDisplay()
    if progress is Progress.TTY:
        return DrawnDisplay(picture(), link=link, keys=keys, again=again)
    width = Screen().size()[0] if sys.stdout.isatty() else None
    return PlainDisplay(width=width)

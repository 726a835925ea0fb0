"""What a person or a program sees of a command that `narrator exec` runs."""

import sys
from typing import Final, Protocol

from rich.text import Text

from app.cli.client.display import JsonDisplay, PlainDisplay, Progress
from app.cli.client.lines import BROKEN, DONE, fitted, level_style, running
from app.cli.client.screen import Screen
from app.cli.story_printer import StoryPrinter, clean
from app.cli.units import short
from app.client import EndEvent, Event, NarrationEvent
from telemetry.clock import SystemClock
from telemetry.names import Kind, State

_NOT_SAID: Final = frozenset({Kind.LIFECYCLE, Kind.SPAN_START, Kind.SPAN_END, Kind.EXCEPTION})

_LINES: Final = frozenset({Kind.STDOUT, Kind.STDERR})
_BEGUN: Final = 1_000
"""Bytes of a line that has begun that are kept."""


class Showing(Protocol):
    """Shows a command while it runs."""

    def event(self, event: Event) -> None:
        """Take one event of its story."""
        ...

    def heard(self, kind: Kind, data: bytes) -> None:
        """Take what it has written, as it came."""
        ...

    def tick(self) -> None:
        """Time has passed."""
        ...

    def close(self) -> None:
        """It has ended, and all is told."""
        ...


class Passing:
    """Passes on what the command writes, byte for byte, each to its own stream."""

    def event(self, event: Event) -> None:
        """Nothing: what it wrote is all that is shown."""

    def heard(self, kind: Kind, data: bytes) -> None:
        """Write it."""
        stream = sys.stdout.buffer if kind is Kind.STDOUT else sys.stderr.buffer
        stream.write(data)
        stream.flush()

    def tick(self) -> None:
        """Nothing: what is written stays."""

    def close(self) -> None:
        """Nothing: what is written stays."""


class Telling:
    """Prints each event of the story, as lines or as JSON."""

    def __init__(self, display: PlainDisplay | JsonDisplay) -> None:
        self._display = display

    def event(self, event: Event) -> None:
        """Print it."""
        self._display.event(event)

    def heard(self, kind: Kind, data: bytes) -> None:
        """Nothing: each line of it is an event."""

    def tick(self) -> None:
        """Nothing: what is printed stays."""

    def close(self) -> None:
        """Nothing: what is printed stays."""


class Drawing:
    """On a terminal: what is said stays, and below it is drawn what runs, and for how long.

    A line that the command has only begun, such as a question, is shown as far as it goes.
    """

    def __init__(self, command: str) -> None:
        self.farewell = ""
        """The last line, if any."""
        self._command = clean(command)
        self._actor = ""
        self._screen = Screen()
        self._monotonic = SystemClock().monotonic
        self._begun = self._monotonic()
        self._said: list[Text] = []
        self._pending: dict[Kind, bytes] = {}
        self._end: EndEvent | None = None

    def event(self, event: Event) -> None:
        """Take it; the next tick shows it."""
        if isinstance(event, EndEvent):
            self._end = event
        elif isinstance(event, NarrationEvent) and event.kind not in _NOT_SAID:
            said = event.kind in _LINES and event.action == event.kind
            line = Text() if said else Text(f"{clean(event.actor)}  ", "blue")
            self._said.append(line.append(clean(event.text), level_style(event.level)))

    def heard(self, kind: Kind, data: bytes) -> None:
        """Keep the line that has begun; those that are complete come as events."""
        whole = self._pending.get(kind, b"") + data
        self._pending[kind] = whole.replace(b"\r", b"\n").rpartition(b"\n")[2][-_BEGUN:]

    def tick(self) -> None:
        """Draw again."""
        self._leave_said()
        columns, _ = self._screen.size()
        begun = [clean(each.decode(errors="replace")) for each in self._pending.values() if each]
        now = self._monotonic()
        lines = [fitted(Text(each), columns) for each in begun]
        self._screen.draw([*lines, running(self._command, now - self._begun, columns)])

    def close(self) -> None:
        """Leave the outcome."""
        self._leave_said()
        columns, _ = self._screen.size()
        lines = [self._outcome()] if self._end else []
        if self.farewell:
            lines.append(Text(self.farewell, "dim"))
        self._screen.leave([fitted(each, columns) for each in lines])
        self._screen.close()

    def _outcome(self) -> Text:
        end, took = self._end, short(self._monotonic() - self._begun)
        if end is None or end.state == State.COMPLETED:
            return Text(f"{DONE} {self._command}  {took}", "green")
        if end.failure is None:
            return Text(f"{BROKEN} {self._command}  interrupted after {took}", "yellow")
        return Text(f"{BROKEN} {clean(end.failure.message)} after {took}", "bold red")

    def _leave_said(self) -> None:
        if self._said:
            self._screen.leave(self._said)
            self._said = []


def showing_for(progress: Progress, command: str, *, as_json: bool) -> Showing:
    """What shows a command so."""
    if as_json or progress is Progress.JSON:
        return Telling(JsonDisplay())
    if progress is Progress.PLAIN:
        return Telling(PlainDisplay())
    if progress is Progress.TTY or StoryPrinter(sys.stdout).terminal:
        return Drawing(command)
    return Passing()

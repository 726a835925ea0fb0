"""What a job's story amounts to so far: its attempts, their steps, what was said last, progress.

It is told the stream's events and keeps a bounded picture of them: `app.cli.client.drawing` makes
lines of it. A step is a span that the story told of. Times are seconds of the server's clock since
the Unix epoch. It knows no terminal, and nothing of how events come.
"""

import json
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.client import (
    EndEvent,
    Event,
    GapEvent,
    LoggedEvent,
    NarrationEvent,
    OutputEvent,
    ProgressEvent,
    StateEvent,
)
from telemetry.names import Kind, Level, State

LINES: Final = 30
"""What was said last that a step keeps."""
CHILDREN: Final = 60
"""Finished steps that a step keeps; earlier ones are counted."""
MARKS: Final = 40
"""Steps of progress by which its rate is told: the newest."""

_ERRORS: Final = frozenset({Level.ERROR.label, Level.FATAL.label})
_STEPS: Final = frozenset({Kind.SPAN_START.value, Kind.SPAN_END.value})


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was said, by whom, and how bad it is: a level of narration."""

    text: str
    actor: str = ""
    level: str = Level.INFO.label


@dataclass(slots=True)
class Step:
    """A span, or an attempt as a whole: when it was, what is under it, what it said last."""

    name: str
    begun: float
    actor: str = ""
    ended: float | None = None
    failed: bool = False
    cut: bool = False
    """It did not end by itself: what it is under has ended."""
    said: str = ""
    """What it ended with, where that is more than its name."""
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=LINES))
    children: list["Step"] = field(default_factory=list)
    gone: int = 0
    """Finished steps under it that are counted only."""
    gone_failed: int = 0

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.ended is None

    def took(self, now: float) -> float:
        """Seconds from its beginning to its end, or until `now`."""
        return max(0.0, (now if self.ended is None else self.ended) - self.begun)

    def finished(self) -> int:
        """How many steps under it have finished, all the way down."""
        return self.gone + sum(each.finished() + (not each.running) for each in self.children)

    def add(self, step: "Step") -> None:
        """Put `step` under it; makes room by counting the oldest that is finished."""
        self.children.append(step)
        if len(self.children) > CHILDREN:
            for index, child in enumerate(self.children):
                if not child.running:
                    self.gone += 1 + child.finished()
                    self.gone_failed += child.failed
                    del self.children[index]
                    return

    def close(self, at: float, *, cut: bool = False) -> None:
        """End it, and cut all that runs under it: nothing more will be told of them."""
        for child in self.children:
            child.close(at, cut=True)
        if self.ended is None:
            self.ended, self.cut = at, cut


@dataclass(frozen=True, slots=True)
class Trouble:
    """The first error: what was said, and the stack trace where one was told."""

    text: str
    actor: str
    trace: str = ""


@dataclass(slots=True)
class Picture:
    """The picture of one job. `flowing`: its output is one text in pieces, not lines."""

    job_id: str
    operation: str
    flowing: bool = False
    state: str = State.QUEUED.value
    reason: str | None = None
    begun: float | None = None
    last: float = 0.0
    """When the newest event was."""
    attempts: list[Step] = field(default_factory=list)
    max_attempts: int | None = None
    next_retry: float | None = None
    first_error: Trouble | None = None
    trace: str = ""
    """The stack trace that was told last."""
    progress: ProgressEvent | None = None
    gaps: int = 0
    end: EndEvent | None = None
    _open: dict[str, Step] = field(default_factory=dict)
    _marks: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MARKS))
    _joins: bool = False

    def event(self, event: Event) -> None:
        """Take one event of the stream."""
        if isinstance(event, LoggedEvent):
            self.last = max(self.last, event.at.timestamp())
            if self.begun is None:
                self.begun = self.last
        match event:
            case StateEvent():
                self._state(event)
            case NarrationEvent():
                self._narration(event)
            case OutputEvent():
                self._output(event.chunk)
            case ProgressEvent():
                self._progress(event)
            case GapEvent():
                self.gaps += 1
            case EndEvent():
                self._end(event)

    @property
    def attempt(self) -> Step | None:
        """The newest attempt; None before the first."""
        return self.attempts[-1] if self.attempts else None

    def took(self, now: float) -> float:
        """Seconds since the first event, to the end where there is one."""
        if self.begun is None:
            return 0.0
        return max(0.0, (self.last if self.end else max(now, self.last)) - self.begun)

    def rate(self) -> float | None:
        """Units of progress per second of late; None as long as nothing can be said."""
        if len(self._marks) < 2:  # noqa: PLR2004 — a rate is between two
            return None
        (before, had), (after, has) = self._marks[0], self._marks[-1]
        return (has - had) / (after - before) if after > before and has > had else None

    def left(self, now: float) -> float | None:
        """Seconds until progress will be complete, at the rate of late; None if not known."""
        rate, told = self.rate(), self.progress
        if rate is None or told is None or told.total is None or self.end:
            return None
        since = max(0.0, now - self._marks[-1][0])
        return max(0.0, (told.total - told.done) / rate - since)

    # --- the events -------------------------------------------------------------------------------

    def _state(self, event: StateEvent) -> None:
        self.state, self.reason = event.state, event.reason
        at = event.at.timestamp()
        self.next_retry = event.next_retry_at.timestamp() if event.next_retry_at else None
        if event.state == State.RUNNING:
            self._begin(event.attempt, at)
        elif event.state != State.CANCELLING:
            self._close(at, failed=event.state in {State.RETRYING, State.FAILED})

    def _begin(self, attempt: int, at: float) -> None:
        self._close(at, failed=True)
        self.attempts.append(Step(f"attempt {attempt}", at))
        self.progress = None
        self._marks.clear()
        self._joins = False

    def _close(self, at: float, *, failed: bool) -> None:
        attempt = self.attempt
        if attempt is not None and attempt.running:
            attempt.close(at)
            attempt.failed = failed
        self._open.clear()

    def _narration(self, event: NarrationEvent) -> None:
        self._joins = False
        fields = event.fields
        if event.kind == Kind.LIFECYCLE:
            self.max_attempts = fields.get("job.max_attempts", self.max_attempts)
            if event.action == "attempt_failed" and self.attempt:
                self.attempt.said = str(fields.get("job.error", ""))
        trace = str(fields.get("exception.stacktrace", ""))
        self.trace = trace or self.trace
        if event.level in _ERRORS:
            self._error(event, trace)
        if event.kind in _STEPS:
            self._step(event)
        elif event.kind != Kind.LIFECYCLE:
            self._say(Line(event.text, event.actor, event.level), event.span_id)

    def _error(self, event: NarrationEvent, trace: str) -> None:
        first = self.first_error
        if first is None:
            self.first_error = Trouble(event.text, event.actor, trace)
        elif not first.trace and first.text == event.text:  # where it passed, with its trace
            self.first_error = replace(first, trace=trace)

    def _step(self, event: NarrationEvent) -> None:
        at, span_id = event.at.timestamp(), event.span_id or ""
        if event.kind == Kind.SPAN_START:
            step = Step(event.action, at, actor=event.actor)
            self._parent(event.parent_span_id).add(step)
            self._open[span_id] = step
            return
        ended = self._open.pop(span_id, None)
        if ended is None:  # it began before what we have seen
            ended = Step(event.action, at, actor=event.actor)
            self._parent(event.parent_span_id).add(ended)
        ended.close(at)
        if event.level in _ERRORS:
            ended.failed = True
            ended.said = event.text.partition(": ")[2]

    def _parent(self, span_id: str | None) -> Step:
        found = self._open.get(span_id or "")
        if found is not None:
            return found
        if not self.attempts:  # the story has lost its beginning
            self.attempts.append(Step("attempt", self.last))
        return self.attempts[-1]

    def _say(self, line: Line, span_id: str | None) -> None:
        self._parent(span_id).lines.append(line)

    def _output(self, chunk: Any) -> None:
        lines = self._parent(None).lines
        if not isinstance(chunk, str):
            lines.append(Line(text_of(chunk)))
            return
        first, *more = chunk.split("\n")
        if self.flowing and self._joins and lines:
            lines[-1] = Line(lines[-1].text + first)
        elif first or not more:
            lines.append(Line(first))
        lines.extend(Line(each) for each in more if each)
        self._joins = not chunk.endswith("\n")

    def _progress(self, event: ProgressEvent) -> None:
        if self.progress is not None and event.done < self.progress.done:
            self._marks.clear()
        self.progress = event
        self._marks.append((event.at.timestamp(), event.done))

    def _end(self, event: EndEvent) -> None:
        self.end = event
        self.state, self.reason = event.state, event.reason
        self._close(event.at.timestamp(), failed=event.state == State.FAILED)


def text_of(value: Any) -> str:
    """A JSON value as one line."""
    return json.dumps(value, ensure_ascii=False)

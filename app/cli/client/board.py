"""What `narrator top` knows of a server: its numbers, its unfinished jobs, what happened of late.

Pure: it is told overviews, lists and changes, and what keys are pressed. `board_drawing` makes
lines of it. Times are seconds of the server's clock since the Unix epoch.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.client import GapEvent, JobRecord, JobStateEvent, Overview
from telemetry.names import TERMINAL, State

RATE_S: Final = 10.0
"""Seconds over which rates are told."""
UNFINISHED: Final = tuple(state.value for state in State if state not in TERMINAL)

_PRESSED: Final = 1
_SEEN: Final = 200_000
"""Changes that are kept for the rates, however many come."""


class Sort(StrEnum):
    """By what the jobs are sorted; the first is for what is asked most: which of them is slow."""

    SLOWEST = "slowest"
    NEWEST = "newest"
    OPERATION = "operation"
    STATE = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Jobs a second, of late; None as long as nobody has watched for a second."""

    queued: float
    completed: float
    failed: float
    cancelled: float


@dataclass(slots=True)
class Board:
    """One server, and how it is looked at: sorted, filtered, which job is chosen."""

    server: str
    overview: Overview | None = None
    jobs: dict[str, JobRecord] = field(default_factory=dict)
    sort: Sort = Sort.SLOWEST
    state: str | None = None
    """Only jobs in this state; None: all that have not ended."""
    text: str = ""
    typing: bool = False
    """The text is being typed."""
    chosen: str | None = None
    notice: str = ""
    live: bool = True
    """There are keys, and time to see what happens."""
    now: float = 0.0
    _since: float | None = None
    _changes: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=_SEEN))
    _ended: set[str] = field(default_factory=set)

    def numbers(self, overview: Overview) -> None:
        """The server's numbers, as they are now."""
        self.overview = overview
        self.now = max(self.now, overview.at.timestamp())
        if self._since is None:
            self._since = self.now

    def listed(self, jobs: Iterable[JobRecord]) -> None:
        """The unfinished jobs, as they are now."""
        self.jobs = {job.id: job for job in jobs if job.id not in self._ended}
        self._ended.clear()

    def changed(self, event: JobStateEvent | GapEvent) -> None:
        """Some job is in another state."""
        if isinstance(event, GapEvent):
            return  # the jobs are listed again every second, and rates are of what was seen
        at = event.at.timestamp()
        self.now = max(self.now, at)
        self._changes.append((at, event.state))
        if event.state in TERMINAL:
            self._ended.add(event.job_id)  # a list that is on its way may still have it
            self.jobs.pop(event.job_id, None)

    def rates(self) -> Rates | None:
        """Jobs a second over the last seconds."""
        if self._since is None or self.now - self._since < 1:
            return None
        begin = max(self._since, self.now - RATE_S)
        while self._changes and self._changes[0][0] < begin:
            self._changes.popleft()
        counts = Counter(state for _, state in self._changes)
        seconds = self.now - begin
        return Rates(
            queued=counts[State.QUEUED] / seconds,
            completed=counts[State.COMPLETED] / seconds,
            failed=counts[State.FAILED] / seconds,
            cancelled=counts[State.CANCELLED] / seconds,
        )

    def rows(self) -> list[JobRecord]:
        """The jobs to show, in order."""
        words = self.text.lower().split()
        found = [
            job
            for job in self.jobs.values()
            if (self.state is None or job.state == self.state)
            and all(word in _text_of(job) for word in words)
        ]
        match self.sort:
            case Sort.SLOWEST:
                return sorted(found, key=lambda job: (-self.took(job), job.created_at, job.id))
            case Sort.NEWEST:
                return sorted(found, key=lambda job: (-job.created_at.timestamp(), job.id))
            case Sort.OPERATION:
                return sorted(found, key=lambda job: (job.operation, -self.took(job), job.id))
            case Sort.STATE:
                return sorted(found, key=lambda job: (job.state, -self.took(job), job.id))

    def took(self, job: JobRecord) -> float:
        """Seconds that its attempt has run; 0 for one that waits."""
        if job.state not in {State.RUNNING, State.CANCELLING} or not job.attempts:
            return 0.0
        return max(0.0, self.now - job.attempts[-1].started_at.timestamp())

    # --- keys -------------------------------------------------------------------------------------

    def key(self, name: str) -> None:
        """A key was pressed: sort, filter, choose."""
        if self.typing:
            self._typed(name)
            return
        match name:
            case "down" | "j":
                self._move(1)
            case "up" | "k":
                self._move(-1)
            case "page down":
                self._move(10)
            case "page up":
                self._move(-10)
            case "s":
                order = list(Sort)
                self.sort = order[(order.index(self.sort) + 1) % len(order)]
            case "f":
                states = [None, *UNFINISHED]
                self.state = states[(states.index(self.state) + 1) % len(states)]
            case "/":
                self.typing = True
            case "escape":
                self.text, self.state = "", None

    def choice(self) -> JobRecord | None:
        """The job that is chosen; the first where none is."""
        rows = self.rows()
        return rows[self._index(rows)] if rows else None

    def _typed(self, name: str) -> None:
        match name:
            case "enter":
                self.typing = False
            case "escape":
                self.typing, self.text = False, ""
            case "backspace":
                self.text = self.text[:-1]
            case _ if len(name) == _PRESSED and name.isprintable():
                self.text += name

    def _move(self, by: int) -> None:
        rows = self.rows()
        if rows:
            index = self._index(rows) + by if self.chosen else max(0, by - 1)
            self.chosen = rows[max(0, min(index, len(rows) - 1))].id

    def _index(self, rows: list[JobRecord]) -> int:
        return next((place for place, job in enumerate(rows) if job.id == self.chosen), 0)


def _text_of(job: JobRecord) -> str:
    tags = " ".join(f"{name}={value}" for name, value in job.tags.items())
    return f"{job.id} {job.operation} {job.state} {tags}".lower()

"""What clients were told: every answer and every event, with when it was asked for and heard.

It judges nothing but whether two tellings of one event are the same bytes, since it keeps but one.
"""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Record = dict[str, Any]


class Telling(NamedTuple):
    """A record as a client was told it; seconds of the monotonic clock."""

    sent: float
    heard: float
    record: Record


class Refusal(NamedTuple):
    """A 409 that says that a job is in a state."""

    heard: float
    state: str


@dataclass(slots=True)
class JobTold:
    """All that was told of one job."""

    tellings: list[Telling] = field(default_factory=list)
    finished: list[Refusal] = field(default_factory=list)
    """Refusals that say how it has ended."""
    events: dict[int, bytes] = field(default_factory=dict)
    """Frames of its stream by sequence."""
    epoch: str | None = None
    deleted: bool = False
    """A client was told that it is gone."""
    delete_asked: bool = False


class Told:
    """The history of all clients together; for one loop."""

    def __init__(self) -> None:
        self.jobs: defaultdict[str, JobTold] = defaultdict(JobTold)
        self.keys: dict[str, str] = {}
        """Idempotency key → the job that it was answered with."""
        self.violations: list[str] = []
        self.answers = 0
        self.frames = 0
        self.acknowledged = 0.0
        """When the last 202 was heard, monotonic seconds."""

    def record(self, record: Record, sent: float) -> None:
        """A client was told this record, which it had asked for at `sent`."""
        self.answers += 1
        self.jobs[record["id"]].tellings.append(Telling(sent, time.monotonic(), record))

    def accepted(self, record: Record, sent: float, key: str | None) -> None:
        """A submission, a retry or a cancel was answered with 202."""
        self.record(record, sent)
        self.acknowledged = time.monotonic()
        if key is None:
            return
        known = self.keys.setdefault(key, record["id"])
        if known != record["id"]:
            self.violations.append(f"key {key} made {known} and {record['id']}")

    def ended_as(self, job_id: str, state: str) -> None:
        """A client was refused since the job is already in this state."""
        self.answers += 1
        self.jobs[job_id].finished.append(Refusal(time.monotonic(), state))

    def deleted(self, job_id: str) -> None:
        """A client was told that the job is forgotten."""
        self.answers += 1
        self.jobs[job_id].deleted = True

    def frame(self, job_id: str, event_id: str, frame: bytes) -> int:
        """A reader was sent this event; its sequence."""
        self.frames += 1
        told = self.jobs[job_id]
        epoch, _, number = event_id.partition(".")
        if told.epoch not in (None, epoch):
            self.violations.append(f"{job_id}: epoch {told.epoch} became {epoch}")
        told.epoch = epoch
        known = told.events.setdefault(int(number), frame)
        if known != frame:
            self.violations.append(
                f"{job_id}: id {event_id} was given to two events:\n  {known!r}\n  {frame!r}"
            )
        return int(number)

"""A story for tests of its picture: events as the stream tells them, at times a test says."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.cli.client.picture import Picture
from app.client import Event
from app.client.events import event_of
from app.client.sse import Message

JOB = "0b1f2c3d-0000-4000-8000-000000000000"
JOB_SPAN = "j" * 16


@dataclass
class Story:
    """Tells a picture what happens; `at` is in seconds, and the first event is at 0."""

    picture: Picture = field(default_factory=lambda: Picture(JOB, "render"))
    seq: int = 0

    def tell(self, name: str, at: float, **data: Any) -> Event:
        """One event."""
        self.seq += 1
        time = datetime.fromtimestamp(at, UTC).isoformat()
        raw = json.dumps({"seq": self.seq, "at": time, **data})
        event = event_of(Message(event=name, data=raw, id=f"e.{self.seq}"))
        self.picture.event(event)
        return event

    def state(self, at: float, state: str, attempt: int = 1, **data: Any) -> None:
        """The job enters a state."""
        self.tell("state", at, state=state, attempt=attempt, **data)

    def says(self, at: float, text: str, **data: Any) -> None:
        """A message."""
        told = {
            "job_id": JOB,
            "kind": "narrate",
            "level": "info",
            "actor": "render",
            "action": "say",
            "span_id": "a" * 16,
            "parent_span_id": JOB_SPAN,
        }
        self.tell("narration", at, text=text, **told | data)

    def begins(self, at: float, span: str, name: str, parent: str = "") -> None:
        """A span starts."""
        self.says(
            at,
            f"{name} started",
            kind="span_start",
            action=name,
            span_id=span,
            parent_span_id=parent or "a" * 16,
        )

    def ends(self, at: float, span: str, name: str, error: str = "") -> None:
        """A span ends."""
        text = f"{name} failed after 1 s: {error}" if error else f"{name} ended after 1 s"
        self.says(
            at,
            text,
            kind="span_end",
            action=name,
            span_id=span,
            level="error" if error else "info",
        )

    def progress(self, at: float, done: float, total: float | None = None, text: str = "") -> None:
        """The handler says how far it is."""
        self.tell("progress", at, done=done, total=total, text=text)

    def output(self, at: float, chunk: Any) -> None:
        """A chunk of output."""
        self.tell("output", at, chunk=chunk)

    def end(self, at: float, state: str, **data: Any) -> None:
        """The last event."""
        self.tell("end", at, state=state, marker="[DONE]", **data)

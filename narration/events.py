"""The events of a story, in their wire form.

One log, one numbering: `NarrationLog.append` sets `seq`, and nothing else may. An event's class
names its `event:` field. Sections 5 and 6 of the README's stream contract describe every field.
"""

from typing import Any, ClassVar

import msgspec

from telemetry.names import Level, StreamEvent


class Event(msgspec.Struct, kw_only=True, omit_defaults=False):
    """What every logged event has: its sequence in the log and its time (RFC 3339, UTC, µs)."""

    name: ClassVar[StreamEvent]

    seq: int = 0
    at: str


class StateEvent(Event, kw_only=True):
    """The job entered a state."""

    name: ClassVar[StreamEvent] = StreamEvent.STATE

    state: str
    reason: str | None = None
    attempt: int = 0
    next_retry_at: str | None = None


class ProgressEvent(Event, kw_only=True):
    """How far the handler says it is; `total` is null where it is unknown."""

    name: ClassVar[StreamEvent] = StreamEvent.PROGRESS

    done: float
    total: float | None = None
    text: str | None = None


class OutputEvent(Event, kw_only=True):
    """One chunk of the handler's output: any JSON value, most often text."""

    name: ClassVar[StreamEvent] = StreamEvent.OUTPUT

    chunk: Any
    truncated: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


class EndEvent(Event, kw_only=True):
    """The last event of a story: nothing comes after it."""

    name: ClassVar[StreamEvent] = StreamEvent.END

    state: str
    reason: str | None = None
    result: Any = None
    failure: dict[str, Any] | None = None
    marker: str


class NarrationEvent(Event, kw_only=True):
    """One narration message."""

    name: ClassVar[StreamEvent] = StreamEvent.NARRATION

    job_id: str
    kind: str
    level: str
    actor: str
    action: str
    text: str
    cute: str | msgspec.UnsetType = msgspec.UNSET
    story: str | msgspec.UnsetType = msgspec.UNSET
    fields: dict[str, Any]
    attempt: int
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    truncated: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


def level_of(event: Event) -> Level:
    """The level by which `?level=` filters: narration's own; every other event always passes."""
    return Level[event.level.upper()] if isinstance(event, NarrationEvent) else Level.FATAL

"""The events of a stream, typed and frozen, for `match` and `isinstance`.

The field names are those of the stream's contract; a test compares them with the server's own. An
event whose name this client does not know is an `UnknownEvent`: never an error, never lost.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from app.client.records import Failure
from app.client.sse import Message
from app.client.wire import Wire, decoded
from telemetry.names import StreamEvent


class Event(Wire, frozen=True, kw_only=True):
    """What every event has: `id`, which `last_event_id` takes, None for what is in no log; `raw`.

    `name` is the stream's `event:` field.
    """

    name: ClassVar[str]

    id: str | None = msgspec.field(default=None, name="#id")


class LoggedEvent(Event, frozen=True, kw_only=True):
    """An event of the log: its sequence there, from 1 without holes, and when it was."""

    seq: int
    at: datetime


class StateEvent(LoggedEvent, frozen=True, kw_only=True):
    """The job entered a state."""

    name: ClassVar[str] = StreamEvent.STATE

    state: str
    reason: str | None = None
    attempt: int = 0
    next_retry_at: datetime | None = None


class JobStateEvent(StateEvent, frozen=True, kw_only=True):
    """Some job entered a state: an event of `changes`, with ids and sequences of its own."""

    job_id: str
    operation: str
    priority: str = "normal"
    tags: dict[str, str] = msgspec.field(default_factory=dict)


class NarrationEvent(LoggedEvent, frozen=True, kw_only=True):
    """One message of the story; `text` is in the voice that was asked for."""

    name: ClassVar[str] = StreamEvent.NARRATION

    job_id: str
    kind: str
    level: str
    actor: str
    action: str
    text: str
    cute: str | None = None
    story: str | None = None
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    attempt: int = 0
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    truncated: dict[str, int] | None = None


class ProgressEvent(LoggedEvent, frozen=True, kw_only=True):
    """How far the handler says it is; `total` is None where it is unknown."""

    name: ClassVar[str] = StreamEvent.PROGRESS

    done: float
    total: float | None = None
    text: str | None = None


class OutputEvent(LoggedEvent, frozen=True, kw_only=True):
    """One chunk of the handler's output: any JSON value, most often text."""

    name: ClassVar[str] = StreamEvent.OUTPUT

    chunk: Any
    truncated: dict[str, int] | None = None


class EndEvent(LoggedEvent, frozen=True, kw_only=True):
    """The last event of a story."""

    name: ClassVar[str] = StreamEvent.END

    state: str
    reason: str | None = None
    result: Any = None
    failure: Failure | None = None
    marker: str


class GapEvent(Event, frozen=True, kw_only=True):
    """The sequences `from_` to `to` are missing, inclusive; None where nothing is known of them.

    `reason`: `evicted` and `slow_reader`, the log does not keep them any more; `unknown_id`, the id
    to resume from means nothing there, and the story follows from its beginning; `forgotten`, the
    job is gone.
    """

    name: ClassVar[str] = StreamEvent.GAP

    from_: int | None = msgspec.field(default=None, name="from")
    to: int | None = None
    reason: str


class DrainingEvent(Event, frozen=True, kw_only=True):
    """The server is stopping; the stream comes back by itself in `retry_ms` milliseconds."""

    name: ClassVar[str] = StreamEvent.DRAINING

    reason: str
    retry_ms: int


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event of a newer server: `event` is its name, `raw` its data."""

    name: ClassVar[str] = ""

    event: str


_KINDS: Final[Mapping[str, type[Event]]] = {
    kind.name: kind
    for kind in (
        StateEvent,
        NarrationEvent,
        ProgressEvent,
        OutputEvent,
        EndEvent,
        GapEvent,
        DrainingEvent,
    )
}
_KINDS_OF_CHANGES: Final[Mapping[str, type[Event]]] = {**_KINDS, JobStateEvent.name: JobStateEvent}


def event_of(message: Message, *, of_changes: bool = False) -> Event:
    """The event that a message of a stream is; `of_changes`: of that of all jobs.

    Raises:
        Unreadable: a known event has another shape than it should.

    """
    kind = (_KINDS_OF_CHANGES if of_changes else _KINDS).get(message.event)
    if kind is None:
        return UnknownEvent(id=message.id, raw=message.data, event=message.event)
    return decoded(kind, message.data, what=f"the event {message.event!r}", id=message.id)

"""How a handler in a child process is heard: its story, its context and its attempt's span.

Everything is sent as it is and formatted by the server, which alone knows the secrets to mask and
what may be shown. This module does not know what becomes of it.
"""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import NonRecordingSpan, SpanContext
from opentelemetry.util.types import Attributes

from app.engine import results
from app.engine.runners import frames
from app.engine.runners.channel import Channel
from app.jobs.policy import type_name
from narration import formatting
from narration.disclosure import json_safe, well_formed
from narration.formatting import LogLine, ProcessLine, Said
from narration.masking import unmasked
from narration.scope import Scope
from narration.span_record import encode_record, event_of, record_of
from narration.story import Make, Story
from telemetry import names
from telemetry.clock import SystemClock
from telemetry.names import DropReason


class Unkept:
    """The log, spans and counters of a story that is kept elsewhere."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def append(self, event: object) -> int:  # noqa: ARG002  # the protocol's signature
        """Keep nothing."""
        return 0

    def started(self, span: object) -> None:
        """Keep nothing."""

    def ended(self, span: object) -> None:
        """Keep nothing."""

    def narrated(self, source: str, level: str) -> None:
        """The server counts what it stores."""

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Have it counted."""
        self._channel.send(frames.Dropped(reason, count))


class ChildStory(Story):
    """A story whose every word is sent to the server instead of being told here."""

    __slots__ = ("_channel", "_sends")

    def __init__(self, job_id: str, channel: Channel, *, max_message_bytes: int) -> None:
        unkept = Unkept(channel)
        super().__init__(
            job_id,
            log=unkept,
            spans=unkept,
            clock=SystemClock(),
            counters=unkept,
            mask=unmasked,
            max_message_bytes=max_message_bytes,
            consumer=None,
        )
        self._channel = channel
        self._sends: Mapping[Make, Callable[..., frames.Frame]] = _SENDS

    def put(self, make: Make, *args: Any) -> None:
        """Send what was to be told; what the server would not understand is counted."""
        try:
            self._channel.send(self._sends[make](*args))
        except Exception:  # noqa: BLE001  # an instrument never breaks the instrumented
            self._channel.send(frames.Dropped(DropReason.ERROR, 1))


class ChildSink:
    """The sink of a `JobContext` whose job is kept by the server."""

    def __init__(self, channel: Channel, *, max_message_bytes: int) -> None:
        self._channel = channel
        self._limit = max_message_bytes

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Send the progress."""
        self._channel.send(
            frames.Progressed(done, total, None if text is None else well_formed(text))
        )

    def output(self, chunk: Any) -> None:
        """Send a chunk.

        Raises:
            UnfitResultError: JSON cannot carry it, or it is too large.

        """
        if isinstance(chunk, str):  # a long text is cut by the server
            chunk, limit = well_formed(chunk), frames.MAX_FRAME // 8
        else:
            limit = self._limit
        self._channel.send(frames.Output(results.encode(chunk, what="output chunk", limit=limit)))

    def checkpoint(self, value: Any) -> None:
        """Send a checkpoint.

        Raises:
            UnfitResultError: JSON cannot carry it, or it is larger than 1 MiB.

        """
        encoded = results.encode(value, what="checkpoint", limit=1 << 20)
        self._channel.send(frames.Checkpointed(encoded))


class AttemptSpan(NonRecordingSpan):
    """The attempt's span, which lives in the server: what is added to it here is added there."""

    def __init__(self, context: SpanContext, scope: Scope, channel: Channel) -> None:
        super().__init__(context)
        self._narration_scope = scope  # `narrate` sees by it that the story hears this span
        self._channel = channel
        self._clock = scope.story.clock

    def is_recording(self) -> bool:
        """True: the span is live, elsewhere."""
        return True

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set them on the span."""
        self._channel.send(frames.AttemptAttributes(_clean(attributes)))

    def set_attribute(self, key: str, value: Any) -> None:
        """Set it on the span."""
        self.set_attributes({key: value})

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Add it to the span."""
        at = timestamp or self._clock.wall_ns()
        self._channel.send(frames.AttemptEvent(well_formed(str(name)), at, _clean(attributes)))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002  # the API's signature
    ) -> None:
        """Add the exception as an event, by the semantic conventions."""
        told: dict[str, Any] = {
            names.EXCEPTION_TYPE: type_name(type(exception)),
            names.EXCEPTION_MESSAGE: str(exception),
            names.EXCEPTION_STACKTRACE: "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event(names.EXCEPTION_EVENT, {**told, **(attributes or {})}, timestamp)


def _span_started(_: Scope, span: ReadableSpan) -> frames.Frame:
    return frames.SpanStarted(encode_record(record_of(span)))


def _span_ended(_: Scope, span: ReadableSpan) -> frames.Frame:
    return frames.SpanEnded(encode_record(record_of(span)))


def _span_event(_: Scope, span: ReadableSpan, event: Event) -> frames.Frame:
    context = span.get_span_context()
    trace_id, span_id = (context.trace_id, context.span_id) if context else (0, 0)
    record = event_of(event)
    record = msgspec.structs.replace(
        record, name=well_formed(record.name), attributes=_clean(record.attributes)
    )
    return frames.SpanEventAdded(f"{trace_id:032x}", f"{span_id:016x}", record)


def _narration(_: Scope, said: Said) -> frames.Frame:
    return frames.Narrated(said._replace(attributes=_clean(said.attributes)))


def _log_record(_: Scope, line: LogLine) -> frames.Frame:
    return frames.Logged(
        replace(
            line,
            logger=well_formed(line.logger),
            text=well_formed(line.text),
            template=None if line.template is None else well_formed(line.template),
            arguments=_clean(line.arguments),
            attributes=_clean(line.attributes),
        )
    )


def _process_line(_: Scope, line: ProcessLine) -> frames.Frame:
    return frames.Printed(line)


_SENDS: Final[Mapping[Make, Callable[..., frames.Frame]]] = {
    formatting.span_started: _span_started,
    formatting.span_event: _span_event,
    formatting.span_ended: _span_ended,
    formatting.narration: _narration,
    formatting.log_record: _log_record,
    formatting.process_line: _process_line,
}


def _clean(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """`attributes` in types that a frame can carry; as they are where they are such already."""
    plain = dict(attributes or {})
    try:
        msgspec.msgpack.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError):
        safe: dict[str, Any] = json_safe(plain)
        return safe
    return plain

"""A span as plain data: what is kept of it, what crosses a pipe, and what an exporter takes back.

A live span is read through the SDK's public properties, each of which copies under its own lock:
other threads may change it meanwhile. Attribute values may be whatever the SDK lets through (bytes,
None, nested, NaN, integers of any size, lone surrogates): a record always encodes. It does not know
which spans are kept, nor what of them may be shown.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

_MAX_TIME_NS: Final = 2**63 - 1
_INT64: Final = range(-(2**63), 2**63)
_DEPTH: Final = 32
"""Levels of nesting kept of an attribute's value."""


class EventRecord(msgspec.Struct, frozen=True, array_like=True):
    """An event on a span; `at` in nanoseconds since the Unix epoch."""

    name: str
    at: int
    attributes: dict[str, Any]
    dropped_attributes: int = 0


class LinkRecord(msgspec.Struct, frozen=True, array_like=True):
    """A link to another span; ids in lower-case hex."""

    trace_id: str
    span_id: str
    trace_state: str
    flags: int
    is_remote: bool
    attributes: dict[str, Any]
    dropped_attributes: int = 0


class SpanRecord(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A span as plain data, running (`end` is None) or ended; also its form on a pipe.

    Ids are lower-case hex, times nanoseconds since the Unix epoch. `kind` and `status` are the
    values of the API's `SpanKind` and `StatusCode`; `flags` the W3C trace flags.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    parent_is_remote: bool
    trace_state: str
    flags: int
    name: str
    kind: int
    start: int
    end: int | None
    status: int
    description: str | None
    scope: str
    scope_version: str
    attributes: dict[str, Any]
    events: list[EventRecord]
    links: list[LinkRecord]
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Trace id and span id as numbers: what names a span."""
        return int(self.trace_id, 16), int(self.span_id, 16)


def record_of(span: ReadableSpan) -> SpanRecord:
    """`span`, live or ended, as data; safe while other threads change it."""
    context, parent, scope = span.get_span_context(), span.parent, span.instrumentation_scope
    trace_id, span_id, flags, state = _identity(context)
    return SpanRecord(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=_hex(parent.span_id, 8) if parent else None,
        parent_is_remote=bool(parent and parent.is_remote),
        trace_state=state,
        flags=flags,
        name=_text(span.name),
        kind=getattr(span.kind, "value", 0),
        start=_time(span.start_time),
        end=None if span.end_time is None else _time(span.end_time),
        status=span.status.status_code.value,
        description=span.status.description,
        scope=scope.name if scope else "",
        scope_version=(scope.version or "") if scope else "",
        attributes=_copied(span.attributes),
        events=[event_of(event) for event in span.events],
        links=[_link_of(link) for link in span.links],
        dropped_attributes=span.dropped_attributes,
        dropped_events=span.dropped_events,
        dropped_links=span.dropped_links,
    )


def event_of(event: Event) -> EventRecord:
    """A span's event as data."""
    return EventRecord(
        _text(event.name),
        _time(event.timestamp),
        _copied(event.attributes),
        event.dropped_attributes,
    )


def encode_record(record: SpanRecord) -> bytes:
    """`record` as bytes: to keep, or for a pipe."""
    try:
        return _encoder.encode(record)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _encoder.encode(_storable(record))


def decode_record(data: bytes) -> SpanRecord:
    """The record that `encode_record` wrote.

    Raises:
        msgspec.DecodeError: these bytes are no record.

    """
    return _decoder.decode(data)


def to_readable(record: SpanRecord, resource: Resource) -> ReadableSpan:
    """The span of `record` as processors and exporters take it, under `resource`."""
    return ReadableSpan(
        name=record.name,
        context=SpanContext(
            int(record.trace_id, 16),
            int(record.span_id, 16),
            is_remote=False,
            trace_flags=TraceFlags(record.flags),
            trace_state=_state(record.trace_state),
        ),
        parent=_parent(record),
        resource=resource,
        attributes=_bounded(record.attributes, record.dropped_attributes),
        events=_counted(
            [
                Event(event.name, _bounded(event.attributes, event.dropped_attributes), event.at)
                for event in record.events
            ],
            record.dropped_events,
        ),
        links=_counted([_to_link(link) for link in record.links], record.dropped_links),
        kind=SpanKind(record.kind),
        status=Status(StatusCode(record.status), record.description),
        start_time=record.start,
        end_time=record.end,
        instrumentation_scope=InstrumentationScope(record.scope, record.scope_version),
    )


def _identity(context: SpanContext | None) -> tuple[str, str, int, str]:
    if context is None:
        return "0" * 32, "0" * 16, 0, ""
    state = context.trace_state
    return (
        _hex(context.trace_id, 16),
        _hex(context.span_id, 8),
        int(context.trace_flags),
        state.to_header() if state else "",
    )


def _hex(number: int, size: int) -> str:
    return number.to_bytes(size, "big").hex()  # twice as fast as a format string


def _link_of(link: Link) -> LinkRecord:
    trace_id, span_id, flags, state = _identity(link.context)
    return LinkRecord(
        trace_id,
        span_id,
        state,
        flags,
        link.context.is_remote,
        _copied(link.attributes),
        link.dropped_attributes,
    )


def _to_link(link: LinkRecord) -> Link:
    context = SpanContext(
        int(link.trace_id, 16),
        int(link.span_id, 16),
        is_remote=link.is_remote,
        trace_flags=TraceFlags(link.flags),
        trace_state=_state(link.trace_state),
    )
    return Link(context, _bounded(link.attributes, link.dropped_attributes))


def _parent(record: SpanRecord) -> SpanContext | None:
    if record.parent_span_id is None:
        return None
    return SpanContext(
        int(record.trace_id, 16),
        int(record.parent_span_id, 16),
        is_remote=record.parent_is_remote,
        trace_flags=TraceFlags(record.flags),
    )


def _state(header: str) -> TraceState:
    return TraceState.from_header([header]) if header else TraceState()


def _bounded(attributes: Mapping[str, Any], dropped: int) -> BoundedAttributes:
    bounded = BoundedAttributes(attributes=attributes)
    bounded.dropped = dropped
    return bounded


def _counted(items: list[Any], dropped: int) -> BoundedList[Any]:
    counted = BoundedList.from_seq(None, items)
    counted.dropped = dropped
    return counted


def _copied(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy made in one step where the mapping has one: a live span may change meanwhile."""
    if not attributes:
        return {}
    copy = getattr(attributes, "copy", None)  # the SDK's own mappings copy to a plain dict
    copied = dict(attributes) if copy is None else copy()
    return copied if type(copied) is dict else dict(copied)


def _text(value: object) -> str:
    return value if type(value) is str else str(value)


def _time(value: object) -> int:
    """Nanoseconds, within what a signed 64-bit number holds; 0 for what is no time."""
    if type(value) is int and 0 <= value <= _MAX_TIME_NS:
        return value
    if not isinstance(value, int | float):
        return 0
    try:
        return min(max(int(value), 0), _MAX_TIME_NS)
    except (ValueError, OverflowError):  # NaN, infinity
        return 0


def _storable(value: Any, depth: int = 0) -> Any:
    """`value` in types that MessagePack has: surrogates replaced, large integers as text."""
    if value is None or isinstance(value, bool | float | bytes):
        return value
    if isinstance(value, int):
        return value if value in _INT64 else str(value)
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _container(value, depth) if depth <= _DEPTH else "…"


def _container(value: Any, depth: int) -> Any:
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.astuple(value)
    if isinstance(value, Mapping):
        return {_storable(str(key)): _storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item, depth + 1) for item in value]
    return _storable(str(value))


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(SpanRecord)

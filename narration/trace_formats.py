"""A story's spans as files that other tools open: OTLP/JSON, and what Jaeger's page uploads.

Pure functions of span records. Each takes the disclosure filter, so that no form shows what the
stream would not. In a file a running span is drawn to the last moment that is known of the story,
and marked with `job.running`. It does not know where records come from, nor who may see what.
"""

import base64
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from narration.span_record import EventRecord, LinkRecord, SpanRecord
from narration.trace_tree import Visible, description_of, duration_ns
from telemetry.names import JOB_RUNNING

_INT64: Final = range(-(2**63), 2**63)
_EXACT_IN_JSON: Final = range(-(2**53) + 1, 2**53)
"""Integers that a JavaScript number holds; Jaeger writes the others as text."""

_RESOURCE_PREFIXES: Final = ("service.", "telemetry.sdk.")
"""What a file tells of our resource; the rest (host, command line) is the operator's."""

_HAS_IS_REMOTE: Final = 0x100  # SpanFlags of trace.proto
_IS_REMOTE: Final = 0x200


def otlp_json(
    records: Iterable[SpanRecord], resource: Resource, *, visible: Visible
) -> dict[str, Any]:
    """`TracesData` in OTLP's JSON encoding: hex ids, 64-bit integers as text, enums as numbers.

    Source: OTLP specification 1.x, "JSON Protobuf Encoding".
    """
    known = list(records)
    last = _last_moment(known)
    scopes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in known:
        spans = scopes.setdefault((record.scope, record.scope_version), [])
        spans.append(_otlp_span(record, visible, last))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _key_values(_resource_attributes(resource))},
                "scopeSpans": [
                    {"scope": {"name": name, "version": version}, "spans": spans}
                    for (name, version), spans in scopes.items()
                ],
            }
        ]
    }


def jaeger_json(
    records: Iterable[SpanRecord], resource: Resource, *, visible: Visible
) -> dict[str, Any]:
    """The file that Jaeger's user interface opens: a list of traces, each with its process.

    What Jaeger has no field for is a tag (OpenTelemetry specification, "Transformation to non-OTLP
    Formats"); a link's attributes have no place in the format.
    """
    known = list(records)
    last = _last_moment(known)
    attributes = _resource_attributes(resource)
    service = str(attributes.pop("service.name", "unknown"))
    process = {"serviceName": service, "tags": _tags(attributes)}
    traces: dict[str, list[dict[str, Any]]] = {}
    for record in known:
        traces.setdefault(record.trace_id, []).append(_jaeger_span(record, visible, last))
    return {
        "data": [
            {"traceID": trace_id, "spans": spans, "processes": {"p1": process}, "warnings": None}
            for trace_id, spans in traces.items()
        ],
        "total": len(traces),
        "limit": 0,
        "offset": 0,
        "errors": None,
    }


# --- OTLP/JSON ------------------------------------------------------------------------------------


def _otlp_span(record: SpanRecord, visible: Visible, last: int) -> dict[str, Any]:
    span: dict[str, Any] = {
        "traceId": record.trace_id,
        "spanId": record.span_id,
        "name": record.name,
        "kind": record.kind + 1,  # the API counts from 0, the protocol from 1
        "startTimeUnixNano": str(record.start),
        "endTimeUnixNano": str(_end(record, last)),
        "attributes": _key_values(_span_attributes(record, visible)),
        "droppedAttributesCount": record.dropped_attributes,
        "events": [_otlp_event(event, record.scope, visible) for event in record.events],
        "droppedEventsCount": record.dropped_events,
        "links": [_otlp_link(link, record.scope, visible) for link in record.links],
        "droppedLinksCount": record.dropped_links,
        "status": {"code": record.status},
        "flags": _otlp_flags(is_remote=record.parent_is_remote),
    }
    if record.parent_span_id is not None:
        span["parentSpanId"] = record.parent_span_id
    if record.trace_state:
        span["traceState"] = record.trace_state
    description = description_of(record, visible)
    if description is not None:
        span["status"]["message"] = description
    return span


def _otlp_event(event: EventRecord, scope: str, visible: Visible) -> dict[str, Any]:
    return {
        "name": event.name,
        "timeUnixNano": str(event.at),
        "attributes": _key_values(visible(event.attributes, scope)),
        "droppedAttributesCount": event.dropped_attributes,
    }


def _otlp_link(link: LinkRecord, scope: str, visible: Visible) -> dict[str, Any]:
    return {
        "traceId": link.trace_id,
        "spanId": link.span_id,
        "traceState": link.trace_state,
        "attributes": _key_values(visible(link.attributes, scope)),
        "droppedAttributesCount": link.dropped_attributes,
        "flags": _otlp_flags(is_remote=link.is_remote),
    }


def _otlp_flags(*, is_remote: bool) -> int:
    return _HAS_IS_REMOTE | (_IS_REMOTE if is_remote else 0)


def _key_values(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in attributes.items()]


def _any_value(value: Any) -> dict[str, Any]:
    """`value` as an OTLP `AnyValue`; an empty one for None."""
    match value:
        case None:
            return {}
        case list() | tuple():
            return {"arrayValue": {"values": [_any_value(item) for item in value]}}
        case Mapping():
            return {"kvlistValue": {"values": _key_values(value)}}
        case _:
            return _scalar(value)


def _scalar(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int() if value in _INT64:
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value if math.isfinite(value) else _special(value)}
        case bytes():
            return {"bytesValue": base64.b64encode(value).decode()}
        case _:
            return {"stringValue": str(value)}


def _special(value: float) -> str:
    """How JSON of protocol buffers writes what is no number."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


# --- Jaeger ---------------------------------------------------------------------------------------


def _jaeger_span(record: SpanRecord, visible: Visible, last: int) -> dict[str, Any]:
    references = [_reference("FOLLOWS_FROM", link.trace_id, link.span_id) for link in record.links]
    if record.parent_span_id is not None:
        references.insert(0, _reference("CHILD_OF", record.trace_id, record.parent_span_id))
    return {
        "traceID": record.trace_id,
        "spanID": record.span_id,
        "flags": record.flags,
        "operationName": record.name,
        "references": references,
        "startTime": record.start // 1000,
        "duration": duration_ns(record, _end(record, last)) // 1000,
        "tags": _tags(_jaeger_attributes(record, visible)),
        "logs": [
            {
                "timestamp": event.at // 1000,
                "fields": _tags(_log_fields(event, record.scope, visible)),
            }
            for event in record.events
        ],
        "processID": "p1",
        "warnings": None,
    }


def _jaeger_attributes(record: SpanRecord, visible: Visible) -> dict[str, Any]:
    attributes = _span_attributes(record, visible)
    attributes["span.kind"] = SpanKind(record.kind).name.lower()
    scope = {"name": record.scope, "version": record.scope_version}
    # The second spelling is deprecated, demanded all the same, and what Jaeger's page reads.
    for prefix in ("otel.scope", "otel.library"):
        attributes |= {f"{prefix}.{key}": value for key, value in scope.items() if value}
    attributes |= _dropped(
        attributes=record.dropped_attributes,
        events=record.dropped_events,
        links=record.dropped_links,
    )
    if record.trace_state:
        attributes["w3c.tracestate"] = record.trace_state
    if record.status != StatusCode.UNSET.value:
        attributes["otel.status_code"] = StatusCode(record.status).name
    if record.status == StatusCode.ERROR.value:
        attributes["error"] = True
    description = description_of(record, visible)
    if description is not None:
        attributes["otel.status_description"] = description
    return attributes


def _log_fields(event: EventRecord, scope: str, visible: Visible) -> dict[str, Any]:
    return {
        "event": event.name,
        **visible(event.attributes, scope),
        **_dropped(attributes=event.dropped_attributes),
    }


def _dropped(**counts: int) -> dict[str, int]:
    return {f"otel.dropped_{what}_count": count for what, count in counts.items() if count}


def _reference(kind: str, trace_id: str, span_id: str) -> dict[str, str]:
    return {"refType": kind, "traceID": trace_id, "spanID": span_id}


def _tags(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, **_tag_value(value)} for key, value in attributes.items()]


def _tag_value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "bool", "value": value}
        case int() if value in _INT64:
            return {"type": "int64", "value": value if value in _EXACT_IN_JSON else str(value)}
        case float() if math.isfinite(value):
            return {"type": "float64", "value": value}
        case bytes():
            return {"type": "binary", "value": base64.b64encode(value).decode()}
        case list() | tuple() | Mapping():
            return {"type": "string", "value": json.dumps(value, default=str)}
        case _:
            return {"type": "string", "value": str(value)}


# --- all ------------------------------------------------------------------------------------------


def _span_attributes(record: SpanRecord, visible: Visible) -> dict[str, Any]:
    attributes = dict(visible(record.attributes, record.scope))
    if record.end is None:
        attributes[JOB_RUNNING] = True
    return attributes


def _end(record: SpanRecord, last: int) -> int:
    return max(record.start, last) if record.end is None else record.end


def _last_moment(records: Iterable[SpanRecord]) -> int:
    """The latest time that any of the spans tells."""
    return max(
        (
            moment
            for record in records
            for moment in (record.start, record.end or 0, *(event.at for event in record.events))
        ),
        default=0,
    )


def _resource_attributes(resource: Resource) -> dict[str, Any]:
    return {
        key: value
        for key, value in resource.attributes.items()
        if key.startswith(_RESOURCE_PREFIXES)
    }

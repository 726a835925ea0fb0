"""A story's spans as a tree: nested nodes, in JSON's types, by their start.

A pure function of span records. It takes the disclosure filter, so that it shows nothing that the
stream would not; a status description counts as an exception's message, which the SDK makes it of.
It does not know where records come from, nor who may see what.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from opentelemetry.trace import SpanKind, StatusCode

from narration.masking import Mask
from narration.span_record import SpanRecord
from telemetry.clock import rfc3339
from telemetry.names import EXCEPTION_MESSAGE

Visible = Callable[[Mapping[str, Any], str], dict[str, Any]]
"""What a client may see of attributes that the instrumentation scope of this name has set."""

TREE_DEPTH: Final = 100
"""Levels of the tree; what lies deeper is put on the last one, since JSON readers limit nesting."""


def tree(records: Iterable[SpanRecord], *, visible: Visible) -> list[dict[str, Any]]:
    """The spans as nested nodes, by their start; one whose parent is not here is a root.

    A node has `name, span_id, parent_span_id, trace_id, kind, scope, start, end, duration_s,
    status, attributes, events, links, dropped, children`; `end` and `duration_s` are null while it
    runs. Every span is there exactly once, whatever the records say of their parents.
    """
    known = {record.key: record for record in sorted(records, key=lambda record: record.start)}
    children: defaultdict[tuple[int, int] | None, list[SpanRecord]] = defaultdict(list)
    for record in known.values():
        children[_parent_key(record)].append(record)
    tops = [record for record in known.values() if _parent_key(record) not in known]
    roots: list[dict[str, Any]] = []
    placed: set[tuple[int, int]] = set()
    for top in (*tops, *known.values()):  # the second time for those whose parents form a circle
        pending = [(top, roots, 1)]
        while pending:
            record, siblings, level = pending.pop()
            if record.key in placed:
                continue
            placed.add(record.key)
            node = _node(record, visible)
            siblings.append(node)
            below = node["children"] if level < TREE_DEPTH else siblings
            pending += [
                (child, below, level + 1) for child in reversed(children.get(record.key, []))
            ]
    return sorted(roots, key=lambda node: str(node["start"]))


def with_masked_names(records: Iterable[SpanRecord], mask: Mask) -> list[SpanRecord]:
    """`records` with secrets taken out of the names of spans and of events."""
    return [
        msgspec.structs.replace(
            record,
            name=mask(record.name),
            events=[msgspec.structs.replace(each, name=mask(each.name)) for each in record.events],
        )
        for record in records
    ]


def description_of(record: SpanRecord, visible: Visible) -> str | None:
    """The description of the span's status, if it may be seen."""
    if not record.description:
        return None
    shown = visible({EXCEPTION_MESSAGE: record.description}, record.scope)
    return shown.get(EXCEPTION_MESSAGE)


def duration_ns(record: SpanRecord, end: int) -> int:
    """How long it took until `end`; a clock that was set back makes no time negative."""
    return max(0, end - record.start)


def _parent_key(record: SpanRecord) -> tuple[int, int] | None:
    if record.parent_span_id is None:
        return None
    return int(record.trace_id, 16), int(record.parent_span_id, 16)


def _node(record: SpanRecord, visible: Visible) -> dict[str, Any]:
    status: dict[str, Any] = {"code": StatusCode(record.status).name.lower()}
    description = description_of(record, visible)
    if description is not None:
        status["description"] = description
    return {
        "name": record.name,
        "span_id": record.span_id,
        "parent_span_id": record.parent_span_id,
        "trace_id": record.trace_id,
        "kind": SpanKind(record.kind).name.lower(),
        "scope": record.scope,
        "start": rfc3339(record.start),
        "end": None if record.end is None else rfc3339(record.end),
        "duration_s": None if record.end is None else duration_ns(record, record.end) / 1e9,
        "status": status,
        "attributes": visible(record.attributes, record.scope),
        "events": [
            {
                "name": event.name,
                "at": rfc3339(event.at),
                "attributes": visible(event.attributes, record.scope),
            }
            for event in record.events
        ],
        "links": [
            {
                "trace_id": link.trace_id,
                "span_id": link.span_id,
                "attributes": visible(link.attributes, record.scope),
            }
            for link in record.links
        ],
        "dropped": {
            "attributes": record.dropped_attributes,
            "events": record.dropped_events,
            "links": record.dropped_links,
        },
        "children": [],
    }

import base64
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import StatusCode

from narration.span_record import EventRecord, LinkRecord, SpanRecord, to_readable
from narration.trace_formats import jaeger_json, otlp_json
from narration.trace_tree import TREE_DEPTH, tree
from telemetry import names

TRACE = "0af7651916cd43dd8448eb211c80319c"
RESOURCE = Resource({"service.name": "narrator", "host.name": "secret-host"})
NS = 1_700_000_000_000_000_000


def everything(attributes: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """The filter that hides nothing."""
    del scope
    return dict(attributes)


def ours_only(attributes: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """A filter that hides what a third party says."""
    return dict(attributes) if scope == names.SCOPE else {}


def span(number: int, parent: int | None = None, **changes: Any) -> SpanRecord:
    """A span that starts `number` seconds after the others and takes one second."""
    fields: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": f"{number:016x}",
        "parent_span_id": None if parent is None else f"{parent:016x}",
        "parent_is_remote": False,
        "trace_state": "",
        "flags": 1,
        "name": f"span {number}",
        "kind": 0,
        "start": NS + number * 10**9,
        "end": NS + (number + 1) * 10**9,
        "status": 0,
        "description": None,
        "scope": names.SCOPE,
        "scope_version": "",
        "attributes": {},
        "events": [],
        "links": [],
    }
    return SpanRecord(**{**fields, **changes})


def shape(nodes: list[dict[str, Any]]) -> list[Any]:
    """Names and children of a tree."""
    return [
        [node["name"], shape(node["children"])] if node["children"] else node["name"]
        for node in nodes
    ]


def walk(nodes: list[dict[str, Any]], level: int = 1) -> Iterator[tuple[int, dict[str, Any]]]:
    for node in nodes:
        yield level, node
        yield from walk(node["children"], level + 1)


FULL = span(
    2,
    1,
    kind=4,
    scope="opentelemetry.instrumentation.sqlite3",
    scope_version="0.66",
    trace_state="v=1",
    status=StatusCode.ERROR.value,
    description="OperationalError: no such table: secrets",
    attributes={"db.statement": "SELECT secret", "rows": 3, "ratio": 0.5, "ok": True},
    events=[EventRecord("fetch", NS + 2_500_000_000, {"row": 1}, 4)],
    links=[LinkRecord("f" * 32, "e" * 16, "w=2", 1, True, {"why": "retry"}, 5)],
    dropped_attributes=1,
    dropped_events=2,
    dropped_links=3,
    parent_is_remote=True,
)


# --- tree -----------------------------------------------------------------------------------------


def test_children_hang_below_their_parents_in_the_order_of_their_starts() -> None:
    records = [span(4, 1), span(1), span(3, 2), span(2, 1)]

    assert shape(tree(records, visible=everything)) == [
        ["span 1", [["span 2", ["span 3"]], "span 4"]]
    ]


def test_a_span_whose_parent_is_outside_the_job_is_a_root() -> None:
    assert shape(tree([span(2, 99), span(1, 98)], visible=everything)) == ["span 1", "span 2"]


def test_a_node_tells_all_of_its_span() -> None:
    [node] = tree([FULL], visible=everything)

    assert node == {
        "name": "span 2",
        "span_id": "0000000000000002",
        "parent_span_id": "0000000000000001",
        "trace_id": TRACE,
        "kind": "consumer",
        "scope": "opentelemetry.instrumentation.sqlite3",
        "start": "2023-11-14T22:13:22.000000Z",
        "end": "2023-11-14T22:13:23.000000Z",
        "duration_s": 1.0,
        "status": {"code": "error", "description": "OperationalError: no such table: secrets"},
        "attributes": {"db.statement": "SELECT secret", "rows": 3, "ratio": 0.5, "ok": True},
        "events": [
            {"name": "fetch", "at": "2023-11-14T22:13:22.500000Z", "attributes": {"row": 1}}
        ],
        "links": [{"trace_id": "f" * 32, "span_id": "e" * 16, "attributes": {"why": "retry"}}],
        "dropped": {"attributes": 1, "events": 2, "links": 3},
        "children": [],
    }


def test_a_running_span_has_no_end() -> None:
    [node] = tree([span(1, end=None)], visible=everything)

    assert (node["end"], node["duration_s"]) == (None, None)


def test_what_may_not_be_seen_is_in_no_form() -> None:
    forms = [
        tree([FULL], visible=ours_only),
        otlp_json([FULL], RESOURCE, visible=ours_only),
        jaeger_json([FULL], RESOURCE, visible=ours_only),
    ]

    for form in forms:
        text = json.dumps(form)
        assert "secret" not in text
        assert "retry" not in text
        assert "fetch" in text


def test_a_status_is_described_to_those_who_may_see_exception_messages() -> None:
    ours = span(1, status=2, description="ValueError: bad scene")
    [node] = tree([ours], visible=ours_only)
    [hidden] = tree([FULL], visible=ours_only)

    assert node["status"] == {"code": "error", "description": "ValueError: bad scene"}
    assert hidden["status"] == {"code": "error"}


PARENTS = st.lists(st.none() | st.integers(0, 20), min_size=1, max_size=20)


@given(PARENTS, st.randoms())
def test_every_span_is_in_the_tree_exactly_once(parents: list[int | None], random: Any) -> None:
    records = [span(number, parent) for number, parent in enumerate(parents)]
    random.shuffle(records)
    found = [node["span_id"] for _, node in walk(tree(records, visible=everything))]

    assert sorted(found) == sorted(record.span_id for record in records)


def test_a_span_that_is_its_own_parent_is_a_root() -> None:
    assert shape(tree([span(1, 1)], visible=everything)) == ["span 1"]


def test_a_deep_trace_stays_within_what_json_readers_take() -> None:
    records = [span(number, number - 1 if number else None) for number in range(1000)]
    nodes = list(walk(tree(records, visible=everything)))

    assert max(level for level, _ in nodes) == TREE_DEPTH
    assert len(nodes) == 1000
    assert msgspec.json.decode(msgspec.json.encode([node for _, node in nodes[:1]]))


def test_a_clock_that_was_set_back_makes_no_time_negative() -> None:
    [node] = tree([span(5, end=NS)], visible=everything)

    assert node["duration_s"] == 0


# --- OTLP/JSON ------------------------------------------------------------------------------------


def parsed(document: dict[str, Any]) -> ExportTraceServiceRequest:
    """What the official JSON parser makes of it; ids are hex in OTLP and base64 in protobuf."""
    copy = json.loads(json.dumps(document, allow_nan=False))
    for resource in copy["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for found in scope["spans"]:
                for holder in (found, *found["links"]):
                    for name in holder.keys() & {"traceId", "spanId", "parentSpanId"}:
                        holder[name] = base64.b64encode(bytes.fromhex(holder[name])).decode()
    request = ExportTraceServiceRequest()
    json_format.ParseDict(copy, request)
    return request


def exported(records: list[SpanRecord]) -> ExportTraceServiceRequest:
    """What the official exporter sends for the same spans."""
    resource = Resource({"service.name": "narrator"})
    return encode_spans([to_readable(record, resource) for record in records])


def test_otlp_json_says_what_the_official_exporter_says() -> None:
    records = [span(1), FULL, span(3, 2, attributes={"n": -(2**63)})]
    expected = exported(records)
    link = expected.resource_spans[0].scope_spans[1].spans[0].links[0]
    link.trace_state = "w=2"  # which the exporter leaves out

    assert parsed(otlp_json(records, RESOURCE, visible=everything)) == expected


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=8)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=4))
def test_otlp_json_holds_every_value(attributes: dict[str, Any]) -> None:
    records = [span(1, attributes=attributes)]

    assert parsed(otlp_json(records, RESOURCE, visible=everything)) == exported(records)


def test_otlp_json_writes_what_is_no_number_as_text() -> None:
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 2**64}
    document = otlp_json([span(1, attributes=values)], RESOURCE, visible=everything)
    found = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]

    assert [pair["value"] for pair in found] == [
        {"doubleValue": "NaN"},
        {"doubleValue": "Infinity"},
        {"doubleValue": "-Infinity"},
        {"stringValue": str(2**64)},
    ]
    assert parsed(document).resource_spans


def test_otlp_json_groups_spans_by_their_scope() -> None:
    document = otlp_json([span(1), FULL, span(3)], RESOURCE, visible=everything)
    scopes = document["resourceSpans"][0]["scopeSpans"]

    assert [(scope["scope"]["name"], len(scope["spans"])) for scope in scopes] == [
        (names.SCOPE, 2),
        ("opentelemetry.instrumentation.sqlite3", 1),
    ]


def test_in_a_file_a_running_span_reaches_the_last_moment_and_says_so() -> None:
    records = [span(1, end=None), span(2, 1)]
    document = otlp_json(records, RESOURCE, visible=everything)
    running, ended = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    jaeger = jaeger_json(records, RESOURCE, visible=everything)["data"][0]["spans"][0]

    assert running["endTimeUnixNano"] == ended["endTimeUnixNano"]
    assert running["attributes"] == [{"key": names.JOB_RUNNING, "value": {"boolValue": True}}]
    assert jaeger["duration"] == 2_000_000
    assert {"key": names.JOB_RUNNING, "type": "bool", "value": True} in jaeger["tags"]


def test_a_file_tells_the_service_and_nothing_of_the_machine() -> None:
    for form in (otlp_json, jaeger_json):
        text = json.dumps(form([span(1)], RESOURCE, visible=everything))

        assert "narrator" in text
        assert "secret-host" not in text


@pytest.mark.parametrize("form", [otlp_json, jaeger_json])
def test_a_story_without_spans_is_an_empty_file(form: Any) -> None:
    assert json.dumps(form([], RESOURCE, visible=everything))


# --- Jaeger ---------------------------------------------------------------------------------------


def test_jaegers_file_has_the_form_that_its_page_opens() -> None:
    document = jaeger_json([span(1), FULL], RESOURCE, visible=everything)
    [trace] = document["data"]
    first, second = trace["spans"]

    assert trace["traceID"] == TRACE
    assert trace["processes"] == {"p1": {"serviceName": "narrator", "tags": []}}
    assert {found["processID"] for found in trace["spans"]} == {"p1"}
    assert (first["startTime"], first["duration"]) == ((NS + 10**9) // 1000, 1_000_000)
    assert first["references"] == []
    assert second["operationName"] == "span 2"
    assert second["references"] == [
        {"refType": "CHILD_OF", "traceID": TRACE, "spanID": f"{1:016x}"},
        {"refType": "FOLLOWS_FROM", "traceID": "f" * 32, "spanID": "e" * 16},
    ]
    assert second["logs"] == [
        {
            "timestamp": (NS + 2_500_000_000) // 1000,
            "fields": [
                {"key": "event", "type": "string", "value": "fetch"},
                {"key": "row", "type": "int64", "value": 1},
                {"key": "otel.dropped_attributes_count", "type": "int64", "value": 4},
            ],
        }
    ]
    tags = {tag["key"]: (tag["type"], tag["value"]) for tag in second["tags"]}
    assert tags["rows"] == ("int64", 3)
    assert tags["ratio"] == ("float64", 0.5)
    assert tags["ok"] == ("bool", True)
    assert tags["error"] == ("bool", True)
    assert tags["otel.status_code"] == ("string", "ERROR")
    assert tags["span.kind"] == ("string", "consumer")


def test_jaegers_file_has_as_tags_what_jaeger_has_no_field_for() -> None:
    """OpenTelemetry, "Transformation to non-OTLP Formats": deprecated aliases of a scope too."""
    document = jaeger_json([span(1), FULL], RESOURCE, visible=everything)
    first, second = document["data"][0]["spans"]
    tags = {tag["key"]: tag["value"] for tag in second["tags"]}

    assert (
        tags.items()
        >= {
            "otel.scope.name": "opentelemetry.instrumentation.sqlite3",
            "otel.scope.version": "0.66",
            "otel.library.name": "opentelemetry.instrumentation.sqlite3",
            "otel.library.version": "0.66",
            "otel.dropped_attributes_count": 1,
            "otel.dropped_events_count": 2,
            "otel.dropped_links_count": 3,
            "w3c.tracestate": "v=1",
        }.items()
    )
    assert {tag["key"] for tag in first["tags"]} == {
        *("span.kind", "otel.scope.name", "otel.library.name")
    }


def test_jaegers_file_has_large_integers_as_text_since_its_page_would_round_them() -> None:
    numbers = {"most": 2**53 - 1, "more": 2**53, "least": 1 - 2**53, "less": -(2**53)}
    document = jaeger_json([span(1, attributes=numbers)], RESOURCE, visible=everything)
    tags = {tag["key"]: tag for tag in document["data"][0]["spans"][0]["tags"]}

    assert {key: (tags[key]["type"], tags[key]["value"]) for key in numbers} == {
        "most": ("int64", 2**53 - 1),
        "more": ("int64", str(2**53)),
        "least": ("int64", 1 - 2**53),
        "less": ("int64", str(-(2**53))),
    }


def test_jaegers_file_has_a_part_for_each_trace() -> None:
    other = span(2, trace_id="1" * 32)
    document = jaeger_json([span(1), other], RESOURCE, visible=everything)

    assert [part["traceID"] for part in document["data"]] == [TRACE, "1" * 32]


@given(st.dictionaries(st.text(min_size=1, max_size=5), VALUES | st.floats(), max_size=4))
def test_jaegers_file_is_json_whatever_the_values(attributes: dict[str, Any]) -> None:
    document = jaeger_json([span(1, attributes=attributes)], RESOURCE, visible=everything)

    assert json.loads(json.dumps(document, allow_nan=False))

"""`/trace` in its three forms, read by other readers, against what an OTLP receiver got.

OTLP/JSON is read by protobuf's own JSON reader after OTLP's one departure from it (ids in hex);
Jaeger's file by the model in jaeger_file.py.
"""

import base64
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from telemetry import names
from telemetry.clock import rfc3339
from tests.telemetry.jaeger_file import JaegerFile, plain
from tests.telemetry.otlp_receiver import OtlpReceiver, Received, values_of
from tests.telemetry.served import (
    Caller,
    Server,
    Trace,
    events_of,
    nodes_of,
    serving,
    trace_of,
)

HEX_IDS: Final = ("traceId", "spanId", "parentSpanId")
AT_ONCE: Final = {"base_delay_s": 0.01, "jitter": "none", "max_attempts": 2}


@dataclass(frozen=True, slots=True)
class Written:
    """A job's trace as it arrived, and as `/trace` wrote it."""

    received: list[Received]
    tree: Any
    otlp: Any
    jaeger: Any

    @classmethod
    def of(cls, server: Server, job_id: str, trace: Trace) -> "Written":
        """All forms of the trace of a job that has ended."""
        return cls(
            [each for each in trace.spans if not each.span.name.startswith("POST ")],
            server.trace(job_id),
            server.trace(job_id, format="otlp"),
            server.trace(job_id, format="jaeger"),
        )


def completed(server: Server, folder: Path) -> dict[str, Any]:
    headers = {**Caller.new().headers, "tracestate": "vendor=1"}
    return server.run("coroutine", headers=headers, tags={"team": "blue"})


def in_a_child(server: Server, folder: Path) -> dict[str, Any]:
    return server.run("isolated")


def failed_and_repeated(server: Server, folder: Path) -> dict[str, Any]:
    first = server.run("flaky", params={"failures": 9}, retry=AT_ONCE)
    again = server.client.post(f"/v1/jobs/{first['id']}/retry", headers=Caller.new().headers)
    return server.ended(again.json()["id"])


def lost(server: Server, folder: Path) -> dict[str, Any]:
    gate = folder / "gate"
    os.mkfifo(gate)
    record = server.submit("held", params={"gate": str(gate)})
    os.kill(server.said(record["id"], "ready")["fields"]["pid"], signal.SIGKILL)
    return server.ended(record["id"])


RUNS: Final[dict[str, Callable[[Server, Path], dict[str, Any]]]] = {
    each.__name__: each for each in (completed, in_a_child, failed_and_repeated, lost)
}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("files")
    with serving(folder, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as server:
        yield server


@pytest.fixture(scope="module", params=list(RUNS))
def written(
    request: pytest.FixtureRequest,
    server: Server,
    receiver: OtlpReceiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Written:
    record = RUNS[request.param](server, tmp_path_factory.mktemp("run"))
    return Written.of(server, record["id"], trace_of(receiver, record["trace_id"]))


def parsed(otlp: Any) -> ExportTraceServiceRequest:
    """OTLP/JSON as protobuf reads it; a field that it does not know is an error."""
    request = ExportTraceServiceRequest()
    json_format.ParseDict(with_base64_ids(otlp), request)
    return request


def with_base64_ids(value: Any) -> Any:
    """OTLP writes ids in hex, and protobuf's JSON bytes in base64: the one difference."""
    if isinstance(value, list):
        return [with_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode()
        if key in HEX_IDS
        else with_base64_ids(item)
        for key, item in value.items()
    }


def spans_in(request: ExportTraceServiceRequest) -> dict[bytes, tuple[str, Span]]:
    """Each span by its id, with the name of its scope."""
    return {
        span.span_id: (scope.scope.name, comparable(span))
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def comparable(span: Span) -> Span:
    """`span` with its attributes in order, without what OpenTelemetry's exporter leaves out."""
    copy = Span()
    copy.CopyFrom(span)
    for holder in (copy, *copy.events, *copy.links):
        ordered = sorted(holder.attributes, key=lambda pair: pair.key)
        del holder.attributes[:]
        holder.attributes.extend(ordered)
    for link in copy.links:
        link.trace_state = ""
    return copy


def arrived(received: list[Received]) -> dict[bytes, tuple[str, Span]]:
    return {each.span.span_id: (each.scope, comparable(each.span)) for each in received}


def test_the_otlp_file_is_what_the_receiver_got(written: Written) -> None:
    assert spans_in(parsed(written.otlp)) == arrived(written.received)


def test_the_resource_of_the_otlp_file_is_part_of_what_the_receiver_got(written: Written) -> None:
    (resource,) = parsed(written.otlp).resource_spans

    told = values_of(resource.resource.attributes)
    assert told.items() <= dict(written.received[0].resource).items()
    assert told["service.name"] == "job-narrator"


def test_the_tree_is_what_the_receiver_got(written: Written) -> None:
    assert {node["span_id"]: flat(node) for node in nodes_of(written.tree["spans"])} == {
        each.span.span_id.hex(): expected_node(each) for each in written.received
    }


def test_the_nodes_of_the_tree_hang_under_their_parents(written: Written) -> None:
    (job,) = written.tree["spans"]

    for node in nodes_of([job]):
        assert {child["parent_span_id"] for child in node["children"]} <= {node["span_id"]}


def flat(node: dict[str, Any]) -> dict[str, Any]:
    """A node without what has no counterpart in OTLP."""
    return {key: value for key, value in node.items() if key not in {"children", "duration_s"}}


def expected_node(received: Received) -> dict[str, Any]:
    span = received.span
    status = {"code": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower()}
    if span.status.message:
        status["description"] = span.status.message
    return {
        "name": span.name,
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex() or None,
        "trace_id": span.trace_id.hex(),
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        "scope": received.scope,
        "start": rfc3339(span.start_time_unix_nano),
        "end": rfc3339(span.end_time_unix_nano),
        "status": status,
        "attributes": received.attributes,
        "events": [
            {
                "name": event.name,
                "at": rfc3339(event.time_unix_nano),
                "attributes": values_of(event.attributes),
            }
            for event in span.events
        ],
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": values_of(link.attributes),
            }
            for link in span.links
        ],
        "dropped": {
            "attributes": span.dropped_attributes_count,
            "events": span.dropped_events_count,
            "links": span.dropped_links_count,
        },
    }


def test_the_jaeger_file_is_of_jaegers_model_and_tells_what_the_receiver_got(
    written: Written,
) -> None:
    file = msgspec.convert(written.jaeger, JaegerFile)
    (trace,) = file.data
    found = {span.spanID: span for span in trace.spans}

    assert len(found) == len(trace.spans)
    assert set(found) == {each.span.span_id.hex() for each in written.received}
    for each in written.received:
        span, sent = found[each.span.span_id.hex()], each.span
        assert (span.traceID, span.operationName) == (trace.traceID, sent.name)
        assert trace.traceID == sent.trace_id.hex()
        assert span.startTime == sent.start_time_unix_nano // 1000
        assert span.duration == (sent.end_time_unix_nano - sent.start_time_unix_nano) // 1000
        assert trace.processes[span.processID].serviceName == each.resource["service.name"]
        assert plain(span.tags).items() >= each.attributes.items()


def test_the_jaeger_file_has_what_its_page_looks_for_in_tags(written: Written) -> None:
    (trace,) = msgspec.convert(written.jaeger, JaegerFile).data
    tags = {span.spanID: plain(span.tags) for span in trace.spans}

    for each in written.received:
        found, status = tags[each.span.span_id.hex()], each.span.status
        is_error = status.code == Status.STATUS_CODE_ERROR
        assert found["span.kind"] == expected_node(each)["kind"]
        assert found["otel.scope.name"] == found["otel.library.name"] == each.scope
        assert found.get("error", False) is is_error
        assert found.get("otel.status_code") == ("ERROR" if is_error else None)
        assert found.get("otel.status_description", "") == status.message
        assert found.get("w3c.tracestate", "") == each.span.trace_state


def test_the_jaeger_file_has_parents_and_links_as_references_and_events_as_logs(
    written: Written,
) -> None:
    (trace,) = msgspec.convert(written.jaeger, JaegerFile).data
    found = {span.spanID: span for span in trace.spans}

    for each in written.received:
        span = found[each.span.span_id.hex()]
        parent = each.span.parent_span_id.hex()
        assert [(ref.refType, ref.traceID, ref.spanID) for ref in span.references] == [
            *([("CHILD_OF", trace.traceID, parent)] if parent else []),
            *(
                ("FOLLOWS_FROM", link.trace_id.hex(), link.span_id.hex())
                for link in each.span.links
            ),
        ]
        assert [(log.timestamp, plain(log.fields)) for log in span.logs] == [
            (event.time_unix_nano // 1000, {"event": name, **attributes})
            for event, (name, attributes) in zip(each.span.events, events_of(each), strict=True)
        ]


@pytest.mark.parametrize("operation", ["held_here", "held"])
def test_the_files_show_running_spans_with_their_events_so_far(
    server: Server, receiver: OtlpReceiver, tmp_path: Path, operation: str
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    record = server.submit(operation, params={"gate": str(gate)})
    server.said(record["id"], "ready")
    otlp = spans_in(parsed(server.trace(record["id"], format="otlp")))
    (jaeger,) = msgspec.convert(server.trace(record["id"], format="jaeger"), JaegerFile).data
    gate.write_text("open")
    server.ended(record["id"])
    sent = arrived(trace_of(receiver, record["trace_id"]).spans)

    running = {
        span.name: span
        for _, span in otlp.values()
        if values_of(span.attributes).get(names.JOB_RUNNING) is True
    }
    assert set(running) == {f"job {operation}", "job.attempt", "held open"}
    for span in running.values():
        _, ended = sent[span.span_id]
        assert (span.parent_span_id, span.start_time_unix_nano) == (
            ended.parent_span_id,
            ended.start_time_unix_nano,
        )
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= ended.end_time_unix_nano
        assert list(ended.events)[: len(span.events)] == list(span.events)
        assert names.JOB_RUNNING not in values_of(ended.attributes)
    assert [event.name for event in running["held open"].events] == ["waiting", "ready"]
    drawn = {span.operationName: span for span in jaeger.spans}
    assert {name for name, s in drawn.items() if plain(s.tags).get("job.running")} == set(running)
    logged = [plain(log.fields)["event"] for log in drawn["held open"].logs]
    assert logged == ["waiting", "ready"]

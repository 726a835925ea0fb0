"""The trace of every outcome, from a real server, as a real OTLP receiver decodes it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.semconv._incubating.attributes import log_attributes, messaging_attributes
from opentelemetry.semconv.attributes import code_attributes, error_attributes, exception_attributes

from telemetry import names
from tests.telemetry.otlp_receiver import OtlpReceiver, Received
from tests.telemetry.served import Caller, Server, Trace, events_of, nodes_of, serving, trace_of

UNSET, ERROR = Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR
AT_ONCE = {"base_delay_s": 0.01, "jitter": "none"}
NEVER = {"base_delay_s": 3600.0, "jitter": "none", "max_delay_s": 3600.0, "max_attempts": 2}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("traces")
    with serving(folder, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as server:
        yield server


def under_job(trace: Trace, caller: Caller) -> list[str]:
    """The job's own tree; beside it the caller has the request, made of one span."""
    lines = trace.under(caller.span_id)
    assert lines[0] == "POST /v1/jobs"
    return lines[1:]


def status_of(received: Received) -> tuple[Any, str]:
    return received.span.status.code, received.span.status.message


def job_attributes(record: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the span of any finished job has, and `more` with dots for double underscores."""
    return {
        "job.id": record["id"],
        "job.operation": record["operation"],
        "job.priority": record["priority"],
        "job.state": record["state"],
        "job.attempt": record["attempt"],
        **{name.replace("__", "."): value for name, value in more.items()},
    }


def attempt_attributes(
    record: dict[str, Any], number: int, outcome: str, **more: Any
) -> dict[str, Any]:
    return {
        "job.id": record["id"],
        "job.operation": record["operation"],
        "job.attempt": number,
        "job.outcome": outcome,
        "code.function.name": f"handlers.{record['operation']}",
        "messaging.system": "job-narrator",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": record["operation"],
        "messaging.message.id": record["id"],
        **{name.replace("__", "."): value for name, value in more.items()},
    }


def test_names_are_those_of_the_semantic_conventions() -> None:
    assert names.ERROR_TYPE == error_attributes.ERROR_TYPE
    assert names.EXCEPTION_TYPE == exception_attributes.EXCEPTION_TYPE
    assert names.EXCEPTION_MESSAGE == exception_attributes.EXCEPTION_MESSAGE
    assert names.EXCEPTION_STACKTRACE == exception_attributes.EXCEPTION_STACKTRACE
    assert names.CODE_FUNCTION_NAME == code_attributes.CODE_FUNCTION_NAME
    assert names.LOG_RECORD_ORIGINAL == log_attributes.LOG_RECORD_ORIGINAL
    assert names.MESSAGING_SYSTEM == messaging_attributes.MESSAGING_SYSTEM
    assert names.MESSAGING_OPERATION_NAME == messaging_attributes.MESSAGING_OPERATION_NAME
    assert names.MESSAGING_OPERATION_TYPE == messaging_attributes.MESSAGING_OPERATION_TYPE
    assert names.MESSAGING_DESTINATION_NAME == messaging_attributes.MESSAGING_DESTINATION_NAME
    assert names.MESSAGING_MESSAGE_ID == messaging_attributes.MESSAGING_MESSAGE_ID
    process = messaging_attributes.MessagingOperationTypeValues.PROCESS
    assert process.value == "process"


@pytest.mark.parametrize(
    ("operation", "inside"),
    [
        ("coroutine", ["outer", "  in a task"]),
        ("threaded", ["outer", "  in a thread of its own"]),
        ("isolated", ["in the child", "  deeper"]),
    ],
)
def test_a_completed_job_is_one_tree_from_the_caller_to_the_handlers_spans(
    server: Server, receiver: OtlpReceiver, operation: str, inside: list[str]
) -> None:
    caller = Caller.new()
    record = server.run(
        operation, headers=caller.headers, tags={"team": "blue"}, concurrency_key=operation
    )
    trace = trace_of(receiver, caller.trace_id)

    assert under_job(trace, caller) == [
        f"job {operation}",
        "  job.wait",
        "  job.attempt",
        *(f"    {line}" for line in inside),
    ]
    job, attempt = trace.one(f"job {operation}"), trace.one("job.attempt")
    assert job.attributes == job_attributes(
        record, job__tag__team="blue", job__concurrency_key=operation
    )
    colour = {"handler.color": "red"} if operation == "isolated" else {}
    assert attempt.attributes == {**attempt_attributes(record, 1, "completed"), **colour}
    assert trace.one("job.wait").attributes == {"job.id": record["id"], "job.attempt": 1}
    assert (job.span.kind, attempt.span.kind) == (
        Span.SPAN_KIND_INTERNAL,
        Span.SPAN_KIND_CONSUMER,
    )
    assert {status_of(each) for each in trace.spans} == {(UNSET, "")}
    assert {each.resource["service.name"] for each in trace.spans} == {"job-narrator"}
    assert (record["trace_id"], record["attempts"][0]["span_id"]) == (
        caller.trace_id,
        attempt.span.span_id.hex(),
    )


def test_a_jobs_moments_are_events_of_its_span(server: Server, receiver: OtlpReceiver) -> None:
    record = server.run("coroutine")
    trace = trace_of(receiver, record["trace_id"])

    assert [name for name, _ in events_of(trace.one("job coroutine"))] == [
        "job.queued",
        "job.started",
        "job.completed",
    ]
    assert events_of(trace.one("outer")) == [("item.packed", {"shop.item": "lamp"})]
    assert events_of(trace.one("in a task")) == [("aside", {"narration.text": "said in a task"})]


def test_without_a_caller_the_request_is_the_parent(server: Server, receiver: OtlpReceiver) -> None:
    record = server.run("coroutine")
    trace = trace_of(receiver, record["trace_id"])

    (root,) = [each for each in trace.spans if not each.span.parent_span_id]
    assert (root.span.name, root.span.kind) == ("POST /v1/jobs", Span.SPAN_KIND_SERVER)
    assert trace.under(root.span.span_id.hex())[0] == "job coroutine"


@pytest.mark.parametrize("operation", ["coroutine", "isolated"])
def test_baggage_reaches_the_handler(server: Server, operation: str) -> None:
    headers = {**Caller.new().headers, "baggage": "team=blue"}

    assert server.run(operation, headers=headers)["result"] == {"team": "blue"}


def test_a_job_that_succeeds_in_the_end_is_no_error_and_its_failed_attempt_is(
    server: Server, receiver: OtlpReceiver
) -> None:
    caller = Caller.new()
    record = server.run(
        "flaky",
        headers=caller.headers,
        params={"failures": 1},
        retry={**AT_ONCE, "max_attempts": 2},
    )
    trace = trace_of(receiver, caller.trace_id)

    assert under_job(trace, caller) == [
        "job flaky",
        *("  job.wait", "  job.attempt", "  job.backoff", "  job.wait", "  job.attempt"),
    ]
    failed, succeeded = trace.named("job.attempt")
    assert failed.attributes == attempt_attributes(
        record, 1, "error", error__type="ConnectionError"
    )
    assert status_of(failed) == (ERROR, "the shelf is empty")
    ((name, exception),) = events_of(failed)
    assert (name, exception["exception.type"], exception["exception.message"]) == (
        "exception",
        "ConnectionError",
        "the shelf is empty",
    )
    assert exception["exception.stacktrace"].startswith("Traceback")
    assert succeeded.attributes == attempt_attributes(record, 2, "completed")
    assert status_of(succeeded) == status_of(trace.one("job flaky")) == (UNSET, "")
    assert [each.attributes["job.attempt"] for each in trace.named("job.wait")] == [1, 2]
    backoff = trace.one("job.backoff")
    assert backoff.attributes == {"job.id": record["id"], "job.attempt": 1}
    assert backoff.span.end_time_unix_nano - backoff.span.start_time_unix_nano >= 5_000_000


def test_a_handler_that_asks_for_more_time_has_made_no_error(
    server: Server, receiver: OtlpReceiver
) -> None:
    record = server.run("later")
    trace = trace_of(receiver, record["trace_id"])

    outcomes = [each.attributes["job.outcome"] for each in trace.named("job.attempt")]
    assert outcomes == ["retry_later", "completed"]
    assert {status_of(each) for each in trace.spans} == {(UNSET, "")}


def test_a_job_out_of_attempts_is_an_error(server: Server, receiver: OtlpReceiver) -> None:
    record = server.run("flaky", params={"failures": 9})
    trace = trace_of(receiver, record["trace_id"])

    job = trace.one("job flaky")
    assert job.attributes == job_attributes(
        record, job__reason="error", error__type="ConnectionError"
    )
    assert status_of(job) == (ERROR, "the shelf is empty")


def test_a_timed_out_job_is_an_error(server: Server, receiver: OtlpReceiver) -> None:
    record = server.run("endless", timeout_s=0.02)
    trace = trace_of(receiver, record["trace_id"])

    job, attempt = trace.one("job endless"), trace.one("job.attempt")
    message = "the attempt ran longer than timeout_s = 0.02 s"
    assert attempt.attributes == attempt_attributes(record, 1, "timeout", error__type="timeout")
    assert job.attributes == job_attributes(record, job__reason="timeout", error__type="timeout")
    assert status_of(attempt) == status_of(job) == (ERROR, message)


def test_a_rejected_job_is_an_error(server: Server, receiver: OtlpReceiver) -> None:
    record = server.run("refuses", retry={"max_attempts": 5})
    trace = trace_of(receiver, record["trace_id"])

    (attempt,) = trace.named("job.attempt")
    assert attempt.attributes["job.outcome"] == "rejected"
    assert trace.one("job refuses").attributes["job.reason"] == "rejected"
    assert status_of(attempt) == status_of(trace.one("job refuses")) == (ERROR, "not in stock")


def test_a_job_cancelled_while_it_runs_is_no_error(server: Server, receiver: OtlpReceiver) -> None:
    caller = Caller.new()
    record = server.submit("endless", headers=caller.headers)
    server.said(record["id"], "ready")
    record = server.cancel(record["id"])
    trace = trace_of(receiver, caller.trace_id)

    assert under_job(trace, caller) == ["job endless", "  job.wait", "  job.attempt"]
    job, attempt = trace.one("job endless"), trace.one("job.attempt")
    assert job.attributes == job_attributes(
        record, job__cancel__origin="client", job__cancel__abandoned=False
    )
    assert attempt.attributes == attempt_attributes(record, 1, "cancelled")
    assert status_of(job) == status_of(attempt) == (UNSET, "")


def test_a_job_cancelled_while_queued_has_waited_and_nothing_else(
    server: Server, receiver: OtlpReceiver
) -> None:
    first = server.submit("single")
    server.said(first["id"], "ready")
    caller = Caller.new()
    record = server.submit("single", headers=caller.headers)
    record = server.cancel(record["id"])
    server.cancel(first["id"])
    trace = trace_of(receiver, caller.trace_id)

    assert under_job(trace, caller) == ["job single", "  job.wait"]
    assert trace.one("job.wait").attributes["job.attempt"] == 1
    assert trace.one("job single").attributes["job.state"] == "cancelled"
    assert status_of(trace.one("job single")) == (UNSET, "")


def test_a_job_cancelled_while_it_waits_for_a_retry_has_backed_off(
    server: Server, receiver: OtlpReceiver
) -> None:
    caller = Caller.new()
    record = server.submit("flaky", headers=caller.headers, params={"failures": 9}, retry=NEVER)
    server.in_state(record["id"], "retrying")
    record = server.cancel(record["id"])
    trace = trace_of(receiver, caller.trace_id)

    assert under_job(trace, caller) == [
        "job flaky",
        *("  job.wait", "  job.attempt", "  job.backoff"),
    ]
    assert status_of(trace.one("job flaky")) == (UNSET, "")


def test_a_job_that_expires_in_the_queue_is_an_error_and_tells_its_wait(
    server: Server, receiver: OtlpReceiver
) -> None:
    first = server.submit("single")
    server.said(first["id"], "ready")
    caller = Caller.new()
    record = server.run("single", headers=caller.headers, queue_timeout_s=0.02)
    server.cancel(first["id"])
    trace = trace_of(receiver, caller.trace_id)

    assert under_job(trace, caller) == ["job single", "  job.wait"]
    job, wait = trace.one("job single"), trace.one("job.wait")
    assert job.attributes == job_attributes(record, job__reason="expired", error__type="expired")
    assert status_of(job)[0] == ERROR
    assert wait.span.end_time_unix_nano - wait.span.start_time_unix_nano >= 10_000_000


def test_a_job_that_nobody_attached_to_has_not_even_waited(
    server: Server, receiver: OtlpReceiver
) -> None:
    caller = Caller.new()
    server.run("coroutine", headers=caller.headers, start="on_stream", attach_timeout_s=0.02)
    trace = trace_of(receiver, caller.trace_id)

    assert under_job(trace, caller) == ["job coroutine"]
    assert [name for name, _ in events_of(trace.one("job coroutine"))] == [
        "job.deferred",
        "job.expired",
    ]


def test_the_spans_of_a_killed_child_are_closed_and_exported(
    server: Server, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    caller = Caller.new()
    record = server.submit("held", headers=caller.headers, params={"gate": str(gate)})
    ready = server.said(record["id"], "ready")
    os.kill(ready["fields"]["pid"], signal.SIGKILL)
    record = server.ended(record["id"])
    trace = trace_of(receiver, caller.trace_id)

    assert under_job(trace, caller) == [
        "job held",
        *("  job.wait", "  job.attempt", "    held open"),
    ]
    held = trace.one("held open")
    assert held.attributes == {"shop.shelf": 7, "error.type": "lost", "job.outcome": "lost"}
    assert [name for name, _ in events_of(held)] == ["waiting", "ready"]
    assert status_of(held) == (ERROR, "lost")
    attempt, job = trace.one("job.attempt"), trace.one("job held")
    assert attempt.attributes == attempt_attributes(record, 1, "lost", error__type="lost")
    assert job.attributes == job_attributes(record, job__reason="lost", error__type="lost")
    assert status_of(attempt) == status_of(job) == (ERROR, "killed by SIGKILL")


def test_a_handler_that_will_not_stop_is_told_as_abandoned(
    server: Server, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    record = server.submit("deaf", params={"gate": str(gate)})
    server.said(record["id"], "ready")
    record = server.cancel(record["id"])
    trace = trace_of(receiver, record["trace_id"])
    gate.write_text("open")

    job = trace.one("job deaf")
    assert job.attributes == job_attributes(
        record, job__cancel__origin="client", job__cancel__abandoned=True
    )
    assert "job.abandoned" in [name for name, _ in events_of(job)]
    assert status_of(job) == (UNSET, "")


def test_a_retried_job_links_to_the_one_that_it_repeats(
    server: Server, receiver: OtlpReceiver
) -> None:
    first = server.run("coroutine")
    caller = Caller.new()
    answer = server.client.post(f"/v1/jobs/{first['id']}/retry", headers=caller.headers)
    second = server.ended(answer.json()["id"])
    repeated = trace_of(receiver, first["trace_id"]).one("job coroutine")
    trace = trace_of(receiver, caller.trace_id)

    job = trace.one("job coroutine")
    assert job.attributes == job_attributes(second, job__retry_of=first["id"])
    assert [(link.trace_id, link.span_id) for link in job.span.links] == [
        (repeated.span.trace_id, repeated.span.span_id)
    ]
    assert job.span.parent_span_id.hex() == caller.span_id


def test_the_caller_is_linked_to_where_that_is_the_setting(tmp_path: Path) -> None:
    caller = Caller.new()
    with OtlpReceiver() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        with serving(tmp_path, NARRATOR_TRACE_PARENT="link", **environment) as server:
            record = server.run("coroutine", headers=caller.headers)
        trace = trace_of(receiver, record["trace_id"], requests=0)

    job = trace.one("job coroutine")
    assert record["trace_id"] != caller.trace_id
    assert job.span.parent_span_id == b""
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in job.span.links] == [
        (caller.trace_id, caller.span_id)
    ]


def test_a_stream_is_one_server_span_however_many_events_it_has(
    server: Server, receiver: OtlpReceiver
) -> None:
    record = server.submit("counts", params={"n": 50})
    caller = Caller.new()
    path = f"/v1/jobs/{record['id']}/stream"
    with server.client.stream("GET", path, headers=caller.headers) as answer:
        frames = answer.read().count(b"\nevent: ")
    server.run("coroutine", headers=caller.headers)
    trace = trace_of(receiver, caller.trace_id)

    assert frames > 150
    (stream,) = [each for each in trace.spans if "stream" in each.span.name]
    assert stream.span.name == "GET /v1/jobs/{job_id}/stream"
    assert trace.under(stream.span.span_id.hex()) == []


@pytest.mark.parametrize("operation", ["held_here", "held"])
def test_the_trace_is_there_while_the_job_runs(
    server: Server, tmp_path: Path, operation: str
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    record = server.submit(operation, params={"gate": str(gate)})
    server.said(record["id"], "ready")
    running = server.trace(record["id"])
    gate.write_text("open")
    server.ended(record["id"])
    ended = server.trace(record["id"])

    (job,) = running["spans"]
    assert running["trace_id"] == record["trace_id"]
    assert [node["name"] for node in nodes_of(running["spans"])] == [
        f"job {operation}",
        *("job.wait", "job.attempt", "held open"),
    ]
    (held,) = job["children"][1]["children"]
    assert [node["end"] is None for node in nodes_of([job])] == [True, False, True, True]
    assert held["attributes"] == {"shop.shelf": 7}
    assert [event["name"] for event in held["events"]] == ["waiting", "ready"]
    assert [event["attributes"].get("for") for event in held["events"]] == ["the gate", None]
    assert all(node["end"] for node in nodes_of(ended["spans"]))


def test_the_trace_comes_as_files_that_tools_open_running_spans_included(
    server: Server, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    record = server.submit("held", params={"gate": str(gate)})
    server.said(record["id"], "ready")
    otlp = server.trace(record["id"], format="otlp")
    jaeger = server.trace(record["id"], format="jaeger")
    gate.write_text("open")
    server.ended(record["id"])

    spans = [
        span
        for resource in otlp["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    found = {span["name"]: span for span in spans}
    assert set(found) == {"job held", "job.wait", "job.attempt", "held open"}
    assert {span["traceId"] for span in spans} == {record["trace_id"]}
    assert found["held open"]["parentSpanId"] == found["job.attempt"]["spanId"]
    marked = {
        name
        for name, span in found.items()
        if {"key": "job.running", "value": {"boolValue": True}} in span["attributes"]
    }
    assert marked == {"job held", "job.attempt", "held open"}
    (data,) = jaeger["data"]
    assert data["traceID"] == record["trace_id"]
    assert {span["operationName"] for span in data["spans"]} == set(found)


def test_the_file_of_a_trace_has_the_resource_of_the_server(server: Server) -> None:
    record = server.run("coroutine")
    (resource,) = server.trace(record["id"], format="otlp")["resourceSpans"]

    attributes = {each["key"]: each["value"] for each in resource["resource"]["attributes"]}
    assert attributes["service.name"] == {"stringValue": "job-narrator"}
    assert set(attributes) >= set(Resource.create().attributes) - {"service.instance.id"}

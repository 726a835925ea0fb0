"""What a caller's headers become in the trace of its job, as a real OTLP receiver decoded it."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags

from telemetry import names
from tests.telemetry.otlp_receiver import OtlpReceiver
from tests.telemetry.served import Caller, Server, serving, text_of, trace_of

STATE: Final = "vendor=of-the-callers,other=2"
IS_REMOTE: Final = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("context")
    with serving(folder, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as server:
        yield server


@pytest.fixture(scope="module")
def linking(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that links to its callers."""
    folder = tmp_path_factory.mktemp("linking")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    with serving(folder, NARRATOR_TRACE_PARENT="link", **environment) as server:
        yield server


def retry(server: Server, job_id: str, caller: Caller) -> dict[str, Any]:
    """The record of a job that repeats another and has ended."""
    answer = server.client.post(f"/v1/jobs/{job_id}/retry", headers=caller.headers)
    assert answer.status_code == 202, answer.text
    return server.ended(answer.json()["id"])


def targets(span: Span) -> list[tuple[str, str]]:
    """The trace and span ids that a span links to."""
    return [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]


@pytest.mark.parametrize("operation", ["coroutine", "threaded", "isolated"])
def test_the_callers_tracestate_is_on_every_span(
    server: Server, receiver: OtlpReceiver, operation: str
) -> None:
    caller = Caller.new()
    server.run(operation, headers={**caller.headers, "tracestate": STATE})
    trace = trace_of(receiver, caller.trace_id)

    assert len(trace.spans) >= 5
    assert {each.span.trace_state for each in trace.spans} == {STATE}


def test_baggage_is_the_handlers_and_no_attribute(server: Server, receiver: OtlpReceiver) -> None:
    caller = Caller.new()
    headers = {**caller.headers, "baggage": "team=blue%20ones,secret.of=the-callers"}
    record = server.run("coroutine", headers=headers)
    trace = trace_of(receiver, caller.trace_id)

    assert record["result"] == {"team": "blue ones", "secret.of": "the-callers"}
    assert "the-callers" not in text_of([each.attributes for each in trace.spans])


@pytest.mark.parametrize(
    "traceparent",
    [
        "nonsense",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ],
)
def test_a_malformed_traceparent_begins_a_new_trace(
    server: Server, receiver: OtlpReceiver, traceparent: str
) -> None:
    record = server.run("coroutine", headers={"traceparent": traceparent, "tracestate": STATE})
    trace = trace_of(receiver, record["trace_id"])

    (root,) = [each for each in trace.spans if not each.span.parent_span_id]
    assert root.span.name == "POST /v1/jobs"
    assert record["trace_id"] not in traceparent
    assert {each.span.trace_state for each in trace.spans} == {""}


def test_a_job_has_no_link_unless_there_is_a_reason(server: Server, receiver: OtlpReceiver) -> None:
    caller = Caller.new()
    server.run("coroutine", headers=caller.headers)

    assert not any(each.span.links for each in trace_of(receiver, caller.trace_id).spans)


def test_a_link_to_the_caller_says_that_it_is_elsewhere_and_has_its_tracestate_in_our_file(
    linking: Server, receiver: OtlpReceiver
) -> None:
    caller = Caller.new()
    record = linking.run("coroutine", headers={**caller.headers, "tracestate": STATE})
    job = trace_of(receiver, record["trace_id"], requests=0).one("job coroutine").span
    ours = linking.trace(record["id"], format="otlp")["resourceSpans"][0]["scopeSpans"]
    links = [each["links"] for scope in ours for each in scope["spans"] if each["links"]]

    (link,) = job.links
    assert targets(job) == [(caller.trace_id, caller.span_id)]
    assert link.flags & IS_REMOTE
    assert (job.flags & IS_REMOTE, job.trace_state) == (0, "")
    # OpenTelemetry's exporter encodes no state of a link; the file of /trace has it.
    assert [[each["traceState"] for each in found] for found in links] == [[STATE]]


def test_a_retry_of_a_retry_links_to_the_one_before_it(
    server: Server, receiver: OtlpReceiver
) -> None:
    first = server.run("flaky", params={"failures": 9})
    callers = [Caller.new(), Caller.new()]
    second = retry(server, first["id"], callers[0])
    third = retry(server, second["id"], callers[1])
    traces = [
        trace_of(receiver, record["trace_id"]).one("job flaky").span
        for record in (first, second, third)
    ]

    assert [targets(each) for each in traces] == [
        [],
        [(traces[0].trace_id.hex(), traces[0].span_id.hex())],
        [(traces[1].trace_id.hex(), traces[1].span_id.hex())],
    ]
    assert [each.parent_span_id.hex() for each in traces[1:]] == [c.span_id for c in callers]


def test_where_callers_are_linked_to_a_retry_has_both_links(
    linking: Server, receiver: OtlpReceiver
) -> None:
    first = linking.run("coroutine")
    caller = Caller.new()
    second = retry(linking, first["id"], caller)
    repeated = trace_of(receiver, first["trace_id"], requests=0).one("job coroutine").span
    trace = trace_of(receiver, second["trace_id"], requests=0)

    job = trace.one("job coroutine")
    assert job.attributes[names.JOB_RETRY_OF] == first["id"]
    assert targets(job.span) == [
        (caller.trace_id, caller.span_id),
        (repeated.trace_id.hex(), repeated.span_id.hex()),
    ]
    assert len({first["trace_id"], second["trace_id"], caller.trace_id}) == 3

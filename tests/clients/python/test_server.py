"""Both clients with a real server: every call, how jobs end, what goes along."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from app.client import (
    Busy,
    Conflict,
    EndEvent,
    Gap,
    GapEvent,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    JobStateEvent,
    NarrationEvent,
    NotFinished,
    NotFound,
    OutputEvent,
    Patience,
    Unreachable,
)
from tests.clients.python.both import Open, sequence
from tests.clients.server import WAIT_S, ServerProcess, serving, until


@pytest.fixture
def waiting_job(client: Any, gate: Path) -> Iterator[Any]:
    """A job that waits for the gate, and is let go at the end."""
    yield client.submit("gated", {"gate": str(gate)})
    gate.touch()


def test_a_job_is_submitted_followed_and_its_result_taken(client: Any) -> None:
    job = client.submit("talk", tags={"film": "a"}, metadata={"n": 1}, priority="high")

    told = list(client.stream(job))

    assert sequence(told) == list(range(1, len(told) + 1))
    assert "Hello\nyou" in [each.text for each in told if isinstance(each, NarrationEvent)]
    assert [each.chunk for each in told if isinstance(each, OutputEvent)] == [
        "a token\nand more",
        {"n": 1},
    ]
    assert isinstance(told[-1], EndEvent)
    assert client.result(job) == {"ok": 1}
    record = client.get(job.id)
    assert (record.tags, record.metadata, record.priority) == ({"film": "a"}, {"n": 1}, "high")
    assert json.loads(record.raw)["id"] == job.id


def test_the_overview_counts_what_runs(client: Any, waiting_job: Any) -> None:
    until(lambda: client.get(waiting_job).state == "running")

    seen = client.overview()

    assert seen.running["gated"] == 1
    assert set(seen.queue) == {"low", "normal", "high", "critical"}
    assert seen.states["running"] >= 1
    assert seen.slots > 0
    assert not seen.draining


def test_a_stream_is_live(client: Any, gate: Path) -> None:
    job = client.submit("gated", {"gate": str(gate)})

    for event in client.stream(job):
        if isinstance(event, NarrationEvent) and event.text == "before 0":
            gate.touch()

    assert isinstance(event, EndEvent)


def test_a_stream_is_taken_up_by_another_reader_with_its_last_id(client: Any) -> None:
    job = client.submit("talk")
    whole = list(client.stream(job))
    with client.stream(job) as first:
        for _ in range(4):
            next(first)

    rest = list(client.stream(job, last_event_id=first.last_event_id))

    assert rest == whole[4:]
    assert list(client.stream(job, last_event_id=whole[-1].id)) == []


def test_leaving_a_stream_closes_its_connection(
    client: Any, server: ServerProcess, waiting_job: Any
) -> None:
    with client.stream(waiting_job) as stream:
        next(stream)
        until(lambda: server.streams() == 1, what="the stream")

    until(lambda: server.streams() == 0, what="its end")


def test_a_stream_that_nobody_holds_any_more_is_closed(
    client: Any, server: ServerProcess, waiting_job: Any
) -> None:
    for _ in client.stream(waiting_job):
        until(lambda: server.streams() == 1, what="the stream")
        break

    until(lambda: server.streams() == 0, what="its end")


def test_a_mode_and_a_level_and_a_tail_are_asked_for(client: Any) -> None:
    job = client.submit("talk")
    client.wait(job)

    cute = list(client.stream(job, mode="cute", level="warn"))

    assert [each.text for each in cute if isinstance(each, NarrationEvent)] == ["Hiya"]
    assert len(list(client.stream(job, tail=2))) == 2
    assert next(iter(client.stream(job, from_seq=5))).seq == 5


def test_a_story_so_far_ends_where_it_is(client: Any, waiting_job: Any) -> None:
    told = list(client.stream(waiting_job, follow=False))

    assert told
    assert not any(isinstance(each, EndEvent) for each in told)


def test_an_id_that_means_nothing_is_a_gap_and_an_error_only_if_asked(client: Any) -> None:
    job = client.submit("talk")

    told = list(client.stream(job, last_event_id="grün"))
    with pytest.raises(Gap, match="unknown_id") as raised:
        list(client.stream(job, last_event_id="grün", raise_on_gap=True))

    assert isinstance(told[0], GapEvent)
    assert sequence(told) == list(range(1, len(told)))
    assert raised.value.event.reason == "unknown_id"


def test_the_beginning_of_a_story_that_is_no_longer_kept_is_a_gap(opened: Open) -> None:
    with serving(log_limit=100) as server, opened(server.url) as client:
        job = client.submit("count", {"to": 300})
        client.wait(job)

        first, second, *_ = client.stream(job)

    assert isinstance(first, GapEvent)
    assert (first.from_, first.to, first.reason) == (1, second.seq - 1, "evicted")


def test_the_end_of_a_job_is_its_result_or_an_error(client: Any, gate: Path) -> None:
    failing, waiting = client.submit("fails"), client.submit("gated", {"gate": str(gate)})

    with pytest.raises(NotFinished) as pending:
        client.result(waiting, timeout_s=0.05)
    with pytest.raises(JobFailed, match="two\nlines") as failed:
        client.result(failing)
    assert client.cancel(waiting).state in {"cancelling", "cancelled"}
    with pytest.raises(JobCancelled, match="by client") as cancelled:
        client.result(waiting)

    assert pending.value.record.state in {"queued", "running"}
    assert (failed.value.reason, failed.value.record.attempts[0].outcome) == ("error", "error")
    assert cancelled.value.record.cancel is not None
    assert client.wait(failing).state == "failed"


def test_a_finished_job_is_run_again_with_other_params(client: Any) -> None:
    first = client.submit("count", {"to": 1})
    client.wait(first)

    second = client.retry(first, {"to": 2}, tags={"again": "yes"})

    assert client.result(second) == 2
    assert (second.retry_of, second.tags) == (first.id, {"again": "yes"})


def test_a_job_is_forgotten_once_it_has_ended(client: Any, waiting_job: Any) -> None:
    ended = client.submit("talk")
    client.wait(ended)

    client.delete(ended)

    with pytest.raises(NotFound, match=f"there is no job '{ended.id}'"):
        client.get(ended)
    with pytest.raises(NotFound):
        list(client.stream(ended))
    with pytest.raises(Conflict, match="wait for its end, or cancel it first"):
        client.delete(waiting_job)
    with pytest.raises(Conflict):
        client.cancel(client.wait(client.submit("talk")))


def test_jobs_are_listed_over_pages(client: Any) -> None:
    tag = f"list-{uuid4()}"
    ids = [client.submit("talk", tags={tag: "x"}).id for _ in range(5)]

    found = [each.id for each in client.list(page_size=2, tag=tag)]
    page = client.page(page_size=2, tag=f"{tag}:x", operation="talk")

    assert found == ids[::-1]
    assert (len(page.jobs), page.total) == (2, 5)
    assert client.page(cursor=page.next, page_size=9, tag=tag).next is None
    assert list(client.list(tag=tag, state=["cancelled", "failed"])) == []
    assert len(list(client.list(tag=tag, since=page.jobs[0].created_at))) == 1


def test_operations_have_their_schema(client: Any) -> None:
    (count,) = [each for each in client.operations() if each.name == "count"]

    assert count.schema["properties"]["to"]["type"] == "integer"


def test_wrong_params_name_the_field(client: Any) -> None:
    with pytest.raises(InvalidRequest) as raised:
        client.submit("count", {"to": "many"})

    assert [each.field for each in raised.value.errors] == ["body.params.to"]


def test_the_same_key_is_the_same_job(client: Any) -> None:
    key = f"a key {uuid4()}"
    first = client.submit("talk", idempotency_key=key)

    assert client.submit("talk", idempotency_key=key).id == first.id
    with pytest.raises(InvalidRequest, match="used before, for another request"):
        client.submit("fails", idempotency_key=key)


def test_the_same_key_is_the_same_retry(client: Any) -> None:
    key = f"a key {uuid4()}"
    old = client.submit("talk")
    client.wait(old)
    again = client.retry(old, idempotency_key=key)

    assert client.retry(old, idempotency_key=key).id == again.id != old.id
    with pytest.raises(InvalidRequest, match="used before, for another request"):
        client.submit("talk", idempotency_key=key)


def test_changes_of_all_jobs_are_followed(client: Any, server: ServerProcess) -> None:
    server.submit("talk")
    with client.changes() as changes:
        next(changes)  # the stream is open
        job = server.submit("talk", tags={"a": "b"})
        own = (each for each in changes if each.job_id == job["id"])
        told = [next(own) for _ in range(3)]

    assert [type(each) for each in told] == [JobStateEvent] * 3
    assert [each.state for each in told] == ["queued", "running", "completed"]
    assert told[0].tags == {"a": "b"}


def test_the_callers_span_is_the_parent_of_the_job(server: ServerProcess, opened: Open) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with opened(server.url) as client, tracer.start_as_current_span("caller") as span:
        job = client.submit("talk")
        client.wait(job)

    assert job.trace_id == trace.format_trace_id(span.get_span_context().trace_id)
    spans = server.client.get(f"/v1/jobs/{job.id}/trace").json()["spans"]
    assert [each["name"] for each in spans] == ["job talk"]
    assert spans[0]["parent_span_id"] == trace.format_span_id(span.get_span_context().span_id)


def test_a_full_queue_is_waited_out_if_that_is_asked_for(opened: Open, gate: Path) -> None:
    with serving(queue_limit=1, concurrency=1) as server:
        running = server.submit("gated", params={"gate": str(gate)})
        server.reaches(running["id"], "running")
        server.submit("gated", params={"gate": str(gate)})
        with (
            opened(server.url) as hasty,
            pytest.raises(Busy, match="which is the limit") as raised,
        ):
            hasty.submit("talk")
        gate.touch()
        with opened(server.url, patience=Patience(busy_s=WAIT_S)) as patient:
            assert patient.result(patient.submit("talk")) == {"ok": 1}

    assert raised.value.retry_after_s is not None


def test_nobody_there_is_told_with_what_to_do(opened: Open) -> None:
    with (
        opened("http://127.0.0.1:9", patience=Patience(calls_s=0)) as client,
        pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9/.*NARRATOR_SERVER"),
    ):
        client.get("a")


def test_a_server_that_hangs_is_given_up_after_the_timeout(opened: Open, gate: Path) -> None:
    def hang(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("timed out")

    with (
        opened("http://narrator.test", transport=httpx.MockTransport(hang)) as client,
        pytest.raises(Unreachable, match="timed out"),
    ):
        client.cancel("a")


def test_headers_of_the_callers_own_go_with_every_request(opened: Open) -> None:
    seen: list[str | None] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(204)

    transport = httpx.MockTransport(note)
    headers = {"authorization": "Bearer x"}
    with opened("http://narrator.test/work", transport=transport, headers=headers) as client:
        client.delete("a")
        assert list(client.stream("a")) == []

    assert seen == ["Bearer x"] * 2
    assert client.server == "http://narrator.test/work"

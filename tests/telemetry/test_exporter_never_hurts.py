"""A collector that hangs, refuses or fails costs its spans, and neither a job nor the exit."""

from pathlib import Path
from typing import Final

import pytest

from tests.telemetry.otlp_receiver import Mode, OtlpReceiver
from tests.telemetry.served import Server, samples, serving, until

JOBS: Final = 30
SPANS_OF_A_JOB: Final = 6
"""Request, job, wait, attempt and two of the handler's."""

BOUND_S: Final = 1.0
GENEROUS: Final = 15
"""The machine may be slow; unbounded, a hanging collector held the exit for 12 to 49 s."""

ROOM: Final = 16
"""Spans that may wait for export: far fewer than there are."""


def told_whole(server: Server, job_id: str) -> bool:
    """Whether the story has each of its messages, one after another, and its end."""
    events = server.events(job_id)
    told = [each["action"] for each in events if each["event"] == "narration"]
    return (
        [each["seq"] for each in events] == list(range(1, len(events) + 1))
        and events[-1]["event"] == "end"
        and told
        == [
            *("queued", "started", "outer", "item.packed"),
            *("in a task", "aside", "in a task", "outer", "completed"),
        ]
    )


def exported(server: Server) -> dict[str, float]:
    """What became of spans, by outcome; and those that found no room."""
    values = samples(server.metrics())
    return {
        "sent": values.get('narrator_exporter_spans_total{outcome="sent"}', 0),
        "failed": values.get('narrator_exporter_spans_total{outcome="failed"}', 0),
        "dropped": values["narrator_exporter_dropped_total"],
    }


@pytest.mark.parametrize("mode", [Mode.HANG, Mode.ERROR, Mode.REFUSE])
def test_a_collector_that_fails_costs_only_spans(tmp_path: Path, mode: Mode) -> None:
    with (
        OtlpReceiver(mode) as receiver,
        serving(
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_MAX_QUEUE_SIZE=str(ROOM),
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8",
            NARRATOR_TELEMETRY_SHUTDOWN_S=str(BOUND_S),
        ) as server,
    ):
        if mode is not Mode.REFUSE:
            server.run("coroutine")
            assert receiver.wait_for_requests(1)
        submitted = [server.submit("coroutine") for _ in range(JOBS)]
        records = [server.ended(each["id"]) for each in submitted]
        until(lambda: exported(server)["failed"], "a failed export")
        ready = server.client.get("/readyz")
        counts = exported(server)
        stories = [told_whole(server, each["id"]) for each in records]
        took_s = server.stop()
        log = server.log

    assert {each["state"] for each in records} == {"completed"}
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    (warning,) = ready.json()["warnings"]
    assert warning["name"] == "exporter"
    assert warning["message"] == "Spans do not reach the collector: none were sent yet."
    assert warning["failed"] > 0
    assert warning["dropped"] <= counts["dropped"]
    assert all(stories)
    assert counts["sent"] == 0
    assert mode is not Mode.HANG or counts["dropped"] > 0
    # whatever is not sent is counted, but for what waits and the batch under way
    lost = counts["failed"] + counts["dropped"]
    assert lost >= JOBS * SPANS_OF_A_JOB - ROOM - 8
    assert took_s < GENEROUS * BOUND_S
    assert server.process.returncode == 0
    assert log.count("\n") < 40  # each kind of complaint once, not once a span
    assert receiver.spans == []


def test_a_collector_that_comes_back_gets_what_ends_from_then_on(tmp_path: Path) -> None:
    with (
        OtlpReceiver(Mode.ERROR) as receiver,
        serving(
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT="0.2",
        ) as server,
    ):
        server.run("coroutine")
        until(lambda: exported(server)["failed"], "a failed export")
        before = server.client.get("/readyz").json()["warnings"]
        receiver.mode = Mode.HEALTHY
        record = server.run("coroutine")
        until(lambda: exported(server)["sent"], "an export")
        after = server.client.get("/readyz").json()["warnings"]
        server.stop()

    found = {each.span.name for each in receiver.spans}
    traces = {each.span.trace_id.hex() for each in receiver.spans}
    assert "job coroutine" in found
    assert (len(before), after) == (1, [])
    assert record["trace_id"] in traces

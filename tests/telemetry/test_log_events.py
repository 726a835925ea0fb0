"""Log-based events on a real server: what a real OTLP receiver got is what the stream tells."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.trace import TraceFlags

from telemetry import names
from telemetry.clock import wall_ns_of
from telemetry.names import Level
from telemetry.table import LOG_EVENT_ATTRIBUTES
from tests.telemetry.otlp_receiver import Mode, OtlpReceiver, ReceivedLog
from tests.telemetry.served import Caller, Server, samples, serving, trace_of, until
from tests.telemetry.test_exporter_never_hurts import BOUND_S, GENEROUS, told_whole

ON: Final = {"NARRATOR_LOG_EVENTS": "true"}
RETRIES: Final = {"max_attempts": 2, "base_delay_s": 0.01, "jitter": "none"}
OURS: Final = set(LOG_EVENT_ATTRIBUTES)


def logs_of(receiver: OtlpReceiver, job_id: str) -> list[ReceivedLog]:
    """The records of a job, by their number in its story."""
    found = [each for each in receiver.logs if each.attributes.get(names.JOB_ID) == job_id]
    return sorted(found, key=lambda each: int(each.attributes[names.NARRATION_SEQ]))


def told(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the records of these messages must say."""
    return [
        {
            "event_name": "narration.message",
            "body": each["text"],
            "time": wall_ns_of(each["at"]),
            "severity": (Level[each["level"].upper()].value, each["level"].upper()),
            "ids": (each["trace_id"] or "", each["span_id"] or ""),
            "fields": {k: v for k, v in each["fields"].items() if k not in OURS},
            "narration.seq": each["seq"],
            "narration.kind": each["kind"],
            "narration.actor": each["actor"],
            "narration.action": each["action"],
            "narration.cute": each.get("cute"),
            "narration.story": each.get("story"),
            "narration.length": each.get("truncated", {}).get("bytes"),
            "job.id": each["job_id"],
            "job.attempt": each["attempt"],
        }
        for each in messages
    ]


def arrived(logs: list[ReceivedLog]) -> list[dict[str, Any]]:
    """What these records say, in the same form."""
    return [
        {
            "event_name": each.record.event_name,
            "body": each.record.body.string_value,
            "time": each.record.time_unix_nano,
            "severity": (each.record.severity_number, each.record.severity_text),
            "ids": (each.record.trace_id.hex(), each.record.span_id.hex()),
            "fields": {k: v for k, v in each.attributes.items() if k not in OURS},
            **{name: each.attributes.get(name) for name in LOG_EVENT_ATTRIBUTES},
        }
        for each in logs
    ]


def arrives_whole(server: Server, receiver: OtlpReceiver, job_id: str) -> list[dict[str, Any]]:
    """The job's messages, once as many records of it have arrived, and say the same."""
    messages = server.messages(job_id)
    until(lambda: len(logs_of(receiver, job_id)) >= len(messages), "the log records")
    assert arrived(logs_of(receiver, job_id)) == told(messages)
    return messages


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OtlpReceiver, Server]]:
    """A receiver, and a server that sends it all that there is."""
    folder = tmp_path_factory.mktemp("log-events")
    with (
        OtlpReceiver() as receiver,
        serving(folder, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **ON) as server,
    ):
        yield receiver, server


@pytest.mark.parametrize(
    ("operation", "kinds", "fields"),
    [
        ("coroutine", {"lifecycle", "span_start", "span_end", "event", "narrate"}, {}),
        ("threaded", {"lifecycle", "span_start", "span_end", "narrate"}, {}),
        ("isolated", {"lifecycle", "span_start", "span_end", "event", "narrate"}, {}),
        ("closed", {"lifecycle", "span_start", "span_end", "event", "exception", "log"}, {}),
        ("open_hearted", {"lifecycle", "span_start", "span_end", "event", "exception", "log"}, {}),
        ("closed_child", {"lifecycle", "span_start", "span_end", "event", "exception", "log"}, {}),
        ("flaky", {"lifecycle"}, {"params": {"failures": 1}, "retry": RETRIES}),
        ("printing", {"lifecycle", "stdout", "stderr", "narrate"}, {}),
    ],
)
def test_the_log_records_are_the_narration_one_to_one(
    ran: tuple[OtlpReceiver, Server], operation: str, kinds: set[str], fields: dict[str, Any]
) -> None:
    receiver, server = ran
    record = server.run(operation, **fields)
    messages = arrives_whole(server, receiver, record["id"])
    trace = trace_of(receiver, record["trace_id"])

    assert {each["kind"] for each in messages} >= kinds
    logs = logs_of(receiver, record["id"])
    assert {each.record.flags & TraceFlags.SAMPLED for each in logs} == {1}
    assert {each.record.span_id for each in logs} <= {each.span.span_id for each in trace.spans}
    assert logs[0].resource == trace.spans[0].resource


def test_nothing_is_narrated_again_and_nothing_leaves_that_is_no_message(
    ran: tuple[OtlpReceiver, Server],
) -> None:
    receiver, server = ran
    records = [server.run(each) for each in ("closed", "closed_child")]
    messages = [arrives_whole(server, receiver, each["id"]) for each in records]
    jobs = {each.attributes.get(names.JOB_ID) for each in receiver.logs}

    assert {each.scope for each in receiver.logs} == {names.SCOPE}
    assert {server.record(str(each))["id"] for each in jobs} == jobs
    assert [server.messages(each["id"]) for each in records] == messages
    assert [len(logs_of(receiver, each["id"])) for each in records] == [*map(len, messages)]
    assert "Traceback" not in server.log


def test_without_the_setting_no_log_record_leaves(tmp_path: Path) -> None:
    with (
        OtlpReceiver() as receiver,
        serving(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as server,
    ):
        trace_of(receiver, server.run("closed")["trace_id"])
        server.stop()

    assert receiver.logs == []


@pytest.mark.parametrize(
    ("variables", "logs", "spans"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "{}", "OTEL_LOGS_EXPORTER": "none"}, False, True),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "{}/v1/logs"}, True, False),
        ({}, False, False),
    ],
)
def test_where_they_go_is_the_environments_to_say(
    tmp_path: Path, variables: dict[str, str], *, logs: bool, spans: bool
) -> None:
    with OtlpReceiver() as receiver:
        given = {name: text.format(receiver.endpoint) for name, text in variables.items()}
        with serving(tmp_path, **given, **ON) as server:
            record = server.run("coroutine")
            server.stop()
        log = server.log

    assert record["state"] == "completed"
    assert (bool(receiver.logs), bool(receiver.spans)) == (logs, spans)
    assert "rror" not in log


def test_the_records_of_an_unsampled_job_are_exported_and_say_that_it_is(tmp_path: Path) -> None:
    with (
        OtlpReceiver() as receiver,
        serving(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **ON) as server,
    ):
        record = server.submit("coroutine", headers=Caller.new(sampled=False).headers)
        server.ended(record["id"])
        arrives_whole(server, receiver, record["id"])
        server.stop()

    assert {each.record.flags & TraceFlags.SAMPLED for each in receiver.logs} == {0}
    assert [each for each in receiver.spans if each.span.name == "job coroutine"] == []


def test_what_was_told_just_before_the_end_is_sent_at_the_end(tmp_path: Path) -> None:
    with (
        OtlpReceiver() as receiver,
        serving(
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BLRP_SCHEDULE_DELAY="600000",
            **ON,
        ) as server,
    ):
        job_id = server.submit("endless")["id"]
        server.said(job_id, "ready")
        server.stop()

    said = [each.attributes["narration.action"] for each in logs_of(receiver, job_id)]
    assert said == ["queued", "started", "ready", "cancel_requested", "cancelled"]


def lost(server: Server) -> tuple[float, float, float]:
    """What became of log records: sent, failed, dropped."""
    values = samples(server.metrics())
    return (
        values['narrator_log_exporter_records_total{outcome="sent"}'],
        values['narrator_log_exporter_records_total{outcome="failed"}'],
        values["narrator_log_exporter_dropped_total"],
    )


@pytest.mark.parametrize("mode", [Mode.HANG, Mode.ERROR, Mode.REFUSE])
def test_a_collector_that_fails_costs_only_log_records(tmp_path: Path, mode: Mode) -> None:
    with (
        OtlpReceiver(mode) as receiver,
        serving(
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_TRACES_EXPORTER="none",
            OTEL_BLRP_MAX_QUEUE_SIZE="16",
            OTEL_BLRP_MAX_EXPORT_BATCH_SIZE="8",
            NARRATOR_TELEMETRY_SHUTDOWN_S=str(BOUND_S),
            **ON,
        ) as server,
    ):
        submitted = [server.submit("coroutine") for _ in range(20)]
        records = [server.ended(each["id"]) for each in submitted]
        until(lambda: lost(server)[1], "a failed export")
        ready = server.client.get("/readyz")
        stories = [told_whole(server, each["id"]) for each in records]
        messages = sum(len(server.messages(each["id"])) for each in records)
        sent, failed, dropped = lost(server)
        took_s = server.stop()
        log = server.log

    assert {each["state"] for each in records} == {"completed"}
    assert all(stories)
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    (warning,) = ready.json()["warnings"]
    assert (warning["name"], warning["signal"]) == ("exporter", "logs")
    assert warning["message"] == "Log records do not reach the collector: none were sent yet."
    assert sent == 0
    # whatever is not sent is counted, but for what waits and the batch under way
    assert failed + dropped >= messages - 16 - 8
    assert took_s < GENEROUS * BOUND_S
    assert server.process.returncode == 0
    assert log.count("\n") < 40  # each kind of complaint once, not once a record
    assert receiver.logs == []

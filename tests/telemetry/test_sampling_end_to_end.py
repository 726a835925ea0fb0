"""Full narration at any sampling rate, and an export that follows the rate, over a real server."""

from pathlib import Path
from typing import Any

import pytest

from tests.telemetry.otlp_receiver import OtlpReceiver
from tests.telemetry.served import Caller, Server, nodes_of, serving

RETRIES = {"max_attempts": 3, "base_delay_s": 0.0, "jitter": "none"}
JOBS = 60
RATIO = 0.3
"""Of random trace ids; the sampler exports those whose lower 64 bits lie below the bound."""


def story_of(server: Server, job_id: str) -> list[tuple[str, str]]:
    """What was narrated of a job: kinds and actions."""
    return [(each["kind"], each["action"]) for each in server.messages(job_id)]


def spans_of(server: Server, job_id: str) -> list[str]:
    return [node["name"] for node in nodes_of(server.trace(job_id)["spans"])]


def ids_of(records: list[dict[str, Any]]) -> set[str]:
    return {record["trace_id"] for record in records}


def is_sampled(trace_id: str) -> bool:
    """As `TraceIdRatioBased` decides (OpenTelemetry's trace SDK specification)."""
    return int(trace_id[16:], 16) < round(RATIO * 2**64)


OPERATIONS = ("coroutine", "threaded", "isolated")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The story and the spans of each operation where everything is sampled."""
    with serving(tmp_path_factory.mktemp("sampled")) as server:
        jobs = {operation: server.run(operation)["id"] for operation in OPERATIONS}
        return {
            operation: (story_of(server, job_id), spans_of(server, job_id))
            for operation, job_id in jobs.items()
        }


def test_an_unsampled_job_is_told_as_fully_as_a_sampled_one_and_not_exported(
    tmp_path: Path, expected: dict[str, Any]
) -> None:
    with OtlpReceiver() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        with serving(tmp_path, OTEL_TRACES_SAMPLER="always_off", **environment) as server:
            for operation in OPERATIONS:
                record = server.run(operation)
                told = story_of(server, record["id"]), spans_of(server, record["id"])

                assert told == expected[operation]
                assert record["attempts"][0]["span_id"]
            server.stop()

    assert receiver.requests == 0


def test_a_ratio_exports_whole_traces_and_narrates_all(
    tmp_path: Path, expected: dict[str, Any]
) -> None:
    environment = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(RATIO)}
    with (
        OtlpReceiver() as receiver,
        serving(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **environment) as server,
    ):
        submitted = [server.submit("coroutine") for _ in range(JOBS)]
        records = [server.ended(record["id"]) for record in submitted]
        stories = [story_of(server, record["id"]) for record in records]
        server.stop()

    assert stories == [expected["coroutine"][0]] * JOBS
    ours = ids_of(records)
    exported = [each for each in receiver.spans if each.span.trace_id.hex() in ours]
    sampled = {trace_id for trace_id in ours if is_sampled(trace_id)}
    names = ["POST /v1/jobs", "job coroutine", "job.wait", "job.attempt", "outer", "in a task"]
    assert sorted((each.span.trace_id.hex(), each.span.name) for each in exported) == sorted(
        (trace_id, name) for trace_id in sampled for name in names
    )


def test_a_job_of_an_unsampled_caller_is_told_and_not_exported(
    tmp_path: Path, expected: dict[str, Any]
) -> None:
    with OtlpReceiver() as receiver:
        with serving(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as server:
            for operation in OPERATIONS:
                caller = Caller.new(sampled=False)
                record = server.run(operation, headers=caller.headers)

                assert record["trace_id"] == caller.trace_id
                assert story_of(server, record["id"]) == expected[operation][0]
            server.stop()
        callers = {each.span.trace_id.hex() for each in receiver.spans}

    assert caller.trace_id not in callers
    assert not any(each.span.name.startswith("job ") for each in receiver.spans)


def test_the_sdks_limit_of_events_limits_the_trace_and_not_the_story(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        with serving(
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_SPAN_EVENT_COUNT_LIMIT="2",
        ) as server:
            record = server.run("flaky", params={"failures": 9}, retry=RETRIES)
            told = [m["action"] for m in server.messages(record["id"]) if m["kind"] == "lifecycle"]
            server.stop()
        (job,) = [each for each in receiver.spans if each.span.name == "job flaky"]

    again = ["attempt_failed", "retry_scheduled", "queued", "started"]
    assert told == ["queued", "started", *again, *again, "attempt_failed", "failed"]
    assert (len(job.span.events), job.span.dropped_events_count) == (2, len(told) - 2)

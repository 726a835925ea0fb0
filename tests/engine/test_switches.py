"""What can be switched off, each alone and all together: jobs run on, and nothing else is missing.

Narration and metrics are settings of ours; tracing is off as OpenTelemetry has it.
"""

from typing import Any

import pytest

from app.handlers.operation import Operation
from telemetry.names import MetricName
from tests.engine.harness import Bench, Handler, run
from tests.engine.operations import flaky, hang, sleep, speaks, speaks_in_a_thread
from tests.engine.processes import speaks_in_a_process

UNTRACED = {"OTEL_SDK_DISABLED": "true"}
SWITCHES: list[tuple[dict[str, bool], dict[str, str]]] = [
    ({}, {}),
    ({"narration": False}, {}),
    ({"metrics": False}, {}),
    ({}, UNTRACED),
    ({"narration": False, "metrics": False}, UNTRACED),
]
JOB_EVENTS = ["job.queued", "job.started", "job.completed"]
SPEAKERS = (speaks, speaks_in_a_thread, speaks_in_a_process)


@pytest.mark.parametrize(("settings", "environment"), SWITCHES)
def test_jobs_come_to_the_same_ends_whatever_is_off(
    settings: dict[str, bool], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async def test(bench: Bench) -> None:
        done = bench.submit("sleep", {"value": "done"})
        again = bench.submit("flaky", {"times": 1}, retry={"max_attempts": 2})
        failed = bench.submit("flaky", {"times": 1})
        late = bench.submit("hang", timeout_s=1)
        cancelled = bench.submit("hang")
        await bench.at(0.5)
        bench.engine.cancel(cancelled)
        for job_id in (done, again, failed, late, cancelled):
            await bench.ended(job_id)

        assert bench.record(done).result == "done"
        assert bench.states(again)[2:] == ["retrying", "queued", "running", "completed"]
        assert bench.state(failed) == "failed/error"
        assert bench.state(late) == "failed/timeout"
        assert bench.states(cancelled) == ["queued", "running", "cancelling", "cancelled"]

    run(test, sleep, flaky, hang, **settings)


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_without_narration_a_story_has_only_what_is_none(speaker: Handler) -> None:
    async def test(bench: Bench) -> None:
        job_id = await _spoken(bench, speaker)

        assert _named(bench, job_id) == ["state", "state", "progress", "output", "state", "end"]
        assert bench.progress(job_id) == [0.5]
        assert bench.output(job_id) == ["chunk"]
        assert bench.total(MetricName.MESSAGES) == 0

    run(test, speaker, narration=False)


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_without_narration_the_trace_still_tells_what_was_said_on_its_spans(
    speaker: Handler,
) -> None:
    async def test(bench: Bench) -> None:
        job_id = await _spoken(bench, speaker)
        names = {event.name for event in bench.spans("job.attempt", job_id)[0].events}
        (job,) = bench.spans(f"job {_name(speaker)}", job_id)

        assert {"load", "an event"} <= names
        assert [event.name for event in job.events] == JOB_EVENTS

    run(test, speaker, narration=False)


def test_without_narration_jobs_are_counted() -> None:
    async def test(bench: Bench) -> None:
        await _spoken(bench, speaks)

        assert bench.total(MetricName.FINISHED) == 1

    run(test, speaks, narration=False)


def test_without_metrics_all_is_told_and_traced() -> None:
    async def test(bench: Bench) -> None:
        job_id = await _spoken(bench, speaks)

        assert bench.narrator.metrics is None
        assert "Loading forest" in bench.texts(job_id)
        assert bench.moments(job_id) == ["queued", "started", "completed"]
        assert bench.spans("job.attempt", job_id)

    run(test, speaks, metrics=False)


def test_without_tracing_what_is_narrated_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    async def test(bench: Bench) -> None:
        job_id = await _spoken(bench, speaks)

        assert bench.record(job_id).trace_id is None
        assert {"Loading forest", "a log line"} <= {*bench.texts(job_id)}
        assert "an event" not in bench.texts(job_id)
        assert bench.moments(job_id) == ["queued", "started", "completed"]
        assert bench.total(MetricName.FINISHED) == 1

    run(test, speaks)


def _name(handler: Any) -> str:
    return handler.name if isinstance(handler, Operation) else handler.__name__


async def _spoken(bench: Bench, speaker: Handler) -> str:
    """The id of a job of `speaker` that has ended well."""
    job_id = bench.submit(_name(speaker))
    with bench.hold():
        record = await bench.ended(job_id)
    assert record.result == "spoken"
    return job_id


def _named(bench: Bench, job_id: str) -> list[str]:
    return [each["event"] for each in bench.events(job_id)]

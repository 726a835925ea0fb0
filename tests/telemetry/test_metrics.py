import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from telemetry.clock import SystemClock
from telemetry.exemplars import INTERVAL_S, LIMIT
from telemetry.metrics import Metrics
from telemetry.names import (
    CancelOrigin,
    DropReason,
    GapReason,
    Kind,
    Level,
    MetricName,
    Outcome,
    Priority,
    Reason,
    State,
    TimeoutKind,
)
from telemetry.table import METRICS, MetricType
from tests.telemetry.prometheus import asked, needs_prometheus, polled, prometheus

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
JOB_ID = "6f1c2b1e-8a4d-4c5e-9f00-0123456789ab"


class _Engine:
    """A truth with numbers of its own."""

    def queue_depth(self) -> Mapping[Priority, int]:
        return {Priority.NORMAL: 3, Priority.HIGH: 1}

    def oldest_age_s(self) -> Mapping[Priority, float]:
        return {Priority.NORMAL: 2.5}

    def running(self) -> Mapping[str, int]:
        return {"render": 2, "echo": 0}

    def retrying(self) -> Mapping[str, int]:
        return {"render": 1, "echo": 0}

    def deferred(self) -> int:
        return 4

    def retained_jobs(self) -> int:
        return 5

    def retained_bytes(self) -> int:
        return 6000

    def slots(self) -> int:
        return 8


class FixedClock(SystemClock):
    """It is always ten seconds past the epoch."""

    wall_ns = staticmethod(lambda: 10_000_000_000)


def everything(metrics: Metrics) -> None:
    """One of each fact."""
    metrics.observe(_Engine())
    metrics.submitted("render", Priority.HIGH)
    metrics.refused("queue_full")
    metrics.waited("render", Priority.HIGH, 0.2, 0xABC, 0xDEF, JOB_ID)
    metrics.ran("render", Outcome.COMPLETED, 3.0, 0xABC, 0xDEF, JOB_ID)
    metrics.attempted("render", Outcome.ERROR)
    metrics.retried("render", Outcome.ERROR)
    metrics.timed_out("render", TimeoutKind.QUEUE)
    metrics.cancelled("render", CancelOrigin.CLIENT)
    metrics.stopped_after("render", CancelOrigin.CLIENT, 0.5)
    metrics.finished("render", State.FAILED, Reason.ERROR)
    metrics.finished("render", State.COMPLETED, None)
    metrics.abandoned("render")
    metrics.loop_lag(0.002)
    metrics.committed(0.003, 5)
    metrics.commit_failed("store-full")
    metrics.answered("GET", "/v1/jobs", 200, 0.25)
    metrics.narrated(Kind.NARRATE, Level.INFO.label)
    metrics.dropped(DropReason.LATE)
    metrics.dropped(DropReason.OVERFLOW, 7)
    metrics.stream_opened()
    metrics.stream_opened()
    metrics.stream_closed()
    metrics.delivered(10)
    metrics.replayed(20)
    metrics.gap(GapReason.EVICTED)
    metrics.slow_reader()
    metrics.spans_exported.observe_export_queue(lambda: 12)
    metrics.spans_exported.exported(30)
    metrics.spans_exported.export_failed(2)
    metrics.spans_exported.exporter_dropped(3)
    metrics.logs_exported.observe_export_queue(lambda: 13)
    metrics.logs_exported.exported(31)
    metrics.logs_exported.export_failed(4)
    metrics.logs_exported.exporter_dropped(5)


def samples(metrics: Metrics) -> Iterator[Sample]:
    body, _ = metrics.render(OPENMETRICS)
    for family in parse_openmetrics(body.decode()):  # type: ignore[no-untyped-call] # has no types
        yield from family.samples


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = [s.value for s in samples(metrics) if s.name == name and s.labels == labels]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def test_what_is_registered_is_what_is_published() -> None:
    metrics = Metrics()
    everything(metrics)
    body, _ = metrics.render("text/plain")
    registered = {}
    for family in parse_text(body.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        registered[name] = (family.type, labels)

    assert registered == {row.name: (row.type, set(row.labels)) for row in METRICS}


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("narrator_queue_depth", {"priority": "normal"}, 3),
        ("narrator_queue_depth", {"priority": "critical"}, 0),
        ("narrator_queue_oldest_age_seconds", {"priority": "normal"}, 2.5),
        ("narrator_queue_oldest_age_seconds", {"priority": "low"}, 0),
        ("narrator_jobs_running", {"operation": "render"}, 2),
        ("narrator_jobs_running", {"operation": "echo"}, 0),
        ("narrator_jobs_retrying", {"operation": "render"}, 1),
        ("narrator_jobs_deferred", {}, 4),
        ("narrator_jobs_retained", {}, 5),
        ("narrator_retained_bytes", {}, 6000),
        ("narrator_worker_slots", {}, 8),
        ("narrator_jobs_submitted_total", {"operation": "render", "priority": "high"}, 1),
        ("narrator_submissions_refused_total", {"reason": "queue_full"}, 1),
        (
            "narrator_jobs_finished_total",
            {"operation": "render", "outcome": "failed", "reason": "error"},
            1,
        ),
        (
            "narrator_jobs_finished_total",
            {"operation": "render", "outcome": "completed", "reason": ""},
            1,
        ),
        ("narrator_job_wait_seconds_sum", {"operation": "render", "priority": "high"}, 0.2),
        ("narrator_job_run_seconds_sum", {"operation": "render", "outcome": "completed"}, 3),
        (
            "narrator_job_run_seconds_bucket",
            {"operation": "render", "outcome": "completed", "le": "2.5"},
            0,
        ),
        (
            "narrator_job_run_seconds_bucket",
            {"operation": "render", "outcome": "completed", "le": "5.0"},
            1,
        ),
        ("narrator_attempts_total", {"operation": "render", "outcome": "error"}, 1),
        ("narrator_retries_total", {"operation": "render", "reason": "error"}, 1),
        ("narrator_timeouts_total", {"operation": "render", "kind": "queue"}, 1),
        ("narrator_cancellations_total", {"operation": "render", "origin": "client"}, 1),
        ("narrator_cancellation_seconds_sum", {"operation": "render", "origin": "client"}, 0.5),
        ("narrator_handlers_abandoned_total", {"operation": "render"}, 1),
        ("narrator_streams_open", {}, 1),
        ("narrator_messages_total", {"source": "narrate", "level": "info"}, 1),
        ("narrator_messages_dropped_total", {"reason": "late"}, 1),
        ("narrator_messages_dropped_total", {"reason": "overflow"}, 7),
        ("narrator_messages_delivered_total", {}, 10),
        ("narrator_messages_replayed_total", {}, 20),
        ("narrator_stream_gaps_total", {"reason": "evicted"}, 1),
        ("narrator_slow_readers_total", {}, 1),
        ("narrator_event_loop_lag_seconds_count", {}, 1),
        ("narrator_store_commit_seconds_count", {}, 1),
        ("narrator_store_events_total", {}, 5),
        ("narrator_store_failures_total", {"reason": "store-full"}, 1),
        (
            "narrator_http_answer_seconds_sum",
            {"method": "GET", "route": "/v1/jobs", "status": "200"},
            0.25,
        ),
        ("narrator_exporter_spans_total", {"outcome": "sent"}, 30),
        ("narrator_exporter_spans_total", {"outcome": "failed"}, 2),
        ("narrator_exporter_dropped_total", {}, 3),
        ("narrator_exporter_queue_length", {}, 12),
        ("narrator_exporter_last_success_timestamp_seconds", {}, 10),
        ("narrator_log_exporter_records_total", {"outcome": "sent"}, 31),
        ("narrator_log_exporter_records_total", {"outcome": "failed"}, 4),
        ("narrator_log_exporter_dropped_total", {}, 5),
        ("narrator_log_exporter_queue_length", {}, 13),
        ("narrator_log_exporter_last_success_timestamp_seconds", {}, 10),
    ],
)
def test_a_metric_has_the_value_of_what_happened(
    name: str, labels: dict[str, str], expected: float
) -> None:
    metrics = Metrics(clock=FixedClock())
    everything(metrics)

    assert value(metrics, name, **labels) == expected


def test_two_servers_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.submitted("render", Priority.LOW)
    first.submitted("render", Priority.LOW)
    second.submitted("render", Priority.LOW)

    name = "narrator_jobs_submitted_total"
    assert value(first, name, operation="render", priority="low") == 2
    assert value(second, name, operation="render", priority="low") == 1


def test_gauges_read_the_truth_at_every_scrape() -> None:
    class Changing(_Engine):
        waiting = 0

        def deferred(self) -> int:
            return self.waiting

    metrics, truth = Metrics(), Changing()
    metrics.observe(truth)
    before = value(metrics, "narrator_jobs_deferred")
    truth.waiting = 9

    assert (before, value(metrics, "narrator_jobs_deferred")) == (0, 9)


def test_without_an_engine_its_gauges_have_no_value() -> None:
    names = {sample.name for sample in samples(Metrics())}

    assert "narrator_jobs_deferred" not in names


@pytest.mark.parametrize("name", ["narrator_job_wait_seconds", "narrator_job_run_seconds"])
def test_an_exemplar_links_to_the_trace_and_the_job(name: str) -> None:
    metrics = Metrics()
    everything(metrics)
    exemplars = [s.exemplar for s in samples(metrics) if s.name == f"{name}_bucket" and s.exemplar]

    assert [exemplar.labels for exemplar in exemplars] == [
        {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}", "job_id": JOB_ID}
    ]


@pytest.mark.parametrize("length", [36, 63, 64, 500])
def test_an_exemplar_is_never_too_long(length: int) -> None:
    metrics = Metrics()
    metrics.ran("render", Outcome.ERROR, 1.0, 2**128 - 1, 2**64 - 1, "x" * length)
    labels = next(s.exemplar.labels for s in samples(metrics) if s.exemplar)
    size = sum(len(key) + len(text) for key, text in labels.items())

    assert size <= LIMIT
    assert ("job_id" in labels) == (length + 77 <= LIMIT)


class _SteppedClock(SystemClock):
    """A clock that is told what time it is."""

    now = 0.0

    def __init__(self) -> None:
        self.monotonic = lambda: self.now


def test_a_bucket_takes_a_new_exemplar_once_an_interval_and_loses_no_measurement() -> None:
    clock = _SteppedClock()
    metrics = Metrics(clock=clock)
    steps = ((0.0, 1, 0.3), (0.1, 2, 0.4), (0.2, 3, 99.0), (INTERVAL_S, 4, 0.4), (1.5, 5, 0.4))
    kept = []
    for clock.now, trace_id, seconds in steps:
        metrics.ran("render", Outcome.ERROR, seconds, trace_id, 1, JOB_ID)
        kept.append(
            [int(s.exemplar.labels["trace_id"], 16) for s in samples(metrics) if s.exemplar]
        )

    assert kept == [[1], [1], [1, 3], [4, 3], [4, 3]]
    name = "narrator_job_run_seconds_count"
    assert value(metrics, name, operation="render", outcome="error") == len(steps)


def test_a_measurement_without_a_trace_has_no_exemplar() -> None:
    metrics = Metrics()
    metrics.ran("render", Outcome.ERROR, 1.0, 0, 0, JOB_ID)

    assert not any(sample.exemplar for sample in samples(metrics))


def test_counters_of_an_operation_are_there_before_anything_is_counted() -> None:
    metrics, counted = Metrics(), Metrics()
    metrics.expect(["render"])
    everything(counted)
    begun = {(s.name, *sorted(s.labels.items())): s.value for s in samples(metrics)}
    moved = {
        (s.name, *sorted(s.labels.items()))
        for s in samples(counted)
        if s.name.endswith("_total") and "operation" in s.labels
    }

    assert moved <= begun.keys()
    assert {value for key, value in begun.items() if key in moved} == {0}


def test_openmetrics_is_given_to_those_who_accept_it() -> None:
    metrics = Metrics()
    everything(metrics)
    body, content_type = metrics.render(OPENMETRICS)

    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert b' # {job_id="' in body


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        ";;;,,,",
        "application/openmetrics-text;version=none",
        "application/openmetrics-text;version=1.x",
        "text/plain;version=\N{SNOWMAN};escaping=what",
        "application/openmetrics-text;version",
    ],
)
def test_any_accept_header_gets_an_exposition(accept: str) -> None:
    body, content_type = Metrics().render(accept)

    assert b"narrator_streams_open 0.0" in body
    assert content_type.isascii()


def test_no_series_is_doubled_by_its_creation_time() -> None:
    metrics = Metrics()
    everything(metrics)

    assert b"_created" not in metrics.render(OPENMETRICS)[0]
    assert b"_created" not in metrics.render("text/plain")[0]


def test_many_threads_lose_no_count() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(1000):
            metrics.narrated(Kind.EVENT, "info")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert value(metrics, "narrator_messages_total", source="event", level="info") == 4000


@needs_prometheus
def test_promtool_finds_no_fault_with_the_exposition() -> None:
    metrics = Metrics()
    everything(metrics)
    body, _ = metrics.render("text/plain")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=body, capture_output=True, check=False
    )

    assert (checked.returncode, checked.stderr + checked.stdout) == (0, b"")


@contextmanager
def served(metrics: Metrics) -> Iterator[int]:
    """`metrics` over HTTP on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = metrics.render(self.headers.get("accept", ""))
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@needs_prometheus
def test_a_real_prometheus_scrapes_values_types_and_exemplars(tmp_path: Path) -> None:
    metrics = Metrics()
    everything(metrics)
    with served(metrics) as port, prometheus(port, tmp_path) as address:
        found = polled(address, "query", query="narrator_messages_dropped_total")
        series = {row["metric"]["reason"]: row["value"][1] for row in found["result"]}
        exemplars = polled(
            address,
            "query_exemplars",
            query="narrator_job_run_seconds_bucket",
            start=str(time.time() - 600),
            end=str(time.time() + 600),
        )
        metadata = asked(address, "metadata")

    assert series == {"late": "1", "overflow": "7", "error": "0"}
    assert exemplars[0]["exemplars"][0]["labels"]["job_id"] == JOB_ID
    for row in METRICS:
        name = row.name.removesuffix("_total") if row.type is MetricType.COUNTER else row.name
        assert metadata[name][0]["type"] == row.type
    assert len(MetricName) == len(METRICS)

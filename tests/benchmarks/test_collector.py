"""What a collector costs a job, healthy or not: the CPU of the whole process, exporter included."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.benchmarks.measuring import Measure
from tests.benchmarks.recording import Record, Size
from tests.benchmarks.servers import Tool
from tests.telemetry.otlp_receiver import Mode, OtlpReceiver

JOBS = 200
"""Of one round; their spans fill the exporter's batch more than once."""


@pytest.fixture(scope="module")
def healthy() -> Iterator[Tool]:
    """A process whose spans arrive."""
    with exporting(Mode.HEALTHY) as started:
        yield started


@pytest.mark.parametrize("mode", [Mode.HANG, Mode.REFUSE, Mode.ERROR])
def test_a_collector_that_fails_beside_a_healthy_one(
    record: Record, size: Size, healthy: Tool, mode: Mode
) -> None:
    count = size.of(JOBS, 20)
    with exporting(mode) as failing:
        record.pair(
            f"collector-{mode}",
            job_us(failing, count),
            job_us(healthy, count),
            rounds=size.of(15, 1),
            warmup=2,
        )


def test_a_healthy_collector_beside_none(record: Record, size: Size, healthy: Tool) -> None:
    count = size.of(JOBS, 20)
    with Tool("job_process") as alone:
        record.pair(
            "collector-healthy",
            job_us(healthy, count),
            job_us(alone, count),
            rounds=size.of(15, 1),
            warmup=2,
        )


@contextmanager
def exporting(mode: Mode) -> Iterator[Tool]:
    """A process whose spans go to such a collector, by the exporter's default settings."""
    with ExitStack() as stack:
        receiver = stack.enter_context(OtlpReceiver(mode))
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        yield stack.enter_context(Tool("job_process", **endpoint))


def job_us(process: Tool, count: int) -> Measure:
    """CPU microseconds of a job; what its process does until the next round counts as well."""
    before = 0.0

    def measure() -> float:
        nonlocal before
        total = float(process.ask(do="run", what="job", count=count)["total_s"])
        before, since = total, total - before
        return since / count * 1e6

    return measure

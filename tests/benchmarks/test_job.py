"""The whole job, with everything on and with what can be switched off; and how many a second.

The reference of the first three makes the same spans and events by hand, in the same process.
"""

from collections.abc import Iterator
from contextlib import closing

import pytest
from opentelemetry.context import Context
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.conftest import Record, Size
from tests.benchmarks.engines import BATCH, Ours, Taskiq
from tests.benchmarks.measuring import Measure, Rounds, cpu_each, in_turn
from tests.benchmarks.works import LIBRARY, one_job, provider

JOBS = 60
"""Of one round."""

WARM = 1200
"""Jobs before the first round: more than are kept, so that each job also makes one be forgotten."""


@pytest.fixture(scope="module")
def ours(size: Size) -> Iterator[Ours]:
    """An engine that has run for a while."""
    with closing(Ours(provider())) as running:
        running.run(size.of(WARM, BATCH), "ten_events")
        yield running


@pytest.mark.parametrize(
    ("key", "operation", "readers"),
    [("job", "ten_events", 1), ("job-unread", "ten_events", 0), ("job-own-spans", "own_spans", 1)],
)
def test_the_whole_job(
    benchmark: BenchmarkFixture,
    record: Record,
    size: Size,
    ours: Ours,
    key: str,
    operation: str,
    readers: int,
) -> None:
    count = size.of(JOBS, BATCH)
    job = cpu_each(lambda: ours.run(count, operation, readers=readers), count)

    found = in_turn(benchmark, job, bare(count), rounds=size.of(40, 1))

    record.pair(key, found)


def test_without_a_reader(
    benchmark: BenchmarkFixture, record: Record, size: Size, ours: Ours
) -> None:
    count = size.of(JOBS, BATCH)
    unread = cpu_each(lambda: ours.run(count, "ten_events"), count)
    read = cpu_each(lambda: ours.run(count, "ten_events", readers=1), count)

    found = in_turn(benchmark, unread, read, rounds=size.of(30, 1))

    record.pair("off-reader", found)


def test_with_tracing_off(
    benchmark: BenchmarkFixture,
    record: Record,
    size: Size,
    ours: Ours,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As OpenTelemetry's own switch has it; `narrate` would still be told, span events are not."""
    count = size.of(JOBS, BATCH)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with closing(Ours(provider())) as untraced:
        monkeypatch.undo()
        untraced.run(size.of(WARM, BATCH), "ten_events", readers=1)
        off = cpu_each(lambda: untraced.run(count, "ten_events", readers=1), count)
        on = cpu_each(lambda: ours.run(count, "ten_events", readers=1), count)
        found = in_turn(benchmark, off, on, rounds=size.of(30, 1))

    record.pair("off-tracing", found)


def test_narrated_jobs_beside_traced_ones(
    benchmark: BenchmarkFixture, record: Record, size: Size, ours: Ours
) -> None:
    count = size.of(100, BATCH)
    with closing(Taskiq(traced=True)) as taskiq:
        narrated = cpu_each(lambda: ours.run(count, "ten_events"), count)
        traced = cpu_each(lambda: taskiq.run(count), count)
        found = in_turn(benchmark, narrated, traced, rounds=size.of(40, 1))

    record.pair("throughput", per_second(found))


def test_jobs_that_do_nothing(
    benchmark: BenchmarkFixture, record: Record, size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = size.of(100, BATCH)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with closing(Ours(provider())) as ours, closing(Taskiq(traced=False)) as taskiq:
        monkeypatch.undo()
        ours.run(size.of(WARM, BATCH), "noop")
        unobserved = cpu_each(lambda: ours.run(count, "noop"), count)
        plain = cpu_each(lambda: taskiq.run(count), count)
        found = in_turn(benchmark, unobserved, plain, rounds=size.of(40, 1))

    record.pair("throughput-noop", per_second(found))


def bare(count: int) -> Measure:
    """Three spans and ten events by hand, `count` times."""
    tracer = provider().get_tracer(LIBRARY)

    def work() -> None:
        for _ in range(count):
            one_job(tracer, Context())

    return cpu_each(work, count)


def per_second(found: Rounds) -> Rounds:
    """Jobs per CPU second, from microseconds each: one core, and no noise of other processes."""
    return Rounds(
        ours=[1e6 / each for each in found.ours], reference=[1e6 / each for each in found.reference]
    )

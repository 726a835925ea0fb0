"""The whole job, with everything on and with what can be switched off; and how many a second.

The reference of the first three makes the same spans and events by hand, in the same process.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

from tests.benchmarks.engines import BATCH, Ours, Taskiq
from tests.benchmarks.measuring import Measure, cpu_each
from tests.benchmarks.recording import Record, Size
from tests.benchmarks.works import LIBRARY, one_job, provider

JOBS = 600
"""Of one round: enough that each has a collection of the whole heap, which few would not have."""

WARM = 1200
"""Jobs before the first round: more than are kept, so that each job also makes one be forgotten."""


@contextmanager
def running(size: Size, tracer_provider: TracerProvider, **settings: Any) -> Iterator[Ours]:
    """An engine that has run for a while."""
    with closing(Ours(tracer_provider, **settings)) as engine:
        engine.run(size.of(WARM, BATCH), "ten_events")
        yield engine


@pytest.fixture(scope="module")
def ours(size: Size) -> Iterator[Ours]:
    """An engine with everything on."""
    with running(size, provider()) as engine:
        yield engine


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """A provider whose tracers make no spans, as OpenTelemetry's own switch has it."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    disabled = provider()
    monkeypatch.undo()
    return disabled


@pytest.fixture
def all_off(size: Size, untraced: TracerProvider) -> Iterator[Ours]:
    """An engine with everything off that can be switched off."""
    with running(size, untraced, narration=False, metrics=False) as engine:
        yield engine


@pytest.mark.parametrize(
    ("key", "operation", "readers"),
    [("job", "ten_events", 1), ("job-unread", "ten_events", 0), ("job-own-spans", "own_spans", 1)],
)
def test_the_whole_job(
    record: Record, size: Size, ours: Ours, *, key: str, operation: str, readers: int
) -> None:
    count = size.of(JOBS, BATCH)

    record.pair(
        key, jobs(ours, operation, count, readers=readers), by_hand(count), rounds=size.of(9, 1)
    )


def test_without_a_reader(record: Record, size: Size, ours: Ours) -> None:
    beside_all_on(record, size, ours, "off-reader", ours, readers=0)


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("off-narration", {"narration": False}),
        ("off-metrics", {"metrics": False}),
        ("off-fast-events", {"fast_events": False}),
    ],
)
def test_with_a_part_switched_off(
    record: Record, size: Size, ours: Ours, *, key: str, settings: dict[str, bool]
) -> None:
    with running(size, provider(), **settings) as engine:
        beside_all_on(record, size, ours, key, engine)


def test_with_tracing_off(record: Record, size: Size, ours: Ours, untraced: TracerProvider) -> None:
    """What `narrate` says would still be told; the events of spans that do not exist are not."""
    with running(size, untraced) as engine:
        beside_all_on(record, size, ours, "off-tracing", engine)


def test_with_everything_off(record: Record, size: Size, ours: Ours, all_off: Ours) -> None:
    beside_all_on(record, size, ours, "off-all", all_off)


def test_narrated_jobs_beside_traced_ones(record: Record, size: Size, ours: Ours) -> None:
    count = size.of(JOBS, BATCH)
    with closing(Taskiq(traced=True)) as taskiq:
        record.pair(
            "throughput",
            per_second(jobs(ours, "ten_events", count)),
            per_second(cpu_each(lambda: taskiq.run(count), count)),
            rounds=size.of(7, 1),
        )


def test_jobs_that_do_nothing(record: Record, size: Size, all_off: Ours) -> None:
    count = size.of(JOBS, BATCH)
    with closing(Taskiq(traced=False)) as taskiq:
        record.pair(
            "throughput-noop",
            per_second(jobs(all_off, "noop", count)),
            per_second(cpu_each(lambda: taskiq.run(count), count)),
            rounds=size.of(7, 1),
        )


def beside_all_on(  # noqa: PLR0917 - what pytest gives, and two more
    record: Record, size: Size, ours: Ours, key: str, engine: Ours, readers: int = 1
) -> None:
    """Measure a job of `engine` with so many readers beside one with everything on."""
    count = size.of(JOBS, BATCH)
    record.pair(
        key,
        jobs(engine, "ten_events", count, readers=readers),
        jobs(ours, "ten_events", count, readers=1),
        rounds=size.of(7, 1),
    )


def jobs(engine: Ours, operation: str, count: int, *, readers: int = 0) -> Measure:
    """CPU microseconds of one job of `count`."""
    return cpu_each(lambda: engine.run(count, operation, readers=readers), count)


def by_hand(count: int) -> Measure:
    """Three spans and ten events without a job, `count` times."""
    tracer = provider().get_tracer(LIBRARY)

    def work() -> None:
        for _ in range(count):
            one_job(tracer, Context())

    return cpu_each(work, count)


def per_second(each_us: Measure) -> Measure:
    """How many in one CPU second: on one core, whatever else the machine does."""
    return lambda: 1e6 / each_us()

"""What narration adds to a span and to an event: tapped, formatted, numbered, encoded and kept.

The reference is the bare SDK, measured in turn with the subject, round by round, so that a machine
that is slow for a while is slow for both. Only the ratio means something elsewhere. No reader is
attached: what readers cost is another measurement.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from pytest_benchmark.fixture import BenchmarkFixture

from narration.hub import Limits, Narration
from narration.scope import Disclosure, Scope, with_scope
from telemetry.metrics import Metrics

ROUNDS = 200
REPEATS = 200
"""Of the measured thing in one round."""

Work = Callable[[trace.Tracer, Context], None]


def events(tracer: trace.Tracer, context: Context) -> None:
    """Events with two attributes, on one span."""
    span = tracer.start_span("work", context)
    for number in range(REPEATS):
        span.add_event("step", {"number": number, "name": "barn"})
    span.end()


def spans(tracer: trace.Tracer, context: Context) -> None:
    """Spans with two attributes and no event."""
    for number in range(REPEATS):
        tracer.start_span("work", context, attributes={"number": number, "name": "barn"}).end()


def jobs(tracer: trace.Tracer, context: Context) -> None:
    """A span with ten events and a child, as a small job has them."""
    for _ in range(REPEATS // 10):
        with tracer.start_as_current_span("work", context):
            for number in range(10):
                trace.get_current_span().add_event("step", {"number": number, "name": "barn"})
            tracer.start_span("child").end()


@pytest.mark.parametrize("work", [events, spans, jobs], ids=lambda work: work.__name__)
def test_what_narration_adds_to_the_bare_sdk(
    benchmark: BenchmarkFixture, work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    ratio, kept = asyncio.run(measure(benchmark, work))

    benchmark.extra_info["ratio to the bare SDK"] = round(ratio, 3)
    with capsys.disabled():
        sys.stdout.write(f"\n{work.__name__}: narrated / bare SDK = {ratio:.2f} (medians)\n")
    assert kept == Limits().log_events  # all of it was told: the ring is full


async def measure(benchmark: BenchmarkFixture, work: Work) -> tuple[float, int]:
    """The ratio of medians, and the events that the story has kept; on the loop's thread."""
    bare, tapped = provider().get_tracer("app.shop"), provider()
    narration = Narration(tapped, counters=Metrics())
    opened = narration.open_story("job")
    scope = Scope(story=opened.story, actor="shop", disclosure=Disclosure())
    narrated = tapped.get_tracer("app.shop"), with_scope(scope, Context())
    reference: list[float] = []

    def before_each_round() -> tuple[tuple[Any, ...], dict[str, Any]]:
        begun = time.perf_counter()
        work(bare, Context())
        reference.append(time.perf_counter() - begun)
        return narrated, {}

    untyped: Any = benchmark
    untyped.pedantic(work, setup=before_each_round, rounds=ROUNDS, warmup_rounds=5)
    median = statistics.median(reference[-ROUNDS:])
    return untyped.stats.stats.median / median, opened.log.next - opened.log.first


def provider() -> TracerProvider:
    """A provider that samples everything and exports nothing."""
    return TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)

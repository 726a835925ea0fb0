"""Real providers and a real story to watch: shared by the tests of the tap and its neighbours."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from narration.events import Event, NarrationEvent
from narration.scope import Disclosure, Scope, with_scope
from narration.story import Consumer, Story
from telemetry.clock import SystemClock
from telemetry.names import DropReason


class Heard:
    """A log that keeps all it is given, in order."""

    def __init__(self) -> None:
        self.events: list[NarrationEvent] = []

    def append(self, event: Event) -> int | None:
        """Keep `event`; its place in the order is its number."""
        assert isinstance(event, NarrationEvent)
        self.events.append(event)
        return len(self.events)

    @property
    def lines(self) -> list[str]:
        """What was heard, each as `kind action`."""
        return [f"{event.kind} {event.action}" for event in self.events]


class Sink:
    """Notes the names of the spans that start and end."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, span: Span) -> None:
        """Note the start."""
        self.names.append(f"+{span.name}")

    def ended(self, span: ReadableSpan) -> None:
        """Note the end."""
        self.names.append(f"-{span.name}")


class Counts:
    """Counts what a story narrates and drops."""

    def __init__(self) -> None:
        self.dropped_by: Counter[DropReason] = Counter()

    def narrated(self, source: str, level: str) -> None:
        """Not counted here."""

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Count by reason."""
        self.dropped_by[reason] += count


class Told:
    """A story, all that it was told, and a context to start its spans in."""

    def __init__(
        self,
        *,
        story: type[Story] = Story,
        log: Heard | None = None,
        consumer: Consumer | None = None,
        mask: Callable[[str], str] = str,
        attempt: int = 0,
    ) -> None:
        self.log = log or Heard()
        self.sink = Sink()
        self.counts = Counts()
        self.story = story(
            "job-1",
            log=self.log,
            spans=self.sink,
            clock=SystemClock(),
            counters=self.counts,
            mask=mask,
            max_message_bytes=4_096,
            consumer=consumer,
        )
        disclosure = Disclosure(first_party=frozenset({"shop"}))
        self.scope = Scope(story=self.story, actor="shop", attempt=attempt, disclosure=disclosure)
        self.context = with_scope(self.scope, Context())

    @property
    def lines(self) -> list[str]:
        """What was told, each as `kind action`."""
        return self.log.lines


def provider_of(
    *, sampler: Sampler = ALWAYS_ON, max_events: int = 128, **options: Any
) -> TracerProvider:
    """A provider that no environment variable shapes."""
    return TracerProvider(
        sampler=sampler,
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_events=max_events),
        **options,
    )


def exporting(provider: TracerProvider) -> Callable[[], Sequence[ReadableSpan]]:
    """Add an exporter to `provider`; gives what it has exported."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter.get_finished_spans


def run_all(*work: Callable[[], object], timeout_s: float = 30) -> None:
    """Run each on a thread of its own, all released at once; all must have ended in time."""
    barrier = threading.Barrier(len(work))
    errors: list[BaseException] = []

    def run(each: Callable[[], object]) -> None:
        barrier.wait()
        try:
            each()
        except BaseException as error:  # noqa: BLE001 - raised again on the test's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(each,), daemon=True) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"

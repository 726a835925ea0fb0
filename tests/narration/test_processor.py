import gc
import threading
import weakref
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    ReadableSpan,
    Span,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.trace import NonRecordingSpan

from narration import canary
from narration.processor import LiveSpans, NarrationSpanProcessor, install
from narration.scope import Scope
from narration.story import Make, Story
from telemetry.names import DropReason
from tests.narration.otel import Told, exporting, provider_of, run_all


@pytest.mark.parametrize("live", [True, False])
def test_nothing_is_kept_of_a_span_that_has_ended(live: bool) -> None:
    told, provider = Told(), provider_of()
    processor = NarrationSpanProcessor(live=live)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("shop")
    spans = [tracer.start_span("work", told.context) for _ in range(10)]
    assert len(processor.spans) == 10

    for span in spans:
        span.end()

    assert len(processor.spans) == 0
    assert processor._poller._watched == {}
    provider.shutdown()


def test_a_span_that_never_ends_keeps_neither_itself_nor_its_story() -> None:
    class Gone(Story):
        __slots__ = ("__weakref__",)

    provider = provider_of()
    processor = install(provider)
    told = Told(story=Gone)
    span: Any = provider.get_tracer("shop").start_span("work", told.context)
    span.add_event("step")
    kept = [weakref.ref(span), weakref.ref(told.story)]

    del span, told
    gc.collect()

    assert [each() for each in kept] == [None, None]
    assert len(processor.spans) <= 1


def test_spans_that_never_end_do_not_fill_the_table() -> None:
    told, provider = Told(), provider_of()
    processor = install(provider)
    tracer = provider.get_tracer("shop")
    living = tracer.start_span("work", told.context)

    for _ in range(5_000):
        tracer.start_span("forgotten", told.context)

    assert len(processor.spans) <= 1_024
    ids = living.get_span_context()
    assert processor.spans.get((ids.trace_id, ids.span_id)) is living


def test_the_table_keeps_every_span_that_lives_however_many() -> None:
    told, provider, table = Told(), provider_of(), LiveSpans()
    tracer = provider.get_tracer("shop")
    spans = [tracer.start_span("work", told.context) for _ in range(3_000)]

    for number, span in enumerate(spans):
        assert isinstance(span, Span)
        table.add((1, number), span)

    assert all(table.get((1, number)) is span for number, span in enumerate(spans))


class Raising(SpanProcessor):
    """A processor whose end fails."""

    def on_end(self, span: ReadableSpan) -> None:
        """Fail."""
        raise RuntimeError("no")


def test_an_end_is_told_though_an_earlier_processor_raises() -> None:
    told, provider = Told(), provider_of()
    provider.add_span_processor(Raising())
    processor = install(provider)
    span = provider.get_tracer("shop").start_span("work", told.context)

    with pytest.raises(RuntimeError, match="no"):
        span.end()

    assert told.lines == ["span_start work", "span_end work"]
    assert len(processor.spans) == 0


def test_an_end_is_told_once_though_a_later_processor_raises() -> None:
    told, provider = Told(), provider_of()
    install(provider)
    provider.add_span_processor(Raising())
    span = provider.get_tracer("shop").start_span("work", told.context)

    with pytest.raises(RuntimeError, match="no"):
        span.end()

    assert told.lines == ["span_start work", "span_end work"]


class Broken(Story):
    """A story that raises on everything."""

    def put(self, make: Make, *args: Any) -> None:
        """Fail."""
        raise RuntimeError("broken")


@pytest.mark.parametrize("live", [True, False])
def test_a_story_that_raises_is_counted_and_never_reaches_the_job(live: bool) -> None:
    told, provider = Told(story=Broken), provider_of()
    provider.add_span_processor(NarrationSpanProcessor(live=live, poll_interval_s=3_600))
    exported = exporting(provider)

    with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
        span.add_event("step")

    assert [span.name for span in exported()] == ["work"]
    assert told.counts.dropped_by == {DropReason.ERROR: 3}
    provider.shutdown()


def test_a_failure_without_a_story_is_counted_by_the_processor() -> None:
    class Hostile(NonRecordingSpan):
        @property
        def _narration_scope(self) -> Scope:
            raise ZeroDivisionError

    provider = provider_of()
    processor = NarrationSpanProcessor()
    provider.add_span_processor(processor)
    parent = Hostile(trace.INVALID_SPAN_CONTEXT)

    provider.get_tracer("shop").start_span("work", trace.set_span_in_context(parent, Context()))

    assert processor.failures == 1


class Stiff(SpanProcessor):
    """An earlier processor that gives each span a class that cannot be swapped."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Swap the class."""

        class Stiff(type(span)):  # type: ignore[misc]  # a class known only now
            def __setattr__(self, name: str, value: object) -> None:
                if name == "__class__":
                    raise TypeError("no")
                super().__setattr__(name, value)

        span.__class__ = Stiff


def test_a_span_whose_class_cannot_be_swapped_is_polled(caplog: pytest.LogCaptureFixture) -> None:
    told, provider = Told(), provider_of()
    provider.add_span_processor(Stiff())
    processor = install(provider, fast=False)  # else it is made tapped, before its class is stiff

    with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
        span.add_event("step")

    assert processor.live
    assert told.lines == ["span_start work", "event step", "span_end work"]
    assert "cannot be tapped" in caplog.text
    provider.shutdown()


def test_one_provider_has_one_tap_however_often_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told, provider = Told(), provider_of()
    taps: list[NarrationSpanProcessor] = []
    all_are_installing = threading.Barrier(4)

    def fault(_: object) -> None:
        all_are_installing.wait(10)

    monkeypatch.setattr(canary, "fault", fault)

    run_all(*[lambda: taps.append(install(provider))] * 4)
    span = provider.get_tracer("shop").start_span("work", told.context)
    span.add_event("step")
    span.end()

    assert taps == [install(provider)] * 4
    assert told.lines == ["span_start work", "event step", "span_end work"]


@pytest.mark.parametrize("live", [True, False])
def test_a_second_tap_that_was_added_by_hand_tells_nothing_twice(live: bool) -> None:
    told, provider = Told(), provider_of()
    install(provider)
    provider.add_span_processor(NarrationSpanProcessor(live=live))

    span = provider.get_tracer("shop").start_span("work", told.context)
    span.add_event("step")
    span.end()

    assert told.lines == ["span_start work", "event step", "span_end work"]
    provider.shutdown()


def test_two_providers_have_a_tap_each() -> None:
    told, first, second = Told(), provider_of(), provider_of()
    assert install(first) is not install(second)

    parent = first.get_tracer("shop").start_span("first", told.context)
    child = second.get_tracer("shop").start_span(
        "second", trace.set_span_in_context(parent, Context())
    )
    child.add_event("step")
    child.end()
    parent.end()

    assert told.lines[-3:] == ["event step", "span_end second", "span_end first"]


def test_a_users_own_provider_class_is_tapped() -> None:
    class OwnProvider(TracerProvider):
        pass

    told, provider = Told(), OwnProvider(shutdown_on_exit=False)
    install(provider)

    with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
        span.add_event("step")

    assert type(provider) is OwnProvider
    assert told.lines == ["span_start work", "event step", "span_end work"]


def test_the_tap_starts_no_thread() -> None:
    told, provider = Told(), provider_of()
    before = threading.active_count()

    install(provider)
    provider.get_tracer("shop").start_span("work", told.context).end()

    assert threading.active_count() == before
    assert provider.force_flush()

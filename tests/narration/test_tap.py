import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import EventBase, ReadableSpan, Span, SpanProcessor, Tracer
from opentelemetry.sdk.trace import _Span as OwnSpan
from opentelemetry.trace import SpanContext

from narration.processor import install
from narration.story import Make, Story
from telemetry.names import DropReason
from tests.narration.otel import Heard, Told, exporting, provider_of, run_all


def test_an_event_is_told_before_add_event_returns() -> None:
    told, provider = Told(), provider_of()
    install(provider)

    span = provider.get_tracer("shop").start_span("work", told.context)
    assert told.lines == ["span_start work"]
    span.add_event("step")
    assert told.lines == ["span_start work", "event step"]
    span.end()
    assert told.lines == ["span_start work", "event step", "span_end work"]


def test_an_exception_is_told_when_it_is_recorded() -> None:
    told, provider = Told(), provider_of()
    install(provider)

    span = provider.get_tracer("shop").start_span("work", told.context)
    span.record_exception(ValueError("no"))

    assert told.lines[1:] == ["exception exception"]


def test_events_of_third_party_code_are_told_live() -> None:
    told, provider = Told(), provider_of()
    install(provider)

    library = provider.get_tracer("opentelemetry.instrumentation.sql")
    with (
        provider.get_tracer("shop").start_as_current_span("work", told.context),
        library.start_as_current_span("SQL"),
    ):
        trace.get_current_span().add_event("fetched", {"rows": 2})
        heard = told.lines

    assert heard == ["span_start work", "span_start SQL", "event fetched"]


def test_events_that_an_earlier_processor_added_come_first() -> None:
    class Early(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            span.add_event("early")

    told, provider = Told(), provider_of()
    provider.add_span_processor(Early())
    install(provider)

    provider.get_tracer("shop").start_span("work", told.context).add_event("step")

    assert told.lines == ["span_start work", "event early", "event step"]


def test_events_that_a_later_processor_adds_are_told() -> None:
    class Later(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            span.add_event("later")

    told, provider = Told(), provider_of()
    install(provider)
    provider.add_span_processor(Later())

    provider.get_tracer("shop").start_span("work", told.context)

    assert told.lines == ["span_start work", "event later"]


def test_an_event_after_the_end_is_not_told_and_the_sdk_still_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told, provider = Told(), provider_of()
    install(provider)
    exported = exporting(provider)

    span = provider.get_tracer("shop").start_span("work", told.context)
    span.end()
    span.add_event("late")

    assert told.lines == ["span_start work", "span_end work"]
    assert exported()[0].events == ()
    assert "on an ended span" in caplog.text


def test_a_second_end_is_not_told() -> None:
    told, provider = Told(), provider_of()
    install(provider)

    span = provider.get_tracer("shop").start_span("work", told.context)
    span.end()
    span.end()

    assert told.lines == ["span_start work", "span_end work"]


@pytest.mark.parametrize("limit", [0, 1, 128])
def test_the_limit_on_events_limits_the_trace_and_not_the_story(limit: int) -> None:
    told, provider = Told(), provider_of(max_events=limit)
    install(provider)
    exported = exporting(provider)

    with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
        for _ in range(300):
            span.add_event("step")

    assert told.lines.count("event step") == 300
    assert len(exported()[0].events) == limit


def test_a_tapped_span_is_still_a_span_of_the_sdk() -> None:
    told, provider = Told(), provider_of()
    bare = provider.get_tracer("shop").start_span("work")
    install(provider)

    tapped = provider.get_tracer("shop").start_span("work", told.context)

    assert isinstance(tapped, type(bare))
    assert repr(tapped).startswith('_Span(name="work"')
    assert type(tapped).__module__ == type(bare).__module__
    assert type(tapped).__qualname__ == type(bare).__qualname__
    assert type(copy.copy(tapped)) is type(tapped)


def test_spans_of_one_class_share_one_tapped_class() -> None:
    told, provider = Told(), provider_of()
    install(provider)
    tracer = provider.get_tracer("shop")

    first, second = (tracer.start_span("work", told.context) for _ in range(2))

    assert type(first) is type(second)


def test_exporters_see_the_spans_that_they_see_without_a_tap() -> None:
    def export(*, tapped: bool) -> ReadableSpan:
        told, provider = Told(), provider_of()
        before = exporting(provider)
        if tapped:
            install(provider)
        after = exporting(provider)
        with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
            span.set_attribute("n", 1)
            span.add_event("step", {"m": 2})
            span.set_status(trace.StatusCode.ERROR, "no")
        assert before() == after()
        return after()[0]

    bare, tapped = export(tapped=False), export(tapped=True)

    assert type(tapped) is type(bare) is ReadableSpan
    assert vars(tapped).keys() == vars(bare).keys()
    assert (tapped.name, tapped.attributes) == (bare.name, bare.attributes)
    assert tapped.status.status_code is bare.status.status_code
    assert [(e.name, e.attributes) for e in tapped.events] == [("step", {"m": 2})]


class ThirdPartySpan(OwnSpan):
    """What another vendor's provider makes: it keeps some events out and has slots of its own."""

    __slots__ = ("kept",)

    def _add_event(self, event: EventBase) -> None:
        if event.name != "secret":
            self.kept = event.name
            super()._add_event(event)

    def __reduce__(self) -> tuple[Callable[[str], str], tuple[str]]:
        return str, (self.name,)


class ThirdPartyTracer(Tracer):
    """Makes ThirdPartySpan."""

    def start_span(
        self, name: str, context: Context | None = None, *_: Any, **__: Any
    ) -> trace.Span:
        """A root span of the class above."""
        span = ThirdPartySpan(
            name,
            SpanContext(self.id_generator.generate_trace_id(), 7, is_remote=False),
            resource=self.resource,
            limits=self._span_limits,
            span_processor=self.span_processor,
            instrumentation_scope=self._instrumentation_scope,
        )
        span.start(parent_context=context)
        return span


def third_party_span(told: Told) -> Span:
    provider = provider_of()
    install(provider)
    tracer = provider.get_tracer("shop")
    tracer.__class__ = ThirdPartyTracer
    span = tracer.start_span("work", told.context)
    assert isinstance(span, ThirdPartySpan)
    return span


def test_a_third_partys_own_span_class_is_tapped_and_its_own_rules_run() -> None:
    told = Told()
    span = third_party_span(told)

    span.add_event("step")
    span.add_event("secret")
    span.end()

    assert told.lines == ["span_start work", "event step", "span_end work"]
    assert [event.name for event in span.events] == ["step"]
    assert getattr(span, "kept", None) == "step"


def test_a_span_that_can_be_pickled_still_can() -> None:
    assert pickle.loads(pickle.dumps(third_party_span(Told()))) == "work"


def test_a_story_that_raises_never_reaches_the_job_and_is_counted() -> None:
    class Broken(Story):
        def put(self, make: Make, *args: Any) -> None:
            raise RuntimeError("broken")

    told, provider = Told(story=Broken), provider_of()
    install(provider)
    exported = exporting(provider)

    with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
        span.add_event("step")

    assert [span.name for span in exported()] == ["work"]
    assert told.counts.dropped_by == {DropReason.ERROR: 3}


def test_one_event_that_cannot_be_told_does_not_stall_those_behind_it() -> None:
    class Fussy(Heard):
        def append(self, event: Any) -> int | None:
            if event.action == "bad":
                raise RuntimeError("no")
            return super().append(event)

    told, provider = Told(log=Fussy()), provider_of()
    install(provider)

    with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
        for name in ("first", "bad", "last"):
            span.add_event(name)

    assert told.lines == ["span_start work", "event first", "event last", "span_end work"]
    assert told.counts.dropped_by == {DropReason.ERROR: 1}


def test_what_runs_inside_the_hand_off_may_use_the_same_span() -> None:
    class Reacting(Heard):
        def append(self, event: Any) -> int | None:
            if event.action == "step":
                span.add_event("reaction")
                span.set_attribute("reacted", True)
            return super().append(event)

    told, provider = Told(log=Reacting()), provider_of()
    install(provider)
    span = provider.get_tracer("shop").start_span("work", told.context)

    run_all(lambda: span.add_event("step"), timeout_s=10)

    assert told.lines == ["span_start work", "event step", "event reaction"]

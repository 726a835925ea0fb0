"""Spans of stories are made directly, and are those that the SDK makes."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.trace import Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import Link, SpanKind, StatusCode

from narration import fast_spans, span_canary
from narration.fast_spans import StoryTracer
from narration.processor import install
from narration.span_canary import fault
from tests.narration.otel import Told, exporting, provider_of

CLEAN = st.text(max_size=5) | st.integers() | st.floats(allow_nan=False) | st.booleans()
ODD = st.none() | st.binary(max_size=3) | st.lists(st.integers(), max_size=2)
ATTRIBUTES = st.none() | st.dictionaries(st.text(max_size=4), CLEAN | ODD, max_size=6)
LIMITS = SpanLimits(max_span_attributes=4)
BARE = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False, span_limits=LIMITS)
TAPPED = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False, span_limits=LIMITS)
install(TAPPED)


def shown(span: Any) -> dict[str, Any]:
    """What the SDK's public properties say, but for the ids."""
    names = ["name", "kind", "start_time", "end_time", "events", "links", "resource"]
    names += ["dropped_attributes", "dropped_events", "dropped_links", "instrumentation_scope"]
    flags, state = span.context.trace_flags, span.context.trace_state
    status = (span.status.status_code, span.status.description)
    return {
        **{name: getattr(span, name) for name in names},
        "attributes": dict(span.attributes),
        "flags": flags,
        "state": state,
        "status": status,
    }


@given(attributes=ATTRIBUTES, kind=st.sampled_from(SpanKind), rooted=st.booleans())
def test_what_is_made_directly_is_what_the_sdk_makes(
    attributes: dict[str, Any] | None, kind: SpanKind, rooted: bool
) -> None:
    told, made = Told(), []
    for provider in (BARE, TAPPED):
        tracer, context = provider.get_tracer("shop", "1"), told.context
        if rooted:
            context = trace.set_span_in_context(tracer.start_span("above", context), context)
        span: Any = tracer.start_span("work", context, kind, attributes, start_time=7)
        held = vars(span).keys() - {"_narration_scope", "_narration_voice", "_narration_found"}
        first = {**shown(span), "held": held}
        span.set_attribute("late", 1)
        span.end(9)
        made.append((first, shown(span)))

    assert made[0] == made[1]


def test_a_span_in_a_story_is_made_tapped() -> None:
    told = Told()

    span = TAPPED.get_tracer("shop").start_span("work", told.context)

    assert type(span) is TAPPED.get_tracer("shop")._narration_span  # type: ignore[attr-defined]
    assert told.lines == ["span_start work"]


def test_a_span_outside_of_a_story_is_the_sdks_own() -> None:
    span = TAPPED.get_tracer("shop").start_span("work", Context())

    assert type(span) is sdk_trace._Span


def test_a_span_with_links_is_told_too() -> None:
    told = Told()
    tracer = TAPPED.get_tracer("shop")
    other = tracer.start_span("other", Context()).get_span_context()

    span: Any = tracer.start_span("work", told.context, links=[Link(other)])

    assert [link.context for link in span.links] == [other]
    assert told.lines == ["span_start work"]


def test_a_child_is_in_its_parents_story_without_a_scope_in_its_context() -> None:
    told = Told()
    tracer = TAPPED.get_tracer("shop")
    parent = tracer.start_span("above", told.context)

    child = tracer.start_span("work", trace.set_span_in_context(parent, Context()))
    child.end()

    assert told.lines == ["span_start above", "span_start work", "span_end work"]


def test_tracers_from_before_and_after_are_quickened_and_others_are_not() -> None:
    class Own(sdk_trace.Tracer):
        pass

    provider = provider_of()
    before, own = provider.get_tracer("before"), provider.get_tracer("own")
    own.__class__ = Own
    install(provider)

    assert type(before) is type(provider.get_tracer("after")) is StoryTracer
    assert type(own) is type(provider.get_tracer("own")) is Own


def test_without_the_fast_road_tracers_stay_as_they_are() -> None:
    provider = provider_of()
    install(provider, fast=False)

    assert type(provider.get_tracer("shop")) is sdk_trace.Tracer


def test_an_unsampled_span_of_a_story_is_recorded_and_one_of_nobody_is_not() -> None:
    told, provider = Told(), provider_of(sampler=ALWAYS_OFF)
    install(provider)
    tracer = provider.get_tracer("shop")

    inside = tracer.start_span("work", told.context, attributes={"a": 1})
    outside = tracer.start_span("work", Context())

    assert (inside.is_recording(), outside.is_recording()) == (True, False)
    assert not inside.get_span_context().trace_flags.sampled
    assert dict(inside.attributes) == {"a": 1}  # type: ignore[attr-defined]


def test_an_event_of_an_earlier_processor_is_told_after_the_start() -> None:
    class Early(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            span.add_event("early")

    told, provider = Told(), provider_of()
    provider.add_span_processor(Early())
    install(provider)

    provider.get_tracer("shop").start_span("work", told.context).end()

    assert told.lines == ["span_start work", "event early", "span_end work"]


def test_an_earlier_processor_that_raises_leaves_the_span_untold() -> None:
    class Failing(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            self.span = span
            raise ValueError("on purpose")

    told, provider, failing = Told(), provider_of(), Failing()
    provider.add_span_processor(failing)
    install(provider)

    with pytest.raises(ValueError, match="on purpose"):
        provider.get_tracer("shop").start_span("work", told.context)
    failing.span.add_event("step")
    failing.span.end()

    assert told.lines == []


def lived(provider: TracerProvider, work: Callable[[Any, Any], None]) -> list[Any]:
    """What is exported of `work`, which gets a tracer and the context of a story."""
    exported = exporting(provider)
    work(provider.get_tracer("shop"), Told().context)
    return [
        (
            span.name,
            span.end_time is not None,
            (span.status.status_code, span.status.description),
            [(e.name, (e.attributes or {}).get("exception.type")) for e in span.events],
        )
        for span in exported()
    ]


def nested(tracer: Any, context: Any) -> None:
    with tracer.start_as_current_span("outer", context) as outer:
        assert trace.get_current_span() is outer
        with tracer.start_as_current_span("inner", end_on_exit=False) as inner:
            assert trace.get_current_span() is inner
        assert trace.get_current_span() is outer
        inner.end()
    assert trace.get_current_span() is trace.INVALID_SPAN


def failing(tracer: Any, context: Any) -> None:
    for options in ({}, {"record_exception": False}, {"set_status_on_exception": False}):
        with (
            pytest.raises(KeyError),
            tracer.start_as_current_span("outer", context),
            tracer.start_as_current_span("inner", **options),
        ):
            raise KeyError("on purpose")


def stopping(tracer: Any, context: Any) -> None:
    for error in (StopIteration(), GeneratorExit(), KeyboardInterrupt(), asyncio.CancelledError()):
        with pytest.raises(type(error)), tracer.start_as_current_span("outer", context):
            raise error


async def current() -> trace.Span:
    return trace.get_current_span()


def decorated(tracer: Any, context: Any) -> None:
    plain = tracer.start_as_current_span("plain", context)(trace.get_current_span)
    coroutine = tracer.start_as_current_span("coroutine", context)(current)

    assert plain() is not plain()
    assert asyncio.run(coroutine()) is not asyncio.run(coroutine())


@pytest.mark.parametrize("work", [nested, failing, stopping, decorated])
def test_a_current_span_lives_as_the_sdks_does(work: Callable[[Any, Any], None]) -> None:
    tapped = provider_of()
    install(tapped)

    assert lived(tapped, work) == lived(provider_of(), work)


def test_a_current_span_that_fails_is_an_error() -> None:
    provider = provider_of()
    install(provider)

    (inner, *_) = lived(provider, failing)

    assert inner[2] == (StatusCode.ERROR, "KeyError: 'on purpose'")
    assert inner[3] == [("exception", "KeyError")]


def test_the_canary_finds_no_fault_in_this_sdk() -> None:
    assert fault() is None


def test_the_canary_is_not_deceived_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
        "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)

    assert fault() is None


def test_the_canary_tells_what_the_sdk_keeps_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    make = Span.__init__

    def heavier(self: Span, *given_: Any, **named: Any) -> None:
        make(self, *given_, **named)
        vars(self)["_colour"] = "new"

    monkeypatch.setattr(Span, "__init__", heavier)

    assert str(fault()) == "a span that is made here has _colour None where the SDK's has 'new'"


def test_the_canary_tells_what_it_cannot_even_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sdk_trace, "_Span")

    assert str(fault()).startswith("AttributeError")


def test_the_canary_tells_of_a_provider_that_keeps_no_tracers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fast_spans, "quicken", lambda _provider, _tap: None)

    assert str(fault()) == "a provider's new tracer is a Tracer"


def test_a_faulty_fast_road_is_not_taken_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(span_canary, "fault", lambda: "it keeps a colour")
    provider = provider_of()

    with caplog.at_level(logging.WARNING):
        processor = install(provider)

    assert (processor.live, processor.fast) == (True, False)
    assert type(provider.get_tracer("shop")) is sdk_trace.Tracer
    assert "it keeps a colour" in caplog.text

from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.span import TraceState

from narration.processor import NarrationSpanProcessor, install
from narration.sampling import InJobSampler
from tests.narration.otel import Told, exporting, provider_of


def test_an_unsampled_span_of_a_story_is_narrated_and_not_exported() -> None:
    told, provider = Told(), provider_of(sampler=ALWAYS_OFF)
    install(provider)
    exported = exporting(provider)

    with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
        span.add_event("step")

    assert told.lines == ["span_start work", "event step", "span_end work"]
    assert exported() == ()


def test_at_any_rate_all_is_narrated_and_what_is_exported_stays_the_same() -> None:
    sampler = TraceIdRatioBased(0.3)
    told, provider = Told(), provider_of(sampler=sampler)
    install(provider)
    exported = exporting(provider)

    ids = []
    for _ in range(100):
        with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
            span.add_event("step")
            ids.append(span.get_span_context().trace_id)

    assert told.lines.count("event step") == 100
    sampled = [
        each
        for each in ids
        if sampler.should_sample(None, each, "").decision is Decision.RECORD_AND_SAMPLE
    ]
    assert [span.context.trace_id for span in exported()] == sampled


def test_outside_of_a_story_what_is_dropped_stays_dropped() -> None:
    provider = provider_of(sampler=ALWAYS_OFF)
    install(provider)

    span = provider.get_tracer("shop").start_span("work", Context())

    assert isinstance(span, NonRecordingSpan)


def test_an_unsampled_remote_parent_does_not_silence_the_job() -> None:
    told, provider = Told(), provider_of(sampler=DEFAULT_ON)
    install(provider)
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0))
    context = trace.set_span_in_context(NonRecordingSpan(remote), told.context)

    provider.get_tracer("shop").start_span("work", context).add_event("step")

    assert told.lines == ["span_start work", "event step"]


def test_without_a_parent_context_the_current_one_is_meant() -> None:
    told, provider = Told(), provider_of(sampler=ALWAYS_OFF)
    install(provider)

    token = otel_context.attach(told.context)
    try:
        provider.get_tracer("shop").start_span("work")
    finally:
        otel_context.detach(token)

    assert told.lines == ["span_start work"]


def test_a_child_whose_context_lacks_the_story_is_recorded_by_its_parent_span() -> None:
    told, provider = Told(), provider_of(sampler=ParentBased(ALWAYS_OFF))
    install(provider)
    tracer = provider.get_tracer("shop")
    parent = tracer.start_span("work", told.context)

    tracer.start_span("child", trace.set_span_in_context(parent, Context()))

    assert told.lines == ["span_start work", "span_start child"]


def test_the_start_attributes_of_an_unsampled_span_are_kept() -> None:
    told, provider = Told(), provider_of(sampler=ALWAYS_OFF)
    install(provider)

    span: Any = provider.get_tracer("shop").start_span(
        "work", told.context, attributes={"order": 7}
    )

    assert span.attributes == {"order": 7}


class Marking(StaticSampler):
    """Adds an attribute and a trace state of its own."""

    def should_sample(self, *args: Any, **options: Any) -> SamplingResult:
        """The same for every span."""
        return SamplingResult(self._decision, {"by": "marking"}, TraceState([("rate", "low")]))


def test_the_inner_samplers_attributes_and_trace_state_are_kept() -> None:
    sampler = InJobSampler(Marking(Decision.DROP), inside=lambda _: True)

    result = sampler.should_sample(None, 1, "work", attributes={"order": 7})

    assert result.decision is Decision.RECORD_ONLY
    assert result.attributes == {"order": 7, "by": "marking"}
    assert result.trace_state == TraceState([("rate", "low")])


@pytest.mark.parametrize("decision", [Decision.RECORD_ONLY, Decision.RECORD_AND_SAMPLE])
def test_what_is_recorded_anyway_is_decided_by_the_inner_sampler_alone(decision: Decision) -> None:
    asked: list[object] = []

    def inside(context: Context | None) -> bool:
        asked.append(context)
        return True

    sampler = InJobSampler(StaticSampler(decision), inside=inside)

    assert sampler.should_sample(None, 1, "work").decision is decision
    assert not asked


def test_tracers_that_were_made_before_are_wrapped_too() -> None:
    told, provider = Told(), provider_of(sampler=ALWAYS_OFF)
    tracer = provider.get_tracer("shop")
    install(provider)

    tracer.start_span("work", told.context)

    assert told.lines == ["span_start work"]


def test_a_sampler_is_wrapped_once() -> None:
    provider = provider_of()
    tracer: Any = provider.get_tracer("shop")
    install(provider)
    install(provider)

    assert isinstance(provider.sampler, InJobSampler)
    assert provider.sampler.inner is ALWAYS_ON
    assert tracer.sampler is provider.sampler


def test_a_sampler_that_takes_no_trace_state_is_called_as_the_sdk_calls_it() -> None:
    class Old(StaticSampler):
        def should_sample(
            self, parent_context: Any, trace_id: int, name: str, *rest: Any
        ) -> SamplingResult:
            kind, attributes, links = rest
            return super().should_sample(parent_context, trace_id, name, kind, attributes, links)

    told, provider = Told(), provider_of(sampler=Old(Decision.DROP))
    install(provider)

    provider.get_tracer("shop").start_span("work", told.context)

    assert told.lines == ["span_start work"]


def test_the_description_shows_the_inner_sampler() -> None:
    sampler = InJobSampler(ALWAYS_OFF, inside=lambda _: True)

    assert sampler.get_description() == "InJobSampler{AlwaysOffSampler}"


def test_a_failure_to_find_the_story_leaves_the_inner_decision() -> None:
    class Hostile(NonRecordingSpan):
        def get_span_context(self) -> SpanContext:
            raise RuntimeError("no")

    processor = NarrationSpanProcessor()
    context = trace.set_span_in_context(Hostile(trace.INVALID_SPAN_CONTEXT), Context())

    assert not processor.inside(context)
    assert processor.failures == 1

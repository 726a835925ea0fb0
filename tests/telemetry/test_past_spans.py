"""Spans of what is over when it is told: they are like any other to whoever gets spans."""

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, StaticSampler

from telemetry.past_spans import PastSpans

SCOPE = "ours"


class Raises(SpanProcessor):
    """Fails on the end of every span."""

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("a processor's own fault")


def told(provider: TracerProvider, **attributes: str | int) -> ReadableSpan | None:
    """A past span under one that is current."""
    tracer = provider.get_tracer(SCOPE, "1.0")
    parent = tracer.start_span("job", context=Context())
    return PastSpans(tracer).tell("wait", parent, attributes, start_ns=1_000, end_ns=5_000)


def test_it_is_exported_as_one_that_was_started_and_ended_would_be() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer(SCOPE, "1.0")
    parent = tracer.start_span("job", context=Context())
    under = trace.set_span_in_context(parent, Context())

    PastSpans(tracer).tell("wait", parent, {"n": 1}, start_ns=1_000, end_ns=5_000)
    tracer.start_span("wait", context=under, attributes={"n": 1}, start_time=1_000).end(5_000)

    ours, theirs = (span.to_json() for span in exporter.get_finished_spans())
    own, other = (trace.format_span_id(_id(span)) for span in exporter.get_finished_spans())
    assert own != other
    assert ours.replace(own, "") == theirs.replace(other, "")


def test_it_is_as_sampled_as_its_parent() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=StaticSampler(Decision.RECORD_ONLY), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    span = told(provider)

    assert span is not None
    assert exporter.get_finished_spans() == ()


def test_under_a_parent_that_records_nothing_there_is_none() -> None:
    assert told(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)) is None


def test_a_tracer_that_makes_no_spans_gives_none() -> None:
    past = PastSpans(trace.NoOpTracer())

    assert past.tell("wait", trace.INVALID_SPAN, {}, start_ns=1, end_ns=2) is None


def test_its_attributes_keep_to_the_limits_of_the_provider() -> None:
    limits = SpanLimits(max_span_attributes=1, max_span_attribute_length=3)
    span = told(
        TracerProvider(sampler=ALWAYS_ON, span_limits=limits, shutdown_on_exit=False),
        first="x",
        second="too long",
    )

    assert span is not None
    assert dict(span.attributes or {}) == {"second": "too"}
    assert span.dropped_attributes == 1


def test_a_processor_that_raises_costs_only_itself() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Raises())

    assert told(provider) is not None


def _id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id

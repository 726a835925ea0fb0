from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    Span,
    TracerProvider,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from narration.processor import NarrationSpanProcessor, install
from telemetry.names import SCOPE
from tests.narration.otel import Told, provider_of, run_all


def test_a_span_without_a_story_is_left_alone() -> None:
    provider = provider_of()
    bare = provider.get_tracer("shop").start_span("work", Context())
    processor = install(provider)

    span = provider.get_tracer("shop").start_span("work", Context())
    span.add_event("step")
    span.end()

    assert type(span) is type(bare)
    assert len(processor.spans) == 0


def test_each_span_goes_to_its_own_story_and_nowhere_else() -> None:
    mine, yours, provider = Told(), Told(), provider_of()
    install(provider)
    tracer = provider.get_tracer("shop")

    first = tracer.start_span("mine", mine.context)
    second = tracer.start_span("yours", yours.context)
    second.add_event("step")
    first.end()

    assert mine.lines == ["span_start mine", "span_end mine"]
    assert yours.lines == ["span_start yours", "event step"]


def test_a_context_that_names_a_story_outweighs_the_parent_span() -> None:
    outer, inner, provider = Told(), Told(), provider_of()
    install(provider)
    tracer = provider.get_tracer("shop")
    parent = tracer.start_span("outer", outer.context)

    tracer.start_span("inner", trace.set_span_in_context(parent, inner.context))

    assert outer.lines == ["span_start outer"]
    assert inner.lines == ["span_start inner"]


def test_a_child_whose_context_lacks_the_story_goes_where_its_parent_span_goes() -> None:
    told, provider = Told(), provider_of()
    install(provider)
    tracer = provider.get_tracer("shop")
    parent = tracer.start_span("work", told.context)

    child = tracer.start_span("child", trace.set_span_in_context(parent, Context()))
    child.add_event("step")

    assert told.lines == ["span_start work", "span_start child", "event step"]


def test_a_child_of_a_parent_that_has_ended_still_goes_where_it_went() -> None:
    told, provider = Told(), provider_of()
    install(provider)
    tracer = provider.get_tracer("shop")
    parent = tracer.start_span("work", told.context)
    parent.end()

    tracer.start_span("child", trace.set_span_in_context(parent, Context()))

    assert told.lines[2:] == ["span_start child"]


def parent_by_ids(parent: trace.Span, *, is_remote: bool) -> Context:
    ids = parent.get_span_context()
    known = SpanContext(ids.trace_id, ids.span_id, is_remote=is_remote, trace_flags=TraceFlags(1))
    return trace.set_span_in_context(NonRecordingSpan(known), Context())


def test_a_child_that_knows_only_its_parents_ids_goes_where_its_parent_goes() -> None:
    told, provider = Told(), provider_of()
    install(provider)
    tracer = provider.get_tracer("shop")
    parent = tracer.start_span("work", told.context)

    tracer.start_span("child", parent_by_ids(parent, is_remote=False))

    assert told.lines == ["span_start work", "span_start child"]


def test_who_sends_the_ids_of_a_span_from_outside_does_not_get_into_its_story() -> None:
    told, provider = Told(), provider_of()
    install(provider)
    tracer = provider.get_tracer("shop")
    parent = tracer.start_span("work", told.context)

    tracer.start_span("forged", parent_by_ids(parent, is_remote=True)).add_event("lies")

    assert told.lines == ["span_start work"]


def concurrent() -> tuple[TracerProvider, NarrationSpanProcessor]:
    provider = provider_of(active_span_processor=ConcurrentMultiSpanProcessor(2))
    return provider, install(provider)


def test_spans_find_their_story_where_processors_run_on_other_threads() -> None:
    told = Told()
    provider, _ = concurrent()
    tracer = provider.get_tracer("shop")

    with (
        tracer.start_as_current_span("work", told.context),
        tracer.start_as_current_span("child") as child,
    ):
        child.add_event("step")

    assert told.lines == [
        "span_start work",
        "span_start child",
        "event step",
        "span_end child",
        "span_end work",
    ]


def test_what_is_current_on_a_processors_own_thread_tells_nothing() -> None:
    told, other = Told(), Told()
    provider, processor = concurrent()
    tracer = provider.get_tracer("shop")
    span = tracer.start_span("work", told.context)
    child = tracer.start_span("other", Context())
    assert isinstance(child, Span)

    token = otel_context.attach(other.context)  # as if this were the processors' thread
    try:
        processor.on_start(child, None)
    finally:
        otel_context.detach(token)

    assert other.lines == []
    assert told.lines == ["span_start work"]
    span.end()


def test_a_bare_thread_that_inherits_no_context_is_in_no_story() -> None:
    told, provider = Told(), provider_of()
    install(provider)
    tracer = provider.get_tracer("shop")

    with tracer.start_as_current_span("work", told.context):
        run_all(lambda: tracer.start_span("elsewhere").end())

    assert told.lines == ["span_start work", "span_end work"]


def test_our_own_spans_reach_the_spans_of_the_story_though_no_message_is_made_of_them() -> None:
    told, provider = Told(), provider_of()
    install(provider)

    provider.get_tracer(SCOPE).start_span("job.attempt", told.context).end()

    assert told.lines == []
    assert told.sink.names == ["+job.attempt", "-job.attempt"]

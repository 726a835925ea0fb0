"""A slim span is the SDK's for everybody, and takes half of the room."""

import copy
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import Span, SpanLimits, TracerProvider
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import INVALID_SPAN, SpanContext, TraceFlags, Tracer

from narration import slim_span
from narration.slim_span import FEW, slim


def tracer_of(**limits: int) -> Tracer:
    return TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(**limits)).get_tracer("t")


def started(tracer: Tracer) -> Any:
    """A span as the SDK makes it; `Any`, since its private parts are looked at."""
    span = tracer.start_span("work")
    assert isinstance(span, Span)
    return span


def told(span: Any) -> tuple[Any, ...]:
    """All that the SDK says of a span's events and links."""
    events, links = span._events, span._links
    return (
        [(event.name, dict(event.attributes)) for event in span.events],
        [link.context for link in span.links],
        (span.dropped_events, span.dropped_links, len(events), len(links)),
        [event.name for event in copy.deepcopy(events)],
        repr(links) == repr(BoundedList.from_seq(span._limits.max_links, links)),
    )


@given(
    st.integers(0, 2 * FEW), st.integers(0, 3 * FEW), st.integers(0, 3 * FEW), st.integers(1, 12)
)
def test_a_slim_span_says_what_a_full_one_says(
    before: int, after: int, links: int, most: int
) -> None:
    tracer = tracer_of(max_events=most, max_links=most)
    full, thin = started(tracer), started(tracer)
    for span in (full, thin):
        for number in range(before):
            span.add_event(f"event {number}", {"n": number})
        if span is thin:
            slim(span)
        for number in range(after):
            span.add_event(f"later {number}", {"n": number})
        for number in range(links):
            span.add_link(SpanContext(1, number + 1, is_remote=False, trace_flags=TraceFlags(1)))

    assert told(thin) == told(full)
    thin.end()
    assert [event.name for event in thin._readable_span().events] == [
        event.name for event in full.events
    ]


def test_many_at_once_are_taken_as_by_the_full_list() -> None:
    full, thin = started(tracer_of(max_events=6)), started(tracer_of(max_events=6))
    slim(thin)
    for span in (full, thin):
        span._events.extend(range(4))
        span._events.append(4)
        span._events.extend(range(5, 8))

    assert list(thin._events) == list(full._events) == [2, 3, 4, 5, 6, 7]
    assert thin.dropped_events == full.dropped_events == 2


def test_a_slim_span_takes_half_of_the_room() -> None:
    tracer = tracer_of()

    def weight(make: Callable[[], object]) -> float:
        make()
        gc.collect()
        tracemalloc.start()
        try:
            kept = [make() for _ in range(200)]
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / len(kept)
        finally:
            tracemalloc.stop()

    def thin() -> object:
        span = started(tracer)
        slim(span)
        return span

    assert weight(thin) < 0.6 * weight(lambda: started(tracer))


def test_a_span_that_holds_more_than_few_is_left_as_it_is() -> None:
    span = started(tracer_of())
    for _ in range(FEW + 1):
        span.add_event("event")
    slim(span)

    assert type(span._events) is BoundedList
    assert len(span.events) == FEW + 1


def test_lists_that_are_made_of_other_parts_are_left_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slim_span, "_is_known", lambda: False)
    span = started(tracer_of())
    slim(span)

    assert type(span._events) is type(span._links) is BoundedList


def test_this_sdk_is_known() -> None:
    assert slim_span._is_known()


def test_a_span_that_records_nothing_is_no_error() -> None:
    slim(INVALID_SPAN)

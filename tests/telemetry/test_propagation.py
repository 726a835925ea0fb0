from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.propagation import extract, inject, parentage

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
TRACEPARENT = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())


def span_in(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


def test_a_traceparent_names_the_callers_span() -> None:
    found = span_in(extract([(b"host", b"here"), TRACEPARENT]))

    assert found.is_remote
    assert found.trace_flags.sampled
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == (TRACE, SPAN)


def test_header_names_are_found_in_any_case() -> None:
    assert span_in(extract([(b"TraceParent", TRACEPARENT[1])])).is_valid


def test_tracestate_and_baggage_come_along() -> None:
    context = extract(
        [
            TRACEPARENT,
            (b"tracestate", b"vendor=1"),
            (b"tracestate", b"other=2"),
            (b"baggage", b"user=ada"),
        ]
    )

    assert dict(span_in(context).trace_state.items()) == {"vendor": "1", "other": "2"}
    assert baggage.get_all(context) == {"user": "ada"}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        b"\xff\xfe",
    ],
)
def test_a_malformed_traceparent_is_ignored(value: bytes) -> None:
    assert not span_in(extract([(b"traceparent", value)])).is_valid


def test_two_traceparents_are_none() -> None:
    assert not span_in(extract([TRACEPARENT, TRACEPARENT])).is_valid


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"traceparent", b"tracestate", b"baggage", b"x"]),
            st.binary(max_size=80) | st.just(TRACEPARENT[1]),
        ),
        max_size=6,
    )
)
def test_no_header_ever_raises(headers: list[tuple[bytes, bytes]]) -> None:
    extract(headers)


class Raising(TraceContextTextMapPropagator):
    """A propagator of a user's that fails."""

    def extract(self, *_args: Any, **_options: Any) -> Context:
        """Fail."""
        raise RuntimeError("no")

    def inject(self, *_args: Any, **_options: Any) -> None:
        """Fail."""
        raise RuntimeError("no")


def test_a_propagator_that_raises_costs_only_the_context() -> None:
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Raising())
    try:
        context, headers = extract([TRACEPARENT]), inject()
    finally:
        propagate.set_global_textmap(before)

    assert (context, headers) == (Context(), {})


def test_what_is_written_is_read_again() -> None:
    given = extract([TRACEPARENT, (b"tracestate", b"vendor=1"), (b"baggage", b"user=ada")])
    token = otel_context.attach(given)
    try:
        headers = inject()
    finally:
        otel_context.detach(token)

    found = extract([(name.encode(), value.encode()) for name, value in headers.items()])
    assert span_in(found) == span_in(given)
    assert baggage.get_all(found) == {"user": "ada"}


def test_without_a_span_nothing_is_written() -> None:
    assert inject() == {}


def test_as_parent_the_span_joins_the_callers_trace() -> None:
    context, links = parentage(extract([TRACEPARENT, (b"baggage", b"user=ada")]), link=False)
    span = (
        TracerProvider(shutdown_on_exit=False)
        .get_tracer("t")
        .start_span("job", context, links=links)
    )

    assert f"{span.get_span_context().trace_id:032x}" == TRACE
    assert baggage.get_all(context) == {"user": "ada"}
    assert links == []


def test_as_link_the_span_has_a_trace_of_its_own() -> None:
    context, links = parentage(extract([TRACEPARENT]), link=True)
    span = (
        TracerProvider(shutdown_on_exit=False)
        .get_tracer("t")
        .start_span("job", context, links=links)
    )

    assert f"{span.get_span_context().trace_id:032x}" != TRACE
    assert [f"{link.context.trace_id:032x}" for link in links] == [TRACE]


@pytest.mark.parametrize("link", [True, False])
def test_without_a_caller_there_is_neither_parent_nor_link(*, link: bool) -> None:
    assert parentage(Context(), link=link) == (Context(), [])


def test_nothing_else_of_the_callers_context_is_kept() -> None:
    key = otel_context.create_key("mine")
    context, _ = parentage(otel_context.set_value(key, 1, extract([TRACEPARENT])), link=False)

    assert otel_context.get_value(key, context) is None

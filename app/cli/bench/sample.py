"""What is measured when nothing is named: three spans and ten events, and no work of its own."""

from typing import Final

from opentelemetry import trace

from app.handlers.operation import operation

EVENTS: Final = 10

_tracer: Final = trace.get_tracer(__name__)


@operation
async def sample() -> None:
    """Three spans, one in another, and ten events with two attributes each in the innermost."""
    with (
        _tracer.start_as_current_span("order", attributes={"number": 1, "name": "barn"}),
        _tracer.start_as_current_span("pack", attributes={"number": 2, "name": "barn"}),
        _tracer.start_as_current_span("load", attributes={"number": 3, "name": "barn"}) as span,
    ):
        for number in range(EVENTS):
            span.add_event("step", {"number": number, "name": "barn"})

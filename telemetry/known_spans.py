"""Spans whose ids were given before: begun by a process that died, ended by another.

It does not know what such a span is about.
"""

import copy

from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Tracer as AnyTracer


class _Given(IdGenerator):
    """Gives the ids that it was given."""

    def __init__(self, trace_id: int, span_id: int) -> None:
        self._trace_id = trace_id
        self._span_id = span_id

    def generate_span_id(self) -> int:
        """The one span id."""
        return self._span_id

    def generate_trace_id(self) -> int:
        """The one trace id."""
        return self._trace_id

    def is_trace_id_random(self) -> bool:
        """Nobody remembers: W3C's flag is set only by who knows."""
        return False


def named(tracer: AnyTracer, trace_id: str | None, span_id: str | None) -> AnyTracer:
    """`tracer`, but that its spans have these ids (hex); as it is where one is None.

    A tracer that is not the SDK's makes ids of its own.
    """
    if trace_id is None or span_id is None or not isinstance(tracer, Tracer):
        return tracer
    made = copy.copy(tracer)
    made.id_generator = _Given(int(trace_id, 16), int(span_id, 16))
    return made

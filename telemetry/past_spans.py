"""Spans of what is over when it is told: a wait, whose end is known when it begins to be a span.

Such a span is never live: no sampler is asked and no processor sees it start. It is as sampled as
its parent, and each processor of the provider gets it at its end, as it gets any other. It does not
know what was waited for.
"""

import logging
from collections.abc import Mapping

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan, Span, Tracer
from opentelemetry.trace import SpanContext
from opentelemetry.trace import Tracer as AnyTracer
from opentelemetry.util.types import AnyValue

_logger = logging.getLogger(__name__)


class PastSpans:
    """Makes them with `tracer`'s ids, resource and limits; one that makes no spans gives none."""

    def __init__(self, tracer: AnyTracer) -> None:
        self._tracer = tracer if isinstance(tracer, Tracer) else None

    def tell(
        self,
        name: str,
        parent: object,
        attributes: Mapping[str, AnyValue],
        *,
        start_ns: int,
        end_ns: int,
    ) -> ReadableSpan | None:
        """A child of `parent` that began and ended at these times (Unix nanoseconds).

        None where `parent` records nothing: then neither does this.
        """
        tracer = self._tracer
        if tracer is None or not isinstance(parent, Span):
            return None
        above = parent.get_span_context()
        context = SpanContext(
            above.trace_id,
            tracer.id_generator.generate_span_id(),
            is_remote=False,
            trace_flags=above.trace_flags,
            trace_state=above.trace_state,
        )
        limits = parent._limits  # noqa: SLF001 - the SDK does not tell them
        span = ReadableSpan(
            name,
            context=context,
            parent=above,
            resource=tracer.resource,
            attributes=BoundedAttributes(
                limits.max_span_attributes,
                attributes,
                max_value_len=limits.max_span_attribute_length,
            ),
            start_time=start_ns,
            end_time=end_ns,
            instrumentation_scope=parent.instrumentation_scope,
        )
        try:
            tracer.span_processor.on_end(span)
        except Exception:  # a processor of the application's ends no job
            _logger.exception("a processor failed on the end of a span")
        return span

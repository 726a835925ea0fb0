"""Who called: the W3C trace context and baggage in a request's headers, read and written.

`OTEL_PROPAGATORS` and an application's own propagator are honoured, since the global one is asked.
What is malformed is ignored: a caller's headers never fail a request. It knows no web framework.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Link, NonRecordingSpan

_logger = logging.getLogger(__name__)

_TRACEPARENT: Final = "traceparent"

Headers = Iterable[tuple[bytes, bytes]]
"""Header names and values, raw, as ASGI has them."""


def extract(headers: Headers) -> Context:
    """What `headers` tell of the caller, on top of nothing.

    More than one `traceparent` is none (W3C Trace Context, section 3.2.1).
    """
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        carrier.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    if len(carrier.get(_TRACEPARENT, ())) > 1:
        del carrier[_TRACEPARENT]
    return _extracted(carrier)


def read(carrier: Mapping[str, str]) -> Context:
    """What headers that `inject` gave tell of the caller, on top of nothing."""
    return _extracted({name: [value] for name, value in carrier.items()})


def _extracted(carrier: Mapping[str, list[str]]) -> Context:
    try:
        return propagate.extract(carrier, Context(), _GETTER)
    except Exception:  # a propagator of the user's may raise
        _logger.exception("the trace context of a request could not be read")
        return Context()


def inject(context: Context | None = None) -> dict[str, str]:
    """Headers that tell of the span and baggage in `context`, by default the current one.

    Empty where there is neither.
    """
    carrier: dict[str, str] = {}
    try:
        propagate.inject(carrier, context)
    except Exception:  # as above
        _logger.exception("the trace context of a request could not be written")
        return {}
    return carrier


def parentage(context: Context, *, link: bool) -> tuple[Context, list[Link]]:
    """A clean context to start a span in, and its links to the caller.

    Of `context` only the baggage and the caller's identity are kept: the caller's span is the
    parent or, with `link`, is linked to by a trace of its own.
    """
    base = Context()
    for name, value in baggage.get_all(context).items():
        base = baggage.set_baggage(name, value, base)
    identity = trace.get_current_span(context).get_span_context()
    if not identity.is_valid:
        return base, []
    if link:
        return base, [Link(identity)]
    return trace.set_span_in_context(NonRecordingSpan(identity), base), []


class _HeaderGetter(Getter[Mapping[str, list[str]]]):
    def get(self, carrier: Mapping[str, list[str]], key: str) -> list[str] | None:
        return carrier.get(key.lower())

    def keys(self, carrier: Mapping[str, list[str]]) -> list[str]:
        return list(carrier)


_GETTER: Final = _HeaderGetter()

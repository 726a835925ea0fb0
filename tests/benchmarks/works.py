"""The work that is measured: the same spans and events, for the bare SDK and for narration.

It knows nothing of how it is timed. A work takes the tracer and the context in which it happens;
that context names a story, or it does not, and that is all the difference.
"""

from collections.abc import Callable
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from narration.hub import Limits, Narration
from narration.log import NarrationLog
from narration.scope import Disclosure, Scope, with_scope
from telemetry.metrics import Metrics

Work = Callable[[trace.Tracer, Context], None]

LIBRARY: Final = "shop.orders"
"""The instrumentation scope of the measured code: a user's own."""

EVENTS: Final = 10


def provider() -> TracerProvider:
    """A provider that samples everything and exports nothing."""
    return TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)


def say(span: trace.Span, count: int) -> None:
    """Events with two attributes each."""
    for number in range(count):
        span.add_event("step", {"number": number, "name": "barn"})


def one_job(tracer: trace.Tracer, context: Context | None) -> None:
    """Three spans, one in another, with two attributes each, and ten events in the innermost."""
    with (
        tracer.start_as_current_span("order", context, attributes={"number": 1, "name": "barn"}),
        tracer.start_as_current_span("pack", attributes={"number": 2, "name": "barn"}),
        tracer.start_as_current_span("load", attributes={"number": 3, "name": "barn"}) as span,
    ):
        say(span, EVENTS)


class Stories:
    """Narration as the server wires it, without the server: a tapped provider, counted metrics."""

    def __init__(self, *, log_events: int = Limits().log_events) -> None:
        tapped = provider()
        limits = Limits(log_events=log_events)
        self._narration = Narration(tapped, counters=Metrics(), limits=limits)
        self.tracer = tapped.get_tracer(LIBRARY)

    def bind(self) -> None:
        """Store on the running loop."""
        self._narration.bind()

    def open(self) -> tuple[Context, NarrationLog]:
        """A new story: the context in which things are told to it, and its log."""
        opened = self._narration.open_story("job")
        scope = Scope(story=opened.story, actor="shop", disclosure=Disclosure())
        return with_scope(scope, Context()), opened.log

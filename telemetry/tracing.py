"""The tracer provider of one server: made as OpenTelemetry's variables say, ended within a bound.

Everything is made in the process that serves: a thread or a connection made before a fork is none
after it. With no endpoint set, nothing is exported and nothing fails. Nothing global is set, unless
the composition root calls `make_global`. It knows neither jobs nor narration.
"""

import logging
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from telemetry import otlp
from telemetry.export import (
    DEFAULT_BOUND_S,
    ExportCounters,
    ExportQueue,
    ExportState,
    NoExportCounters,
    OncePerInterval,
    ended_within,
)
from telemetry.names import SCOPE, Signal

_logger = logging.getLogger(__name__)

_UNNAMED: Final = "unknown_service"


class Tracing:
    """A provider, our tracer on it, and the end of what we own of it."""

    def __init__(
        self,
        provider: TracerProvider,
        *,
        queue: ExportQueue[ReadableSpan] | None = None,
        owned: bool = False,
    ) -> None:
        self.provider = provider
        self.tracer = provider.get_tracer(SCOPE)
        self._queue = queue
        self._owned = owned
        self._quiet = OncePerInterval().install() if queue else None

    @property
    def exports(self) -> bool:
        """Whether spans leave for a collector of ours."""
        return self._queue is not None

    def export_state(self) -> ExportState | None:
        """How the export of ours is doing; None where there is none."""
        return None if self._queue is None else self._queue.state()

    def export(self, span: ReadableSpan) -> None:
        """Export a span that ended in a child process, where our processors did not see it.

        It goes to every processor of the provider; one that tells of running spans (as narration's
        does) has not seen this one start, and has nothing to tell. A processor that raises costs
        nobody else the span.
        """
        for processor in _processors(self.provider):
            try:
                processor.on_end(span)
            except Exception:  # an instrument never breaks the instrumented
                _logger.exception("a span processor raised on a span of a child process")

    def shutdown(self, timeout_s: float = DEFAULT_BOUND_S) -> bool:
        """Send what is left and end; whether all was tried within `timeout_s` (seconds).

        Blocks the caller for that long at most. A user's own provider is left alone.
        """
        if not self._owned:
            return True
        complete = ended_within(timeout_s, lambda: self._end(timeout_s), what="tracing")
        if self._quiet:
            self._quiet.remove()
        return complete

    def _end(self, timeout_s: float) -> bool:
        complete = self._queue is None or self._queue.close(timeout_s)
        self.provider.shutdown()
        return complete


def build_tracing(
    *,
    service_name: str = SCOPE,
    provider: TracerProvider | None = None,
    counters: ExportCounters | None = None,
    id_generator: IdGenerator | None = None,
    bound_s: float = DEFAULT_BOUND_S,
) -> Tracing:
    """Tracing on a user's own `provider`, or on one that the environment describes.

    Sampler, limits, resource, endpoint, headers and batches are read from `OTEL_*` as its
    specification says; `service_name` holds where they name no service. `bound_s` is how many
    seconds one export may take where they say nothing. A `provider` of ours whose owner has ended
    (the global one, which OpenTelemetry lets nobody replace) exports again, and has a new owner.
    """
    if provider is not None:
        return _tracing_on(provider, counters=counters, bound_s=bound_s)
    provider = TracerProvider(
        resource=_resource(service_name),
        # The SDK's own hook at exit waits 12 s for a collector that hangs.
        shutdown_on_exit=False,
        id_generator=id_generator,
    )
    if not otlp.exports(Signal.TRACES):
        return Tracing(provider, owned=True)
    exporting = otlp.export_spans(counters=counters or NoExportCounters(), bound_s=bound_s)
    provider.add_span_processor(exporting)
    return Tracing(provider, queue=exporting.queue, owned=True)


def _tracing_on(
    provider: TracerProvider, *, counters: ExportCounters | None, bound_s: float
) -> Tracing:
    exporting = next((p for p in _processors(provider) if isinstance(p, otlp.SpanExport)), None)
    if exporting is None or not exporting.queue.closed:
        return Tracing(provider)
    exporting.queue = otlp.span_queue(counters=counters or NoExportCounters(), bound_s=bound_s)
    return Tracing(provider, queue=exporting.queue, owned=True)


def make_global(provider: TracerProvider) -> bool:
    """Let third-party instrumentation find `provider`; whether it is the global one now.

    OpenTelemetry lets it be set once: an application that has set its own keeps it.
    """
    trace.set_tracer_provider(provider)
    return trace.get_tracer_provider() is provider


def _resource(service_name: str) -> Resource:
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, _UNNAMED)).startswith(_UNNAMED):
        return resource.merge(Resource({SERVICE_NAME: service_name}))
    return resource


def _processors(provider: TracerProvider) -> tuple[SpanProcessor, ...]:
    """The provider's processors, which it does not tell; none if the SDK has changed."""
    multi = getattr(provider, "_active_span_processor", None)
    processors = getattr(multi, "_span_processors", ())
    return processors if isinstance(processors, tuple) else ()

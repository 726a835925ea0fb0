"""The tracer provider of one server: made as OpenTelemetry's variables say, ended within a bound.

Everything is made in the process that serves: a thread or a connection made before a fork is none
after it. With no endpoint set, nothing is exported and nothing fails. Nothing global is set, unless
the composition root calls `make_global`. It knows neither jobs nor narration.
"""

import logging
import os
import threading
from collections.abc import Callable
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_SDK_DISABLED,
)
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from telemetry.export import (
    DEFAULT_BOUND_S,
    ExportCounters,
    ExportQueue,
    ExportState,
    NoExportCounters,
    OncePerInterval,
    open_otlp,
)
from telemetry.names import SCOPE

_logger = logging.getLogger(__name__)

OTEL_TRACES_EXPORTER: Final = "OTEL_TRACES_EXPORTER"  # the SDK's modules have no name for it
_OUR_PROTOCOL: Final = "http/protobuf"
_UNNAMED: Final = "unknown_service"


class Tracing:
    """A provider, our tracer on it, and the end of what we own of it."""

    def __init__(
        self,
        provider: TracerProvider,
        *,
        queue: ExportQueue | None = None,
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

        Bounded from outside, by a thread of its own, since no processor's word on time can be
        relied on; blocks the caller for that long at most. A user's own provider is left alone.
        """
        if not self._owned:
            return True
        complete = _within(timeout_s, lambda: self._end(timeout_s))
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
    seconds one export may take where they say nothing.
    """
    if provider is not None:
        return Tracing(provider)
    provider = TracerProvider(
        resource=_resource(service_name),
        # The SDK's own hook at exit waits 12 s for a collector that hangs.
        shutdown_on_exit=False,
        id_generator=id_generator,
    )
    if not _exports():
        return Tracing(provider, owned=True)
    queue = open_otlp(counters=counters or NoExportCounters(), bound_s=bound_s)
    provider.add_span_processor(queue)
    return Tracing(provider, queue=queue, owned=True)


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


def _exports() -> bool:
    """Whether the environment asks for an export that we can do; says what we cannot."""
    endpoint = _first(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT)
    if not endpoint or _first(OTEL_SDK_DISABLED).lower() == "true":
        return False
    exporters = {name.strip() for name in _first(OTEL_TRACES_EXPORTER).lower().split(",")} - {""}
    unknown = exporters - {"otlp", "none"}
    if unknown:
        names = ", ".join(sorted(unknown))
        _logger.warning("%s: no exporter %s here, only otlp", OTEL_TRACES_EXPORTER, names)
    if exporters and "otlp" not in exporters:
        return False
    protocol = _first(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, OTEL_EXPORTER_OTLP_PROTOCOL)
    if protocol not in {"", _OUR_PROTOCOL}:
        _logger.warning("OTLP over %s is not supported: %s is used", protocol, _OUR_PROTOCOL)
    return True


def _first(*variables: str) -> str:
    """The first of `variables` that is set and not empty; an empty one counts as unset."""
    return next((text for name in variables if (text := os.environ.get(name, "").strip())), "")


def _processors(provider: TracerProvider) -> tuple[SpanProcessor, ...]:
    """The provider's processors, which it does not tell; none if the SDK has changed."""
    multi = getattr(provider, "_active_span_processor", None)
    processors = getattr(multi, "_span_processors", ())
    return processors if isinstance(processors, tuple) else ()


def _within(timeout_s: float, end: Callable[[], bool]) -> bool:
    """What `end` gives, or False if it takes longer than `timeout_s` or raises."""
    results: list[bool] = []

    def run() -> None:
        try:
            results.append(end())
        except Exception:  # an instrument never breaks the instrumented
            _logger.exception("tracing could not be shut down")

    thread = threading.Thread(target=run, name="tracing-shutdown", daemon=True)
    thread.start()
    thread.join(max(0.0, timeout_s))
    return bool(results and results[0])

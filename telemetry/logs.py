"""Logger providers: where others' log-based events are heard, and where ours go.

Heard: the application's own global provider, or a silent one that exports nothing; without one,
what others emit goes nowhere, and nothing can hear it. Ours: the application's own as well, or a
private one that exports as OpenTelemetry's variables say. Private, so that what is emitted there
can't be heard again, and so that what others emit is not exported because we do. It knows neither
jobs nor narration.
"""

from opentelemetry._logs import Logger, get_logger_provider, set_logger_provider
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk.resources import Resource

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


class _SilentProvider(LoggerProvider):
    """The global provider that we make where the application has none."""


class EventLogger:
    """A logger for log-based events of ours, and the end of what we own of its provider."""

    def __init__(
        self, provider: LoggerProvider, *, queue: ExportQueue[ReadableLogRecord] | None = None
    ) -> None:
        self.provider = provider
        self.logger: Logger = provider.get_logger(SCOPE)
        self._queue = queue
        self._quiet = OncePerInterval().install() if queue else None

    def export_state(self) -> ExportState | None:
        """How the export of ours is doing; None where there is none."""
        return None if self._queue is None else self._queue.state()

    def shutdown(self, timeout_s: float = DEFAULT_BOUND_S) -> bool:
        """Send what is left and end; whether all was tried within `timeout_s` (seconds).

        Blocks the caller for that long at most. An application's own provider is left alone.
        """
        queue = self._queue
        if queue is None:
            return True

        def end() -> bool:
            complete = queue.close(timeout_s)
            self.provider.shutdown()
            return complete

        complete = ended_within(timeout_s, end, what="log-events")
        if self._quiet:
            self._quiet.remove()
        return complete


def build_event_logger(
    resource: Resource,
    *,
    counters: ExportCounters | None = None,
    bound_s: float = DEFAULT_BOUND_S,
) -> EventLogger | None:
    """Where log-based events of ours go; None where nobody would take them.

    To the application's own global provider, if it has set one, else to the collector that the
    environment names. `bound_s` is how many seconds one export may take where it says nothing.
    """
    own = get_logger_provider()
    if isinstance(own, LoggerProvider) and not isinstance(own, _SilentProvider):
        return EventLogger(own)
    if not otlp.exports(Signal.LOGS):
        return None
    # The SDK's own hook at exit does not keep to a time.
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    exporting = otlp.export_logs(counters=counters or NoExportCounters(), bound_s=bound_s)
    provider.add_log_record_processor(exporting)
    return EventLogger(provider, queue=exporting.queue)


def logger_provider(resource: Resource) -> LoggerProvider | None:
    """The global provider; a silent one with `resource` is made global where there is none.

    None where the application has set one that is not the SDK's: it has no processors.
    """
    if isinstance(get_logger_provider(), ProxyLoggerProvider):
        set_logger_provider(_SilentProvider(resource, shutdown_on_exit=False))
    provider = get_logger_provider()
    return provider if isinstance(provider, LoggerProvider) else None

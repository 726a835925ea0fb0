"""Spans and log records leave over OTLP/HTTP, as OpenTelemetry's variables say.

The only import of the OTLP exporters, and where their variables are read. What a signal has of its
own is here: its variables, its exporter, and the processor that takes its items; how they wait and
are sent is `telemetry.export`. It knows neither jobs nor narration.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk import environment_variables as variables
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from telemetry.export import DEFAULT_BOUND_S, ExportCounters, Exporter, ExportQueue, Item
from telemetry.names import Signal

_logger = logging.getLogger(__name__)

_OUR_PROTOCOL: Final = "http/protobuf"
_TIMEOUT_MS: Final = 30_000
_QUEUE: Final = 2048
_BATCH: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variables:
    """What the variables of a signal are called, and its delay in ms where none says another."""

    exporter: str
    endpoint: str
    protocol: str
    timeout: str
    max_queue: str
    max_batch: str
    delay: str
    batch_timeout: str
    delay_ms: int


_VARIABLES: Final[Mapping[Signal, _Variables]] = {
    Signal.TRACES: _Variables(
        exporter="OTEL_TRACES_EXPORTER",  # the SDK's modules have no name for it
        endpoint=variables.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
        protocol=variables.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
        timeout=variables.OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
        max_queue=variables.OTEL_BSP_MAX_QUEUE_SIZE,
        max_batch=variables.OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
        delay=variables.OTEL_BSP_SCHEDULE_DELAY,
        batch_timeout=variables.OTEL_BSP_EXPORT_TIMEOUT,
        delay_ms=5000,
    ),
    Signal.LOGS: _Variables(
        exporter="OTEL_LOGS_EXPORTER",
        endpoint=variables.OTEL_EXPORTER_OTLP_LOGS_ENDPOINT,
        protocol="OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
        timeout=variables.OTEL_EXPORTER_OTLP_LOGS_TIMEOUT,
        max_queue=variables.OTEL_BLRP_MAX_QUEUE_SIZE,
        max_batch=variables.OTEL_BLRP_MAX_EXPORT_BATCH_SIZE,
        delay=variables.OTEL_BLRP_SCHEDULE_DELAY,
        batch_timeout=variables.OTEL_BLRP_EXPORT_TIMEOUT,
        delay_ms=1000,
    ),
}


class SpanExport(SpanProcessor):
    """Puts finished spans into the queue; unsampled ones are not exported."""

    def __init__(self, queue: ExportQueue[ReadableSpan]) -> None:
        self.queue = queue

    def on_end(self, span: ReadableSpan) -> None:
        """Take a finished span; never waits for the network."""
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled:
            self.queue.put(span)

    def shutdown(self) -> None:
        """Close the queue within its default bound."""
        self.queue.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what has come so far."""
        return self.queue.force_flush(timeout_millis)


class LogExport(LogRecordProcessor):
    """Puts log records into the queue, whether or not their trace is sampled.

    So the specification has it: sampling is of traces, and a logger drops the records of unsampled
    ones only where it is told to.
    """

    def __init__(self, queue: ExportQueue[ReadableLogRecord]) -> None:
        self.queue = queue

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Take a log record; never waits for the network."""
        self.queue.put(
            ReadableLogRecord(
                log_record.log_record,
                log_record.resource or Resource.get_empty(),
                log_record.instrumentation_scope,
                log_record.limits,
            )
        )

    def shutdown(self) -> None:
        """Close the queue within its default bound."""
        self.queue.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what has come so far."""
        return self.queue.force_flush(timeout_millis)


def exports(signal: Signal) -> bool:
    """Whether the environment asks for an export of `signal` that we can do; says what we can't."""
    said = _VARIABLES[signal]
    endpoint = _first(said.endpoint, variables.OTEL_EXPORTER_OTLP_ENDPOINT)
    if not endpoint or _first(variables.OTEL_SDK_DISABLED).lower() == "true":
        return False
    exporters = {name.strip() for name in _first(said.exporter).lower().split(",")} - {""}
    unknown = exporters - {"otlp", "none"}
    if unknown:
        names = ", ".join(sorted(unknown))
        _logger.warning("%s: no exporter %s here, only otlp", said.exporter, names)
    if exporters and "otlp" not in exporters:
        return False
    protocol = _first(said.protocol, variables.OTEL_EXPORTER_OTLP_PROTOCOL)
    if protocol not in {"", _OUR_PROTOCOL}:
        _logger.warning("OTLP over %s is not supported: %s is used", protocol, _OUR_PROTOCOL)
    return True


def export_spans(*, counters: ExportCounters, bound_s: float = DEFAULT_BOUND_S) -> SpanExport:
    """Exports spans as `span_queue` does."""
    return SpanExport(span_queue(counters=counters, bound_s=bound_s))


def span_queue(
    *, counters: ExportCounters, bound_s: float = DEFAULT_BOUND_S
) -> ExportQueue[ReadableSpan]:
    """The way to the collector that the environment names (exporter and batch variables).

    One export may take `bound_s` seconds unless the environment says otherwise.
    """
    # Its import costs a tenth of a second, and only an export needs it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    exporter = OTLPSpanExporter(timeout=_timeout_s(Signal.TRACES, bound_s))
    return _queue(Signal.TRACES, exporter, counters, bound_s)


def export_logs(*, counters: ExportCounters, bound_s: float = DEFAULT_BOUND_S) -> LogExport:
    """The same for log records, with the variables of theirs."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import (  # noqa: PLC0415 - as above
        OTLPLogExporter,
    )

    exporter = OTLPLogExporter(timeout=_timeout_s(Signal.LOGS, bound_s))
    return LogExport(_queue(Signal.LOGS, exporter, counters, bound_s))


def _queue(
    signal: Signal, exporter: Exporter[Item], counters: ExportCounters, bound_s: float
) -> ExportQueue[Item]:
    said = _VARIABLES[signal]
    return ExportQueue(
        exporter,
        signal=signal,
        counters=counters,
        max_queue=_positive(said.max_queue, _QUEUE),
        max_batch=_positive(said.max_batch, _BATCH),
        delay_s=_positive(said.delay, said.delay_ms) / 1000,
        bound_s=bound_s,
    )


def _timeout_s(signal: Signal, bound_s: float) -> float | None:
    """How long one export may take; None where the exporter finds it in the environment."""
    said = _VARIABLES[signal]
    if _first(said.timeout, variables.OTEL_EXPORTER_OTLP_TIMEOUT):
        return None
    return min(bound_s, _positive(said.batch_timeout, _TIMEOUT_MS) / 1000)


def _first(*names: str) -> str:
    """The first of the variables that is set and not empty; an empty one counts as unset."""
    return next((text for name in names if (text := os.environ.get(name, "").strip())), "")


def _positive(variable: str, default: int) -> int:
    """A positive whole number from the environment; anything else is told and not used."""
    text = _first(variable)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value <= 0:
        _logger.warning("%s=%s is no positive number: %d is used", variable, text, default)
        return default
    return value

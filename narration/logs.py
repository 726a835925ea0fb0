"""Log records and log-based events under a job, from `logging` and from OpenTelemetry.

One record is told once, whichever road brings it first: `NarrationHandler` on a logger, or
OpenTelemetry's own handler and then `NarrationLogProcessor`. To know each other's records the two
share one `Once`. A record outside of any story goes to no stream; the server's own records neither.
"""

import logging
import threading
import traceback
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.trace import format_span_id, format_trace_id

from narration import formatting
from narration.disclosure import WITHHELD, json_safe, render
from narration.formatting import LogLine
from narration.message import Place, place_of
from narration.scope import current_scope
from narration.tap import count_failure
from telemetry import names
from telemetry.names import Level

REMEMBERED: Final = 1_024
"""Records that `Once` remembers; both roads are taken within one logging call."""

_OWN_LOGGERS: Final = frozenset({"narration", "telemetry", "app", names.SCOPE})
"""What these loggers say is not told; the last is that of `narration.log_events`."""

_INSTALLED: Final = "_narration_log_processor"
_EVENT_NAMES: Final = ("otel.event.name", "event.name")  # the second is deprecated
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    # what the logging instrumentation injects: every message has these ids already
    "otelSpanID",
    "otelTraceID",
    "otelTraceSampled",
    "otelServiceName",
}


class Once:
    """Tells which of several roads may tell a record; safe to use from any thread.

    Records are known by a key; equal keys are counted, so that two records that cannot be told
    apart are still both told.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[Hashable, dict[int, int]] = OrderedDict()

    def first(self, road: object, key: Hashable) -> bool:
        """Whether no other road has brought as many records with this key as `road` now has."""
        with self._lock:
            counts = self._counts.setdefault(key, {})
            if len(self._counts) > REMEMBERED:
                self._counts.popitem(last=False)
            count = counts.get(id(road), 0) + 1
            counts[id(road)] = count
            return all(count > seen for other, seen in counts.items() if other != id(road))


class NarrationHandler(logging.Handler):
    """Tells the records of a logger (the root logger, most often) that are made under a job."""

    def __init__(self, level: int | str = logging.NOTSET, *, once: Once | None = None) -> None:
        super().__init__(level)
        self.once = once or Once()

    def createLock(self) -> None:  # noqa: N802 - the name is logging's
        """No lock: a story has its own, and holding ours across it could only deadlock."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Tell `record` to the story in context; never raises."""
        scope = current_scope()
        if scope is None or _is_own(record.name):
            return
        try:
            at_ns = int(record.created * 1e9)  # as OpenTelemetry's handler computes it
            if self.once.first(self, (scope.story.job_id, record.name, at_ns)):
                line = _line_of_record(record, at_ns)
                scope.story.put(formatting.log_record, scope, line)
        except Exception:  # noqa: BLE001 - an instrument never breaks the instrumented
            count_failure(scope)


class NarrationLogProcessor(LogRecordProcessor):
    """Tells OpenTelemetry's log records and log-based events that are made under a job."""

    def __init__(self, *, once: Once | None = None) -> None:
        self.once = once or Once()

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Tell `log_record` to the story of its context, or else of the current one."""
        record = log_record.log_record
        scope = current_scope(record.context) or current_scope()
        source = log_record.instrumentation_scope
        name = source.name if source else ""
        if scope is None or _is_own(name):
            return
        try:
            at_ns = record.timestamp or record.observed_timestamp or scope.story.clock.wall_ns()
            if self.once.first(self, (scope.story.job_id, name, at_ns)):
                line = _line_of_otel(log_record, name, at_ns)
                scope.story.put(formatting.log_record, scope, line)
        except Exception:  # noqa: BLE001 - an instrument never breaks the instrumented
            count_failure(scope)

    def shutdown(self) -> None:
        """Nothing to shut down: what was said has been handed over."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - it never waits
        """Nothing is kept back: always True."""
        return True


def install_logs(provider: LoggerProvider) -> NarrationLogProcessor:
    """Tell the log records of `provider`: the one processor that it has, made by the first call.

    A `NarrationHandler` beside it shares its `once`, and should come before OpenTelemetry's own
    handler: only `logging` knows a text apart from the values that it was filled in with.
    """
    processor = NarrationLogProcessor()
    first: NarrationLogProcessor = vars(provider).setdefault(_INSTALLED, processor)
    if first is processor:
        provider.add_log_record_processor(processor)
    return first


def level_of_logging(number: int) -> Level:
    """The level of a `logging` level number: the highest standard one that it reaches."""
    for floor, level in (
        (logging.CRITICAL, Level.FATAL),
        (logging.ERROR, Level.ERROR),
        (logging.WARNING, Level.WARN),
        (logging.INFO, Level.INFO),
        (logging.DEBUG, Level.DEBUG),
    ):
        if number >= floor:
            return level
    return Level.TRACE


def level_of_severity(number: int) -> Level:
    """The level whose range holds an OpenTelemetry SeverityNumber; `info` if unspecified."""
    reached = [level for level in Level if level <= number]
    return max(reached, default=Level.INFO)


def _line_of_record(record: logging.LogRecord, at_ns: int) -> LogLine:
    attributes = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    event_name = _pop_event_name(attributes)
    kind, message = None, None
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        kind, message = _type_name(type(error)), _str(error)
        attributes[names.EXCEPTION_MESSAGE] = message
        attributes[names.EXCEPTION_STACKTRACE] = "".join(traceback.format_exception(error))
    return LogLine(
        logger=record.name,
        level=level_of_logging(record.levelno),
        at_ns=at_ns,
        text=_message(record),
        template=_template(record),
        arguments=json_safe(record.args) if isinstance(record.args, Mapping) else {},
        # made plain now: what was passed may change before the story gets to it
        attributes=json_safe(attributes) if attributes else attributes,
        event_name=event_name,
        exception_type=kind,
        exception_message=message,
        place=place_of(trace.get_current_span()),
    )


def _line_of_otel(log_record: ReadWriteLogRecord, source: str, at_ns: int) -> LogLine:
    record = log_record.log_record
    attributes = dict(record.attributes or {})
    event_name = record.event_name or _pop_event_name(attributes)
    kind = attributes.get(names.EXCEPTION_TYPE)
    message = attributes.get(names.EXCEPTION_MESSAGE)
    body = record.body
    severity = record.severity_number
    for name in _STANDARD.intersection(attributes):
        del attributes[name]
    return LogLine(
        logger=source,
        level=level_of_severity(severity.value if severity else 0),
        at_ns=at_ns,
        text="" if body is None else body if isinstance(body, str) else render(json_safe(body)),
        # a body that is no text is data, and all of it values
        template=None if body is None or isinstance(body, str) else "" if event_name else WITHHELD,
        attributes=attributes,
        event_name=event_name,
        exception_type=None if kind is None else str(kind),
        exception_message=None if message is None else str(message),
        place=_place_of_otel(log_record),
    )


def _place_of_otel(log_record: ReadWriteLogRecord) -> Place:
    record = log_record.log_record
    place = place_of(trace.get_current_span(record.context))
    if not record.trace_id or not record.span_id:
        return place
    trace_id, span_id = format_trace_id(record.trace_id), format_span_id(record.span_id)
    same = (place.trace_id, place.span_id) == (trace_id, span_id)
    return place if same else Place(trace_id, span_id)


def _pop_event_name(attributes: dict[str, Any]) -> str | None:
    found = [attributes.pop(name) for name in _EVENT_NAMES if name in attributes]
    return str(found[0]) if found and found[0] else None


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit: the template still says something
        return _str(record.msg)


def _template(record: logging.LogRecord) -> str | None:
    """What the message was made from, without values; None where it is a text as it stands."""
    message: object = record.msg
    if isinstance(message, str):
        return message if record.args else None
    # what is logged instead of a text is a value itself
    return _type_name(type(message)) if isinstance(message, BaseException) else WITHHELD


def _str(value: object) -> str:
    text = json_safe(value)
    return text if isinstance(text, str) else render(text)


def _type_name(kind: type[BaseException]) -> str:
    """The name of an exception type in the form of the SDK's `record_exception`."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _is_own(logger: str) -> bool:
    return logger.partition(".")[0] in _OWN_LOGGERS

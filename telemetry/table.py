"""The published contract of telemetry, as data: every span, event, attribute and metric.

`telemetry.metrics` builds its instruments from `METRICS`; `telemetry/README.md` is what
`python -m telemetry.table` prints, and a test compares a full run with it (`differences`). A name
that leaves the process has a row here. It knows no library of telemetry. It is longer than other
modules because it is a table.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from telemetry import names
from telemetry.names import Label, MetricName, Moment


class MetricType(StrEnum):
    """The types of metrics in the Prometheus exposition."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """An attribute of a span or an event; a name that ends in `.` stands for all that begin so."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRow:
    """A span of ours. `attributes` are all it may have; which it has depends on the outcome."""

    name: str
    parent: str
    kind: str
    attributes: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event on one of our spans."""

    name: str
    span: str
    attributes: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """A metric; `unit` is a base unit, or what is counted."""

    name: MetricName
    type: MetricType
    unit: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    description: str


def _attributes(*rows: tuple[str, str, str]) -> tuple[Attribute, ...]:
    return tuple(Attribute(name=name, type=kind, description=text) for name, kind, text in rows)


ATTRIBUTES: Final = _attributes(
    (names.JOB_ID, "string", "The job's id."),
    (names.JOB_OPERATION, "string", "The operation that the job runs."),
    (names.JOB_PRIORITY, "string", "`low`, `normal`, `high` or `critical`."),
    (
        names.JOB_STATE,
        "string",
        "The job's state: at its end, or when a cancellation was asked for.",
    ),
    (names.JOB_REASON, "string", "Why the job failed."),
    (names.JOB_ATTEMPT, "int", "Number of the attempt, from 1; 0 before the first."),
    (names.JOB_MAX_ATTEMPTS, "int", "Attempts that the policy allows."),
    (names.JOB_OUTCOME, "string", "How the attempt ended, or the one before a retry."),
    (names.JOB_DELAY_S, "double", "Seconds until the next attempt."),
    (names.JOB_WAIT_S, "double", "Seconds that the attempt waited for a slot."),
    (names.JOB_RUN_S, "double", "Seconds that the attempt ran."),
    (names.JOB_NEXT_RETRY_AT, "string", "When the next attempt is due (RFC 3339, UTC)."),
    (names.JOB_TIMEOUT_KIND, "string", "The limit that ran out."),
    (names.JOB_TIMEOUT_S, "double", "That limit, in seconds."),
    (names.JOB_CANCEL_ORIGIN, "string", "Who asked to cancel: `client`, `shutdown`, `unwatched`."),
    (names.JOB_CANCEL_ABANDONED, "bool", "True if the handler would not stop within the grace."),
    (
        names.JOB_BLOCKED_S,
        "double",
        "For how long the event loop had been late, in seconds, when it ran again.",
    ),
    (names.JOB_QUEUE_POSITION, "int", "Jobs ahead in the queue; 0 is next."),
    (names.JOB_RETRY_OF, "string", "Id of the job that this one repeats."),
    (names.JOB_CONCURRENCY_KEY, "string", "Jobs that share it run one at a time by default."),
    (names.JOB_TAG_PREFIX, "string", "A tag of the job, by its key."),
    (names.JOB_ERROR, "string", "The message of the error."),
    (names.JOB_RUNNING, "bool", "In a downloaded trace: the span had not ended."),
    (names.NARRATION_ACTOR, "string", "Who speaks in a narrated message."),
    (names.NARRATION_TEXT, "string", "The text of a narrated message."),
    (names.NARRATION_CUTE, "string", "The same, in the cute mode."),
    (names.NARRATION_STORY, "string", "The same, in the story mode."),
    (names.NARRATION_LEVEL, "string", "Severity of a narrated message."),
    (names.NARRATION_KIND, "string", "Where a message came from, as in the stream."),
    (names.NARRATION_ACTION, "string", "What a message is about."),
    (names.NARRATION_SEQ, "int", "A message's number in the story of its job, from 1."),
    (names.NARRATION_LENGTH, "int", "Bytes of a text that was cut, before it was."),
    (names.ERROR_TYPE, "string", "Class of the error, or the outcome where there is none."),
    (names.EXCEPTION_TYPE, "string", "Class of the exception."),
    (names.EXCEPTION_MESSAGE, "string", "Message of the exception."),
    (names.EXCEPTION_STACKTRACE, "string", "Traceback of the exception."),
    ("exception.escaped", "string", "Whether the exception left the span."),
    (
        names.LOG_RECORD_ORIGINAL,
        "string",
        "Never emitted: an operation that discloses it shows third-party log texts in full.",
    ),
    (
        names.CODE_FUNCTION_NAME,
        "string",
        "Qualified name of the handler; of a blocked loop, of the function that it stood in.",
    ),
    (
        names.CODE_STACKTRACE,
        "string",
        "Where the event loop stood: a line for each call, the innermost last.",
    ),
    (names.PROCESS_EXECUTABLE_NAME, "string", "The command that `narrator exec` runs."),
    (names.PROCESS_EXIT_CODE, "int", "Its exit code; negative for the signal that killed it."),
    (names.MESSAGING_SYSTEM, "string", f"Always `{names.SCOPE}`."),
    (names.MESSAGING_OPERATION_NAME, "string", "Always `run`."),
    (names.MESSAGING_OPERATION_TYPE, "string", "Always `process`."),
    (names.MESSAGING_DESTINATION_NAME, "string", "The operation."),
    (names.MESSAGING_MESSAGE_ID, "string", "The job's id."),
)

_JOB: Final = (names.JOB_ID, names.JOB_OPERATION)

SPANS: Final = (
    SpanRow(
        name=names.SPAN_JOB,
        parent="the caller's span, or none",
        kind="internal",
        attributes=(
            *_JOB,
            names.JOB_PRIORITY,
            names.JOB_RETRY_OF,
            names.JOB_CONCURRENCY_KEY,
            names.JOB_TAG_PREFIX,
            names.JOB_STATE,
            names.JOB_ATTEMPT,
            names.JOB_REASON,
            names.ERROR_TYPE,
            names.JOB_CANCEL_ORIGIN,
            names.JOB_CANCEL_ABANDONED,
        ),
        description="One job, from its creation to its end; named `job <operation>`.",
    ),
    SpanRow(
        name=names.SPAN_WAIT,
        parent=names.SPAN_JOB,
        kind="internal",
        attributes=(names.JOB_ID, names.JOB_ATTEMPT),
        description="From queueing to the start of an attempt, or to the end of a job that did "
        "not start; made when it is over.",
    ),
    SpanRow(
        name=names.SPAN_ATTEMPT,
        parent=names.SPAN_JOB,
        kind="consumer",
        attributes=(
            *_JOB,
            names.JOB_ATTEMPT,
            names.MESSAGING_SYSTEM,
            names.MESSAGING_OPERATION_NAME,
            names.MESSAGING_OPERATION_TYPE,
            names.MESSAGING_DESTINATION_NAME,
            names.MESSAGING_MESSAGE_ID,
            names.CODE_FUNCTION_NAME,
            names.JOB_OUTCOME,
            names.ERROR_TYPE,
        ),
        description="One run of the handler; what the handler does lies under it.",
    ),
    SpanRow(
        name=names.SPAN_BACKOFF,
        parent=names.SPAN_JOB,
        kind="internal",
        attributes=(names.JOB_ID, names.JOB_ATTEMPT),
        description="From a failed attempt to the time of its retry; made when it is over.",
    ),
)


def _events(*rows: tuple[Moment, tuple[str, ...], str]) -> tuple[EventRow, ...]:
    return tuple(
        EventRow(name=name, span=names.SPAN_JOB, attributes=attributes, description=text)
        for name, attributes, text in rows
    )


EVENTS: Final = (
    *_events(
        (
            Moment.DEFERRED,
            (names.JOB_OPERATION, names.JOB_PRIORITY, names.JOB_TIMEOUT_S),
            "The job waits for its first stream.",
        ),
        (
            Moment.QUEUED,
            (names.JOB_OPERATION, names.JOB_PRIORITY, names.JOB_QUEUE_POSITION),
            "The job waits for a slot.",
        ),
        (
            Moment.STARTED,
            (names.JOB_OPERATION, names.JOB_ATTEMPT, names.JOB_MAX_ATTEMPTS, names.JOB_WAIT_S),
            "An attempt has started.",
        ),
        (
            Moment.ATTEMPT_FAILED,
            (
                names.JOB_ATTEMPT,
                names.JOB_MAX_ATTEMPTS,
                names.JOB_OUTCOME,
                names.JOB_RUN_S,
                names.ERROR_TYPE,
                names.JOB_ERROR,
            ),
            "An attempt has ended without success.",
        ),
        (
            Moment.ATTEMPT_TIMED_OUT,
            (
                names.JOB_ATTEMPT,
                names.JOB_MAX_ATTEMPTS,
                names.JOB_TIMEOUT_KIND,
                names.JOB_TIMEOUT_S,
            ),
            "A limit ran out while the attempt ran; it was asked to stop.",
        ),
        (
            Moment.RETRY_SCHEDULED,
            (
                names.JOB_ATTEMPT,
                names.JOB_MAX_ATTEMPTS,
                names.JOB_OUTCOME,
                names.JOB_DELAY_S,
                names.JOB_NEXT_RETRY_AT,
            ),
            "The next attempt has a time.",
        ),
        (
            Moment.CANCEL_REQUESTED,
            (names.JOB_CANCEL_ORIGIN, names.JOB_STATE),
            "Somebody asked to cancel the job, which was in this state.",
        ),
        (
            Moment.LOOP_BLOCKED,
            (
                names.JOB_OPERATION,
                names.JOB_ATTEMPT,
                names.JOB_BLOCKED_S,
                names.CODE_FUNCTION_NAME,
                names.CODE_STACKTRACE,
            ),
            "The handler kept the event loop from running; told once it runs again.",
        ),
        (
            Moment.ABANDONED,
            (names.JOB_OPERATION, names.JOB_ATTEMPT),
            "The handler would not stop within the grace; its slot is free.",
        ),
        (
            Moment.COMPLETED,
            (names.JOB_OPERATION, names.JOB_ATTEMPT, names.JOB_RUN_S),
            "The job has succeeded.",
        ),
        (
            Moment.FAILED,
            (
                names.JOB_OPERATION,
                names.JOB_REASON,
                names.JOB_ATTEMPT,
                names.ERROR_TYPE,
                names.JOB_ERROR,
            ),
            "The job has failed for good.",
        ),
        (
            Moment.EXPIRED,
            (names.JOB_OPERATION, names.JOB_TIMEOUT_KIND, names.JOB_TIMEOUT_S),
            "The job never started in time.",
        ),
        (
            Moment.CANCELLED,
            (names.JOB_OPERATION, names.JOB_CANCEL_ORIGIN, names.JOB_CANCEL_ABANDONED),
            "The job was cancelled, and its work has stopped or was abandoned.",
        ),
    ),
    EventRow(
        name=names.EXCEPTION_EVENT,
        span=names.SPAN_ATTEMPT,
        attributes=(
            names.EXCEPTION_TYPE,
            names.EXCEPTION_MESSAGE,
            names.EXCEPTION_STACKTRACE,
            "exception.escaped",
        ),
        description="The exception that failed the attempt.",
    ),
)

NARRATION_ATTRIBUTES: Final = (
    names.NARRATION_ACTOR,
    names.NARRATION_TEXT,
    names.NARRATION_CUTE,
    names.NARRATION_STORY,
    names.NARRATION_LEVEL,
)
"""What `narrate()` puts on its event beside the caller's own fields; the name is its action."""

LOG_EVENT_ATTRIBUTES: Final = (
    names.JOB_ID,
    names.JOB_ATTEMPT,
    names.NARRATION_SEQ,
    names.NARRATION_KIND,
    names.NARRATION_ACTOR,
    names.NARRATION_ACTION,
    names.NARRATION_CUTE,
    names.NARRATION_STORY,
    names.NARRATION_LENGTH,
)
"""What a message has as a log record beside its own fields; the last three only where it has them.
"""

DURATIONS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0),
)
_LAGS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_ANSWERS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0)

_COUNTER, _GAUGE, _HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM


def _metric(  # noqa: PLR0917 - the columns of a table
    name: MetricName,
    kind: MetricType,
    unit: str,
    labels: tuple[Label, ...],
    description: str,
    buckets: tuple[float, ...] = (),
) -> MetricRow:
    return MetricRow(
        name=name, type=kind, unit=unit, labels=labels, buckets=buckets, description=description
    )


METRICS: Final = (
    _metric(
        MetricName.QUEUE_DEPTH,
        _GAUGE,
        "jobs",
        (Label.PRIORITY,),
        "Jobs that wait for a slot; deferred and retrying ones are not among them.",
    ),
    _metric(
        MetricName.QUEUE_OLDEST_AGE,
        _GAUGE,
        "seconds",
        (Label.PRIORITY,),
        "How long the oldest waiting job has waited; 0 if none waits.",
    ),
    _metric(MetricName.RUNNING, _GAUGE, "jobs", (Label.OPERATION,), "Jobs that hold a slot."),
    _metric(
        MetricName.RETRYING,
        _GAUGE,
        "jobs",
        (Label.OPERATION,),
        "Jobs that wait for the time of their retry.",
    ),
    _metric(MetricName.DEFERRED, _GAUGE, "jobs", (), "Jobs that wait for their first stream."),
    _metric(MetricName.RETAINED_JOBS, _GAUGE, "jobs", (), "Finished jobs that are still kept."),
    _metric(
        MetricName.RETAINED_BYTES, _GAUGE, "bytes", (), "Memory of the stories of finished jobs."
    ),
    _metric(MetricName.WORKER_SLOTS, _GAUGE, "slots", (), "Jobs that may run at the same time."),
    _metric(
        MetricName.SUBMITTED,
        _COUNTER,
        "jobs",
        (Label.OPERATION, Label.PRIORITY),
        "Jobs that were accepted.",
    ),
    _metric(
        MetricName.REFUSED, _COUNTER, "submissions", (Label.REASON,), "Submissions not accepted."
    ),
    _metric(
        MetricName.FINISHED,
        _COUNTER,
        "jobs",
        (Label.OPERATION, Label.OUTCOME, Label.REASON),
        "Jobs that ended, by terminal state; the reason is empty unless the state is `failed`.",
    ),
    _metric(
        MetricName.WAIT,
        _HISTOGRAM,
        "seconds",
        (Label.OPERATION, Label.PRIORITY),
        "From queueing to the start of an attempt, per attempt.",
        DURATIONS,
    ),
    _metric(
        MetricName.RUN,
        _HISTOGRAM,
        "seconds",
        (Label.OPERATION, Label.OUTCOME),
        "From the start of an attempt to its end, per attempt.",
        DURATIONS,
    ),
    _metric(
        MetricName.ATTEMPTS,
        _COUNTER,
        "attempts",
        (Label.OPERATION, Label.OUTCOME),
        "Attempts that ended.",
    ),
    _metric(
        MetricName.RETRIES,
        _COUNTER,
        "retries",
        (Label.OPERATION, Label.REASON),
        "Retries, counted when scheduled, by the outcome of the attempt before.",
    ),
    _metric(
        MetricName.TIMEOUTS,
        _COUNTER,
        "timeouts",
        (Label.OPERATION, Label.KIND),
        "Limits that ran out: `attempt`, `queue`, `attach` or `deadline`.",
    ),
    _metric(
        MetricName.CANCELLATIONS,
        _COUNTER,
        "jobs",
        (Label.OPERATION, Label.ORIGIN),
        "Jobs that were cancelled.",
    ),
    _metric(
        MetricName.CANCELLATION_TIME,
        _HISTOGRAM,
        "seconds",
        (Label.OPERATION, Label.ORIGIN),
        "From the request to the stop of the handler; only of jobs that were running.",
        DURATIONS,
    ),
    _metric(
        MetricName.ABANDONED,
        _COUNTER,
        "handlers",
        (Label.OPERATION,),
        "Handlers that would not stop within the grace.",
    ),
    _metric(MetricName.STREAMS_OPEN, _GAUGE, "streams", (), "Streams that are open."),
    _metric(
        MetricName.MESSAGES,
        _COUNTER,
        "messages",
        (Label.SOURCE, Label.LEVEL),
        "Narration messages that were stored.",
    ),
    _metric(
        MetricName.MESSAGES_DROPPED,
        _COUNTER,
        "messages",
        (Label.REASON,),
        "Messages that never reached their log: `overflow`, `late` or `error`.",
    ),
    _metric(
        MetricName.MESSAGES_DELIVERED,
        _COUNTER,
        "events",
        (),
        "Events written to streams, replayed ones among them.",
    ),
    _metric(
        MetricName.MESSAGES_REPLAYED,
        _COUNTER,
        "events",
        (),
        "Events written to streams from before they attached.",
    ),
    _metric(MetricName.GAPS, _COUNTER, "gaps", (Label.REASON,), "Gaps that were told to a stream."),
    _metric(MetricName.SLOW_READERS, _COUNTER, "readers", (), "Readers that the log moved past."),
    _metric(
        MetricName.LOOP_BLOCKED,
        _COUNTER,
        "blockings",
        (Label.OPERATION,),
        "Times that the event loop stood still for longer than NARRATOR_BLOCKED_LOOP_S, by the "
        "operation whose code it stood in; empty where it was none's.",
    ),
    _metric(
        MetricName.LOOP_LAG,
        _HISTOGRAM,
        "seconds",
        (),
        "How late the event loop ran a timer that was due.",
        _LAGS,
    ),
    _metric(
        MetricName.STORE_COMMIT,
        _HISTOGRAM,
        "seconds",
        (),
        "From handing a batch of changes to the store until it was committed.",
        _LAGS,
    ),
    _metric(
        MetricName.STORE_EVENTS,
        _COUNTER,
        "events",
        (),
        "Events of stories that the store has committed.",
    ),
    _metric(
        MetricName.STORE_FAILURES,
        _COUNTER,
        "batches",
        (Label.REASON,),
        "Batches that the store could not commit; each is tried again.",
    ),
    _metric(
        MetricName.HTTP_ANSWER,
        _HISTOGRAM,
        "seconds",
        (Label.METHOD, Label.ROUTE, Label.STATUS),
        "From an HTTP request to the head of its answer; how long a stream lasts is not in it.",
        _ANSWERS,
    ),
    _metric(MetricName.CONNECTIONS_OPEN, _GAUGE, "connections", (), "Connections that are open."),
    _metric(
        MetricName.CONNECTIONS_CUT,
        _COUNTER,
        "connections",
        (Label.REASON,),
        "Connections that the server refused or closed by a bound of its own: `too_many` of them, "
        "`made_room` for another one; a request's `head_time`, `body_time`, `head_size`; too many "
        "requests `ahead` of their turn; `malformed`; an answer `unread`.",
    ),
    _metric(
        MetricName.EXPORTED,
        _COUNTER,
        "spans",
        (Label.OUTCOME,),
        "Spans given to the exporter: `sent` or `failed`.",
    ),
    _metric(
        MetricName.EXPORT_DROPPED,
        _COUNTER,
        "spans",
        (),
        "Spans dropped because the export queue was full or was closed.",
    ),
    _metric(MetricName.EXPORT_QUEUE, _GAUGE, "spans", (), "Spans that wait to be exported."),
    _metric(
        MetricName.EXPORT_LAST_SUCCESS,
        _GAUGE,
        "seconds",
        (),
        "Unix time of the last export that succeeded; 0 if none has.",
    ),
    _metric(
        MetricName.LOGS_EXPORTED,
        _COUNTER,
        "log records",
        (Label.OUTCOME,),
        "Log records given to their exporter: `sent` or `failed`.",
    ),
    _metric(
        MetricName.LOGS_EXPORT_DROPPED,
        _COUNTER,
        "log records",
        (),
        "Log records dropped because their export queue was full or was closed.",
    ),
    _metric(
        MetricName.LOGS_EXPORT_QUEUE,
        _GAUGE,
        "log records",
        (),
        "Log records that wait to be exported.",
    ),
    _metric(
        MetricName.LOGS_EXPORT_LAST_SUCCESS,
        _GAUGE,
        "seconds",
        (),
        "Unix time of the last export of log records that succeeded; 0 if none has.",
    ),
    _metric(MetricName.PROCESS_CPU, _COUNTER, "seconds", (), "CPU time of the server process."),
    _metric(MetricName.PROCESS_RESIDENT, _GAUGE, "bytes", (), "Resident memory of the process."),
    _metric(MetricName.PROCESS_VIRTUAL, _GAUGE, "bytes", (), "Virtual memory of the process."),
    _metric(MetricName.PROCESS_START, _GAUGE, "seconds", (), "Unix time of the process's start."),
    _metric(MetricName.PROCESS_OPEN_FDS, _GAUGE, "files", (), "Open file descriptors."),
    _metric(MetricName.PROCESS_MAX_FDS, _GAUGE, "files", (), "Limit of open file descriptors."),
)

METRIC_ROWS: Final[Mapping[MetricName, MetricRow]] = {row.name: row for row in METRICS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """What a run emitted: for each name, the attributes (or labels) it was seen with.

    `events` has the events of our own spans by name, except those of `narrate()`.
    """

    spans: Mapping[str, frozenset[str]]
    events: Mapping[str, frozenset[str]]
    metrics: Mapping[str, frozenset[str]]


def differences(emitted: Emitted, *, complete: bool = False) -> list[str]:
    """Where `emitted` and the published contract disagree, in words; empty if nowhere.

    What was emitted and is not published is always told; with `complete`, what is published and
    was not emitted as well.
    """
    published = (
        ("span", emitted.spans, {row.name: row.attributes for row in SPANS}),
        ("event", emitted.events, {row.name: row.attributes for row in EVENTS}),
        ("metric", emitted.metrics, {row.name: row.labels for row in METRICS}),
    )
    found: list[str] = []
    for what, seen, rows in published:
        allowed: dict[str, tuple[str, ...]] = {str(name): row for name, row in rows.items()}
        found += _unpublished(what, seen, allowed)
        if complete:
            found += _unseen(what, seen, allowed)
    return found


def span_row_name(name: str) -> str:
    """The name under which a span of ours is published: `job render` is `job`."""
    return names.SPAN_JOB if name.startswith(f"{names.SPAN_JOB} ") else name


def _unpublished(
    what: str, seen: Mapping[str, frozenset[str]], allowed: Mapping[str, tuple[str, ...]]
) -> Iterable[str]:
    for name, attributes in seen.items():
        if name not in allowed:
            yield f"{what} {name} is not published"
            continue
        for attribute in sorted(attributes):
            if not any(_covers(published, attribute) for published in allowed[name]):
                yield f"{what} {name} has {attribute}, which is not published"


def _unseen(
    what: str, seen: Mapping[str, frozenset[str]], allowed: Mapping[str, tuple[str, ...]]
) -> Iterable[str]:
    for name, published in allowed.items():
        if name not in seen:
            yield f"{what} {name} is published and was not emitted"
            continue
        for attribute in published:
            if not any(_covers(attribute, emitted) for emitted in seen[name]):
                yield f"{what} {name} never had {attribute}"


def _covers(published: str, attribute: str) -> bool:
    if published.endswith("."):
        return attribute.startswith(published)
    return attribute == published


_LOG_EVENTS = """
## Log events

With `NARRATOR_LOG_EVENTS=true` each message of a stream is an OpenTelemetry log record too, for backends that drop the events of spans: its text is the body, its level the severity, its fields are attributes of their own names, and it has the trace id, span id and flags of the span on which it was said. Whether the trace is sampled makes no difference: a log record is exported either way, as OpenTelemetry has it. The name of the event is one for all messages: OpenTelemetry's conventions have it stand for a structure, in a namespace, with few values; what is said of a job is its own affair, and in `narration.action`.

The records go to the application's own logger provider, if it has set a global one, else over OTLP/HTTP to `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`, unless `OTEL_LOGS_EXPORTER=none`; `OTEL_BLRP_*` set the queue. What others log is not exported, but as the message that is made of it.
"""  # noqa: E501 - a paragraph has no line breaks

_LINKS = """
## From one view to another

| from | to | by |
| --- | --- | --- |
| a message | its trace, its span | `trace_id`, `span_id`; `links.trace_viewer` of the record |
| a job | its trace | `links.trace_viewer`, made of `NARRATOR_TRACE_URL` |
| a job | the metrics of its operation | `links.dashboard`, made of `NARRATOR_DASHBOARD_URL` |
| a span | its job | the attribute `job.id`: `/jobs/{job.id}`, `GET /v1/jobs/{job.id}` |
| an exemplar | its trace, its span, its job | the labels `trace_id`, `span_id`, `job_id` |

## Addresses of viewers

`NARRATOR_TRACE_URL` has `{trace_id}` in it, `NARRATOR_DASHBOARD_URL` has `{operation}`. Braces of the viewer's own are written `%7B` and `%7D`. A template that is no `http` address, or has another placeholder, is refused at start.

| viewer | template |
| --- | --- |
| Jaeger | `http://localhost:16686/trace/{trace_id}` |
| Zipkin | `http://localhost:9411/zipkin/traces/{trace_id}` |
| Tempo, in Grafana's Explore | `http://localhost:3000/explore?schemaVersion=1&panes=%7B%22a%22:%7B%22datasource%22:%22tempo%22,%22queries%22:%5B%7B%22refId%22:%22A%22,%22queryType%22:%22traceql%22,%22query%22:%22{trace_id}%22%7D%5D%7D%7D` |
| Grafana's dashboard of jobs | `http://localhost:3000/d/narrator-jobs?var-operation={operation}` |"""  # noqa: E501 - rows of tables have no line breaks


def markdown() -> str:
    """The contract as the Markdown document `telemetry/README.md`."""
    return "\n".join(
        [
            "# Telemetry: what is published",
            "",
            "Made by `python -m telemetry.table > telemetry/README.md`; change `table.py`.",
            "",
            "## Spans",
            "",
            *_rows(
                ("span", "meaning", "parent", "kind", "attributes"),
                [
                    (f"`{row.name}`", row.description, row.parent, row.kind, _code(row.attributes))
                    for row in SPANS
                ],
            ),
            "## Span events",
            "",
            *_rows(
                ("event", "on", "meaning", "attributes"),
                [
                    (f"`{row.name}`", f"`{row.span}`", row.description, _code(row.attributes))
                    for row in EVENTS
                ],
            ),
            *_LOG_EVENTS.strip().splitlines(),
            "",
            *_rows(
                ("event name", "meaning", "attributes"),
                [
                    (
                        f"`{names.LOG_EVENT}`",
                        "One narration message.",
                        f"the message's fields, {_code(LOG_EVENT_ATTRIBUTES)}",
                    )
                ],
            ),
            "## Attributes",
            "",
            *_rows(
                ("attribute", "type", "meaning"),
                [(_code((row.name,)), row.type, row.description) for row in ATTRIBUTES],
            ),
            "## Metrics",
            "",
            *_rows(
                ("metric", "type", "unit", "labels", "meaning"),
                [
                    (f"`{row.name}`", row.type, row.unit, _code(row.labels), row.description)
                    for row in METRICS
                ],
            ),
            *_LINKS.strip().splitlines(),
            "",
        ]
    )


def _rows(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [header, tuple("---" for _ in header), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _code(names_: Iterable[str]) -> str:
    return ", ".join(f"`{name}<key>`" if name.endswith(".") else f"`{name}`" for name in names_)


if __name__ == "__main__":
    sys.stdout.write(markdown())

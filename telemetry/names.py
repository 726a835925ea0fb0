"""Every name that leaves the process: one vocabulary for states, labels, attributes and fields.

The state, the metric label, the span attribute, the phrase and the JSON field use the same word,
and that word is defined here. This module imports nothing but the standard library, so that the
pure domain (`app.jobs`) may use it. `telemetry.table` describes what is emitted under each name.
"""

from enum import IntEnum, StrEnum
from typing import Final


class State(StrEnum):
    """The states of a job; the last three are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL: Final = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class Reason(StrEnum):
    """Why a job failed."""

    ERROR = "error"
    TIMEOUT = "timeout"
    EXPIRED = "expired"
    REJECTED = "rejected"
    LOST = "lost"


class Outcome(StrEnum):
    """How one attempt ended."""

    COMPLETED = "completed"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    RETRY_LATER = "retry_later"
    REJECTED = "rejected"
    LOST = "lost"


class TimeoutKind(StrEnum):
    """Which limit ran out."""

    ATTEMPT = "attempt"
    QUEUE = "queue"
    ATTACH = "attach"
    DEADLINE = "deadline"


class Priority(StrEnum):
    """How urgent a job is, least first."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class CancelOrigin(StrEnum):
    """Who asked for a cancellation."""

    CLIENT = "client"
    SHUTDOWN = "shutdown"
    UNWATCHED = "unwatched"


class Start(StrEnum):
    """When a job is queued: at once, or when its first stream attaches."""

    ON_SUBMIT = "on_submit"
    ON_STREAM = "on_stream"


class Level(IntEnum):
    """Severity of a message, ordered; the wire form is the lower-case name.

    Values are the first OpenTelemetry SeverityNumber of each range (logs data model).
    """

    TRACE = 1
    DEBUG = 5
    INFO = 9
    WARN = 13
    ERROR = 17
    FATAL = 21

    @property
    def label(self) -> str:
        """The lower-case name, as it is on the wire and in metrics."""
        return self.name.lower()


class Kind(StrEnum):
    """Where a narration message came from; also the metric label `source`."""

    LIFECYCLE = "lifecycle"  # a moment of the job itself, phrased by one table
    NARRATE = "narrate"  # narrate() in a handler
    EVENT = "event"  # span.add_event by any code under the job
    EXCEPTION = "exception"  # span.record_exception by any code under the job
    SPAN_START = "span_start"
    SPAN_END = "span_end"
    LOG = "log"  # logging and OpenTelemetry log records
    STDOUT = "stdout"  # a line of a child process
    STDERR = "stderr"
    DROPPED = "dropped"  # tells how many messages were lost, and why


class Signal(StrEnum):
    """What is exported, in OpenTelemetry's words."""

    TRACES = "traces"
    LOGS = "logs"

    @property
    def noun(self) -> str:
        """One item of it."""
        return "span" if self is Signal.TRACES else "log record"


class StreamEvent(StrEnum):
    """The `event:` names of the stream. Never `error`: browsers use that for their own."""

    STATE = "state"
    NARRATION = "narration"
    PROGRESS = "progress"
    OUTPUT = "output"
    GAP = "gap"
    DRAINING = "draining"
    END = "end"


class GapReason(StrEnum):
    """Why events are missing from a stream."""

    EVICTED = "evicted"  # older than the log keeps, at join or resume
    SLOW_READER = "slow_reader"  # the log moved past a reader that was attached
    UNKNOWN_ID = "unknown_id"  # the id to resume from means nothing here
    FORGOTTEN = "forgotten"  # the job was evicted or deleted under an open reader


class DropReason(StrEnum):
    """Why a message never reached its log."""

    OVERFLOW = "overflow"  # the hand-off to the event loop was full
    LATE = "late"  # said after the job had ended
    ERROR = "error"  # narration itself failed on it


class Cut(StrEnum):
    """Why the server refused what came on a connection, or closed it, by a bound of its own."""

    TOO_MANY = "too_many"  # there were as many connections as there may be
    MADE_ROOM = "made_room"  # it was idle, and another one needed the place
    HEAD_TIME = "head_time"  # the head of a request took too long
    BODY_TIME = "body_time"  # its body did
    HEAD_SIZE = "head_size"  # a head was too large
    AHEAD = "ahead"  # too many requests were sent ahead of their turn
    MALFORMED = "malformed"  # no HTTP, or to be read in more than one way
    UNREAD = "unread"  # the client read nothing of its answer


class Moment(StrEnum):
    """Lifecycle moments: events on the job's span, phrased in `narration.phrases`."""

    DEFERRED = "job.deferred"
    QUEUED = "job.queued"
    STARTED = "job.started"
    ATTEMPT_FAILED = "job.attempt_failed"
    ATTEMPT_TIMED_OUT = "job.attempt_timed_out"
    RETRY_SCHEDULED = "job.retry_scheduled"
    CANCEL_REQUESTED = "job.cancel_requested"
    LOOP_BLOCKED = "job.loop_blocked"
    ABANDONED = "job.abandoned"
    COMPLETED = "job.completed"
    FAILED = "job.failed"
    EXPIRED = "job.expired"
    CANCELLED = "job.cancelled"


# --- instrumentation scope and spans -------------------------------------------------------------

SCOPE: Final = "job-narrator"
SPAN_JOB: Final = "job"  # the span is named `job <operation>`
SPAN_WAIT: Final = "job.wait"
SPAN_ATTEMPT: Final = "job.attempt"
SPAN_BACKOFF: Final = "job.backoff"

LOG_EVENT: Final = "narration.message"
"""The event name of a narration message as a log record."""

# --- attributes ----------------------------------------------------------------------------------

JOB_ID: Final = "job.id"
JOB_OPERATION: Final = "job.operation"
JOB_PRIORITY: Final = "job.priority"
JOB_STATE: Final = "job.state"
JOB_REASON: Final = "job.reason"
JOB_ATTEMPT: Final = "job.attempt"
JOB_MAX_ATTEMPTS: Final = "job.max_attempts"
JOB_OUTCOME: Final = "job.outcome"
JOB_DELAY_S: Final = "job.delay_s"
JOB_WAIT_S: Final = "job.wait_s"
JOB_RUN_S: Final = "job.run_s"
JOB_NEXT_RETRY_AT: Final = "job.next_retry_at"
JOB_TIMEOUT_KIND: Final = "job.timeout.kind"
JOB_TIMEOUT_S: Final = "job.timeout_s"
JOB_CANCEL_ORIGIN: Final = "job.cancel.origin"
JOB_CANCEL_ABANDONED: Final = "job.cancel.abandoned"
JOB_BLOCKED_S: Final = "job.blocked_s"
JOB_QUEUE_POSITION: Final = "job.queue_position"
JOB_RETRY_OF: Final = "job.retry_of"
JOB_CONCURRENCY_KEY: Final = "job.concurrency_key"
JOB_TAG_PREFIX: Final = "job.tag."
JOB_ERROR: Final = "job.error"

NARRATION_ACTOR: Final = "narration.actor"
NARRATION_TEXT: Final = "narration.text"
NARRATION_CUTE: Final = "narration.cute"
NARRATION_STORY: Final = "narration.story"
NARRATION_LEVEL: Final = "narration.level"
NARRATION_KIND: Final = "narration.kind"
NARRATION_ACTION: Final = "narration.action"
NARRATION_SEQ: Final = "narration.seq"
NARRATION_LENGTH: Final = "narration.length"

ERROR_TYPE: Final = "error.type"
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
LOG_RECORD_ORIGINAL: Final = "log.record.original"
CODE_FUNCTION_NAME: Final = "code.function.name"
CODE_STACKTRACE: Final = "code.stacktrace"
PROCESS_EXECUTABLE_NAME: Final = "process.executable.name"
PROCESS_EXIT_CODE: Final = "process.exit.code"
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"


# --- attributes of exported files -----------------------------------------------------------------

JOB_RUNNING: Final = "job.running"
"""True on a span that had not ended when its trace was written to a file."""

# --- metrics --------------------------------------------------------------------------------------


class StoreFault(StrEnum):
    """Why a batch was not committed."""

    FULL = "store-full"
    FAILED = "store-failed"
    CORRUPT = "store-corrupt"


class Label(StrEnum):
    """The labels of metrics, all bounded; never an id."""

    OPERATION = "operation"
    PRIORITY = "priority"
    OUTCOME = "outcome"
    REASON = "reason"
    KIND = "kind"
    ORIGIN = "origin"
    SOURCE = "source"
    LEVEL = "level"
    METHOD = "method"
    ROUTE = "route"
    STATUS = "status"


class Exported(StrEnum):
    """What became of what was to be exported; a value of the label `outcome`."""

    SENT = "sent"
    FAILED = "failed"


class MetricName(StrEnum):
    """The metrics; `telemetry.table` says what each means."""

    QUEUE_DEPTH = "narrator_queue_depth"
    QUEUE_OLDEST_AGE = "narrator_queue_oldest_age_seconds"
    RUNNING = "narrator_jobs_running"
    RETRYING = "narrator_jobs_retrying"
    DEFERRED = "narrator_jobs_deferred"
    RETAINED_JOBS = "narrator_jobs_retained"
    RETAINED_BYTES = "narrator_retained_bytes"
    WORKER_SLOTS = "narrator_worker_slots"
    SUBMITTED = "narrator_jobs_submitted_total"
    REFUSED = "narrator_submissions_refused_total"
    FINISHED = "narrator_jobs_finished_total"
    WAIT = "narrator_job_wait_seconds"
    RUN = "narrator_job_run_seconds"
    ATTEMPTS = "narrator_attempts_total"
    RETRIES = "narrator_retries_total"
    TIMEOUTS = "narrator_timeouts_total"
    CANCELLATIONS = "narrator_cancellations_total"
    CANCELLATION_TIME = "narrator_cancellation_seconds"
    ABANDONED = "narrator_handlers_abandoned_total"
    STREAMS_OPEN = "narrator_streams_open"
    MESSAGES = "narrator_messages_total"
    MESSAGES_DROPPED = "narrator_messages_dropped_total"
    MESSAGES_DELIVERED = "narrator_messages_delivered_total"
    MESSAGES_REPLAYED = "narrator_messages_replayed_total"
    GAPS = "narrator_stream_gaps_total"
    SLOW_READERS = "narrator_slow_readers_total"
    LOOP_BLOCKED = "narrator_loop_blocked_total"
    LOOP_LAG = "narrator_event_loop_lag_seconds"
    STORE_COMMIT = "narrator_store_commit_seconds"
    STORE_EVENTS = "narrator_store_events_total"
    STORE_FAILURES = "narrator_store_failures_total"
    HTTP_ANSWER = "narrator_http_answer_seconds"
    CONNECTIONS_OPEN = "narrator_connections_open"
    CONNECTIONS_CUT = "narrator_connections_cut_total"
    EXPORTED = "narrator_exporter_spans_total"
    EXPORT_DROPPED = "narrator_exporter_dropped_total"
    EXPORT_QUEUE = "narrator_exporter_queue_length"
    EXPORT_LAST_SUCCESS = "narrator_exporter_last_success_timestamp_seconds"
    LOGS_EXPORTED = "narrator_log_exporter_records_total"
    LOGS_EXPORT_DROPPED = "narrator_log_exporter_dropped_total"
    LOGS_EXPORT_QUEUE = "narrator_log_exporter_queue_length"
    LOGS_EXPORT_LAST_SUCCESS = "narrator_log_exporter_last_success_timestamp_seconds"
    PROCESS_CPU = "narrator_process_cpu_seconds_total"
    PROCESS_RESIDENT = "narrator_process_resident_memory_bytes"
    PROCESS_VIRTUAL = "narrator_process_virtual_memory_bytes"
    PROCESS_START = "narrator_process_start_time_seconds"
    PROCESS_OPEN_FDS = "narrator_process_open_fds"
    PROCESS_MAX_FDS = "narrator_process_max_fds"

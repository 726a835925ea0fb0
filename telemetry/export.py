"""What is exported waits here for its batch: bounded in memory, in time and in log lines.

One queue for every signal; `telemetry.otlp` says what goes in and where it goes. It knows neither
spans nor log records, nor jobs, nor narration. The queue is ours because the SDK's batch processor
neither honours the time of a flush (49 s where 1 s was asked for, with a collector that hangs), nor
tells what it drops, nor lets the first batch leave early. A collector that is dead, slow or hanging
costs what was to be sent to it, and never a job or the exit of the process.
"""

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, Protocol, Self, TypeVar

from opentelemetry.instrumentation.utils import suppress_instrumentation

from telemetry.names import Signal

_logger = logging.getLogger(__name__)

DEFAULT_BOUND_S: Final = 5.0
"""Seconds that a shutdown may take, and one export where the environment says nothing."""
FIRST_DELAY_S: Final = 0.1
"""The first batch leaves this soon, so that first contact feels instant; later ones are larger."""
LOG_INTERVAL_S: Final = 30.0

_SUCCESS: Final = "SUCCESS"

Item = TypeVar("Item")
_Sent_contra = TypeVar("_Sent_contra", contravariant=True)

_EXPORTER_LOGGERS: Final = (
    __name__,
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.common._internal",
    "opentelemetry.exporter.otlp.proto.common._internal.trace_encoder",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)


class ExportCounters(Protocol):
    """What an export queue counts; `telemetry.metrics.ExportMetrics` fits."""

    def observe_export_queue(self, length: Callable[[], int]) -> None:
        """`length` gives how many items wait, whenever it is asked."""
        ...

    def exported(self, count: int) -> None:
        """`count` items were sent."""
        ...

    def export_failed(self, count: int) -> None:
        """`count` items could not be sent."""
        ...

    def exporter_dropped(self, count: int) -> None:
        """`count` items found no room, or came after the end."""
        ...


class Exporter(Protocol[_Sent_contra]):
    """Sends a batch; the exporters of OpenTelemetry's SDK fit, whatever the signal."""

    def export(self, batch: Sequence[_Sent_contra], /) -> Enum:
        """Send `batch`, blocking; a member called SUCCESS says that it has arrived."""
        ...

    def shutdown(self) -> None:
        """Send nothing more; also ends a wait between two tries."""
        ...


class NoExportCounters:
    """Counts nothing."""

    def observe_export_queue(self, length: Callable[[], int]) -> None:
        """Nothing."""

    def exported(self, count: int) -> None:
        """Nothing."""

    def export_failed(self, count: int) -> None:
        """Nothing."""

    def exporter_dropped(self, count: int) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportState:
    """How the export queue of `signal` is doing; what was lost is counted since its beginning.

    `since_success_s` are the seconds since the last batch that was sent, None before the first.
    `losing` says that something has been lost after it.
    """

    signal: Signal
    waiting: int
    failed: int
    dropped: int
    since_success_s: float | None
    losing: bool


class ExportQueue(Generic[Item]):
    """Sends the items of one signal in batches from a thread of its own; belongs to one process.

    A full queue drops the newest item. A child that was forked exports nothing: it has neither the
    thread nor the connection. Times are real ones, since a thread and a socket wait in them.
    """

    def __init__(
        self,
        exporter: Exporter[Item],
        *,
        signal: Signal,
        counters: ExportCounters,
        max_queue: int = 2048,
        max_batch: int = 512,
        delay_s: float = 5.0,
        first_delay_s: float = FIRST_DELAY_S,
        bound_s: float = DEFAULT_BOUND_S,
    ) -> None:
        self._exporter = exporter
        self._signal = signal
        self._counters = counters
        self._max_queue = max_queue
        self._max_batch = min(max_batch, max_queue)
        self._delay_s = delay_s
        self._next_delay_s = min(first_delay_s, delay_s)
        self._bound_s = bound_s
        self._pid = os.getpid()
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._accepted = 0  # items that ever entered the queue
        self._done = 0  # of these, how many the exporter has been through
        self._flush_to = 0  # those up to here do not wait for their batch to fill
        self._failed = self._dropped = self._lost_before = 0  # the last: lost at the last success
        self._succeeded: float | None = None  # when, monotonic
        self._closed = False
        self._given_up = False
        counters.observe_export_queue(lambda: len(self._items))
        self._worker = threading.Thread(
            target=self._work, name=f"{signal.value}-export", daemon=True
        )
        self._worker.start()

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        with self._changed:
            return self._closed

    def state(self) -> ExportState:
        """How it is doing now; any thread may ask."""
        with self._changed:
            since = self._succeeded
            return ExportState(
                signal=self._signal,
                waiting=len(self._items),
                failed=self._failed,
                dropped=self._dropped,
                since_success_s=None if since is None else time.monotonic() - since,
                losing=self._failed + self._dropped > self._lost_before,
            )

    def put(self, item: Item) -> None:
        """Take `item`; never waits for the network."""
        if os.getpid() != self._pid:
            return
        with self._changed:
            waiting = len(self._items)
            accepted = not self._closed and waiting < self._max_queue
            if accepted:
                self._items.append(item)
                self._accepted += 1
                if waiting == 0 or waiting + 1 == self._max_batch:
                    self._changed.notify_all()
            else:
                self._dropped += 1
        if not accepted:
            self._counters.exporter_dropped(1)
            _logger.warning("a %s was not exported: the queue is full or closed", self._signal.noun)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what has come so far; whether it is through within the time, failed or not."""
        with self._changed:
            target = self._flush_to = self._accepted
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: self._done >= target or self._given_up, timeout_millis / 1000
            )

    def close(self, timeout_s: float) -> bool:
        """Send what is left and stop; whether all was tried within `timeout_s` (seconds).

        What is left after that is given up and counted as dropped. May be called again.
        """
        with self._changed:
            first, self._closed = not self._closed, True
            self._changed.notify_all()
        if not self._given_up:
            self._worker.join(max(0.0, timeout_s))
        with self._changed:
            self._given_up = True
            left = len(self._items)
            self._items.clear()
            self._dropped += left
            complete = self._done == self._accepted
            self._changed.notify_all()
        if left:
            self._counters.exporter_dropped(left)
        if first:
            self._exporter.shutdown()  # also ends a wait between two tries
        return complete

    def shutdown(self) -> None:
        """Close within the default bound: for a provider that is shut down."""
        self.close(self._bound_s)

    def _work(self) -> None:
        with suppress_instrumentation():  # an export makes no spans of its own
            while batch := self._next_batch():
                self._send(batch)
                with self._changed:
                    self._done += len(batch)
                    self._next_delay_s = self._delay_s
                    self._changed.notify_all()

    def _next_batch(self) -> list[Item]:
        """Wait until a batch is due; empty when there will be none any more."""
        due: float | None = None
        with self._changed:
            while not self._given_up:
                if self._items:
                    due = time.monotonic() + self._next_delay_s if due is None else due
                    wait_s = due - time.monotonic()
                    if wait_s <= 0 or self._is_urgent():
                        count = min(self._max_batch, len(self._items))
                        return [self._items.popleft() for _ in range(count)]
                    self._changed.wait(wait_s)
                elif self._closed:
                    break
                else:
                    self._changed.wait()
        return []

    def _is_urgent(self) -> bool:
        return self._closed or self._done < self._flush_to or len(self._items) >= self._max_batch

    def _send(self, batch: list[Item]) -> None:
        try:
            sent = self._exporter.export(batch).name == _SUCCESS
        except Exception:  # whatever an exporter raises, the thread goes on
            _logger.exception("the exporter raised")
            sent = False
        with self._changed:
            if sent:
                self._succeeded = time.monotonic()
                self._lost_before = self._failed + self._dropped
            else:
                self._failed += len(batch)
        if sent:
            self._counters.exported(len(batch))
        else:
            self._counters.export_failed(len(batch))


class OncePerInterval(logging.Filter):
    """Lets each kind of log line through once per interval, with the number of those held back.

    Two lines are of a kind if logger, level and format string are the same.
    """

    def __init__(
        self,
        interval_s: float = LOG_INTERVAL_S,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is told; adds to its text how many before it were not."""
        kind = (record.name, record.levelno, str(record.msg))
        now = self._monotonic()
        with self._lock:
            last, held_back = self._told.get(kind, (-math.inf, 0))
            if now - last < self._interval_s:
                self._told[kind] = (last, held_back + 1)
                return False
            self._told[kind] = (now, 0)
        if held_back:
            record.msg = f"{record.getMessage()} ({held_back} more like this since the last time)"
            record.args = None
        return True

    def install(self) -> Self:
        """Attach to the exporters' loggers, but for those that have such a filter already."""
        for name in _EXPORTER_LOGGERS:
            logger = logging.getLogger(name)
            if not any(isinstance(each, OncePerInterval) for each in logger.filters):
                logger.addFilter(self)
        return self

    def remove(self) -> None:
        """Detach from them."""
        for name in _EXPORTER_LOGGERS:
            logging.getLogger(name).removeFilter(self)


def ended_within(timeout_s: float, end: Callable[[], bool], *, what: str) -> bool:
    """What `end` gives, or False if it takes longer than `timeout_s` (seconds) or raises.

    `what` is ended is said in the log and in the thread's name. Bounded from outside, by a thread
    of its own: no processor's word on time can be relied on.
    """
    results: list[bool] = []

    def run() -> None:
        try:
            results.append(end())
        except Exception:  # an instrument never breaks the instrumented
            _logger.exception("%s could not be shut down", what)

    thread = threading.Thread(target=run, name=f"{what}-shutdown", daemon=True)
    thread.start()
    thread.join(max(0.0, timeout_s))
    return bool(results and results[0])

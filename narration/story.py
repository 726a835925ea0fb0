"""A story: the one road from any thread into one job's log.

The event loop's thread is the single consumer: it alone formats, numbers and stores, so that the
sequence is the order. Other threads hand over through a bounded queue with one wake-up a burst;
overflow is counted and told, never awaited. Where no loop is bound (a script, the capture adapter)
a lock takes the loop's place. A failure in narration is counted, never raised.
"""

import asyncio
import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan, Span

from narration.events import Event, NarrationEvent
from telemetry.clock import Clock, rfc3339
from telemetry.names import DropReason, Kind, Level

_logger = logging.getLogger(__name__)

Make = Callable[..., Event | None]
"""Builds the event (or updates the spans and gives None); run by the single consumer."""

NARRATOR: Final = "narrator"
"""The actor of what the server itself tells."""

HANDOFF_LIMIT: Final = 10_000
"""Items that other threads may have waiting for the loop, per story."""


class Log(Protocol):
    """Where events go: the log of a job, or the pipe of a child process."""

    def append(self, event: Event) -> int | None:
        """Number and store `event`; None if the story has ended, and then it is not kept."""
        ...


class SpanSink(Protocol):
    """Where the spans of a story go; called by the single consumer only."""

    def started(self, span: Span) -> None:
        """A span of the story has started; `span` is live."""
        ...

    def ended(self, span: ReadableSpan) -> None:
        """A span of the story has ended."""
        ...


class Counters(Protocol):
    """What a story counts; `telemetry.metrics.Metrics` and a no-op both fit."""

    def narrated(self, source: str, level: str) -> None:
        """One message was stored."""
        ...

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """`count` messages never reached their log."""
        ...


class NoCounters:
    """Counts nothing: for an application that keeps no metrics."""

    def narrated(self, source: str, level: str) -> None:
        """Nothing."""

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Nothing."""


class Consumer:
    """The event loop that stores what is told; made on the loop's own thread."""

    __slots__ = ("loop", "schedule", "thread_id")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.schedule = loop.call_soon  # one bound method for the logs of all stories
        self.thread_id = threading.get_ident()


class Story:
    """One job's story: everything that is told about it passes through `put`."""

    __slots__ = (
        "_applying",
        "_armed",
        "_consumer",
        "_lock",
        "_lost",
        "_pending",
        "clock",
        "counters",
        "job_id",
        "log",
        "mask",
        "max_message_bytes",
        "spans",
    )

    def __init__(
        self,
        job_id: str,
        *,
        log: Log,
        spans: SpanSink,
        clock: Clock,
        counters: Counters,
        mask: Callable[[str], str],
        max_message_bytes: int,
        consumer: Consumer | None,
    ) -> None:
        self.job_id = job_id
        self.log = log
        self.spans = spans
        self.clock = clock
        self.counters = counters
        self.mask = mask
        self.max_message_bytes = max_message_bytes
        self._consumer = consumer
        self._pending: deque[tuple[Make, tuple[Any, ...]]] | None = None
        self._lock = threading.RLock()  # a finaliser that logs may come in between
        self._armed = False
        self._applying = False
        self._lost = 0

    def put(self, make: Make, *args: Any) -> None:
        """Tell one thing, from any thread; never raises, never waits.

        On the loop's thread it is in the log when this returns.
        """
        consumer = self._consumer
        if (
            consumer is None
            or threading.get_ident() != consumer.thread_id
            or self._applying
            or self._pending
        ):
            self._put_aside(make, args, consumer)
            return
        self._applying = True  # what follows is `_apply`, spelt out: this is the hot path
        try:
            event = make(*args)
            if event is not None:
                self._append(event)
        except Exception as error:  # noqa: BLE001 - an instrument never breaks the instrumented
            self._failed(error)
        finally:
            self._applying = False

    def put_data(self, make: Make, *args: Any) -> None:
        """As `put`, but never dropped for want of room: wait first while the story is `full`."""
        consumer = self._consumer
        if consumer is None or threading.get_ident() == consumer.thread_id:
            self.put(make, *args)
        else:
            self._hand_over(make, args, consumer, limit=sys.maxsize)

    def drain(self) -> None:
        """Tell all that other threads have handed over so far; on the loop's thread only."""
        self._armed = False  # cleared before draining: a later put arms again
        pending = self._pending
        if pending:
            # No more than there are now: a thread that never pauses must not keep the loop here.
            for _ in range(len(pending)):
                make, args = pending.popleft()
                self._apply(make, args)
        if self._lost:
            self._tell_lost()

    def _put_aside(self, make: Make, args: tuple[Any, ...], consumer: Consumer | None) -> None:
        """Tell what comes from another thread, before the loop, or while another is being told."""
        if consumer is None:
            self._put_locked(make, args)
        elif self._applying or threading.get_ident() != consumer.thread_id:
            self._hand_over(make, args, consumer)
        else:
            self.drain()
            self._apply(make, args)

    def _hand_over(
        self,
        make: Make,
        args: tuple[Any, ...],
        consumer: Consumer,
        *,
        limit: int = HANDOFF_LIMIT,
    ) -> None:
        with self._lock:
            if self._pending is None:
                self._pending = deque()
            if len(self._pending) >= limit:
                self._lost += 1
                self.counters.dropped(DropReason.OVERFLOW)
                return
            self._pending.append((make, args))
            wake, self._armed = not self._armed, True
        if wake:
            try:
                consumer.loop.call_soon_threadsafe(self.drain)
            except RuntimeError:  # the loop is closed: nobody is left to tell
                self.counters.dropped(DropReason.LATE)

    def _put_locked(self, make: Make, args: tuple[Any, ...]) -> None:
        with self._lock:
            if self._pending is None:
                self._pending = deque()
            self._pending.append((make, args))
            if self._applying:
                return
            self._applying = True
        while True:
            with self._lock:
                if not self._pending:
                    self._applying = False
                    return
                make, args = self._pending.popleft()
            self._store(make, args)

    def _apply(self, make: Make, args: tuple[Any, ...]) -> None:
        self._applying = True
        try:
            self._store(make, args)
        finally:
            self._applying = False

    def _store(self, make: Make, args: tuple[Any, ...]) -> None:
        try:
            event = make(*args)
            if event is not None:
                self._append(event)
        except Exception as error:  # noqa: BLE001 - an instrument never breaks the instrumented
            self._failed(error)

    def _append(self, event: Event) -> None:
        if self.log.append(event) is None:
            self.counters.dropped(DropReason.LATE)
        elif isinstance(event, NarrationEvent):
            self.counters.narrated(event.kind, event.level)

    def _failed(self, error: Exception) -> None:
        """Count a failure and log it, later: a log handler may want the span that is locked."""
        self.counters.dropped(DropReason.ERROR)
        message = "narration failed on one message of job %s: %r"
        if self._consumer is None:
            _logger.error(message, self.job_id, error)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._consumer.loop.call_soon_threadsafe(_logger.error, message, self.job_id, error)

    def _tell_lost(self) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
        told = self.log.append(
            NarrationEvent(
                at=rfc3339(self.clock.wall_ns()),
                job_id=self.job_id,
                kind=Kind.DROPPED,
                level=Level.WARN.label,
                actor=NARRATOR,
                action="dropped",
                text=f"{lost} messages were dropped: they came faster than they could be kept",
                fields={"count": lost},
                attempt=0,
            )
        )
        if told is not None:
            self.counters.narrated(Kind.DROPPED, Level.WARN.label)

    @property
    def full(self) -> bool:
        """Whether the hand-off has no room: a producer of data (not of narration) may wait."""
        pending = self._pending
        return pending is not None and len(pending) >= HANDOFF_LIMIT

"""The fall-back of the tap: reads span events through the SDK's public API, again and again.

For an SDK whose insides the tap does not fit. It tells events late (by one interval at most), and
of a span that adds more events between two polls than the SDK keeps it tells only how many were
missed. It does not know how an event is phrased, nor how a span finds its story.
"""

import threading
import weakref
from collections.abc import Sequence
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, Span
from opentelemetry.trace import format_span_id, format_trace_id

from narration import formatting
from narration.events import NarrationEvent
from narration.scope import Scope
from narration.story import NARRATOR
from narration.tap import count_failure
from telemetry.clock import rfc3339
from telemetry.names import DropReason, Kind, Level

INTERVAL_S: Final = 0.05
"""Seconds between two polls."""

_READS: Final = 1_000
"""Tries to read a span that changes meanwhile; the next poll tries again."""

SpanKey = tuple[int, int]
"""Trace id and span id."""


class _Watched:
    """A live span and how many of its events have been told or missed."""

    __slots__ = ("done", "lock", "scope", "span", "told")

    def __init__(self, span: Span, scope: Scope) -> None:
        self.span = weakref.ref(span)  # weak: a span that is dropped unended must not stay
        self.scope = scope
        self.told = 0
        self.done = False
        self.lock = threading.Lock()


class Poller:
    """Polls watched spans on one daemon thread, which exists only while there are any."""

    def __init__(self, *, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._watched: dict[SpanKey, _Watched] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def watch(self, key: SpanKey, span: Span, scope: Scope) -> None:
        """Tell `span`'s events to `scope` until `finish(key, …)`."""
        with self._lock:
            self._watched[key] = _Watched(span, scope)
            if self._stopped.is_set() or (self._thread and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="narration-poll", daemon=True)
            # Where threads are instrumented, this one must not inherit the story that began it.
            token = otel_context.attach(Context())
            try:
                self._thread.start()
            finally:
                otel_context.detach(token)

    def finish(self, key: SpanKey, span: ReadableSpan) -> None:
        """Tell what is left of a span that has ended; nothing of it is told afterwards."""
        with self._lock:
            watched = self._watched.pop(key, None)
        if watched is not None:
            with watched.lock:
                watched.done = True
                _tell(watched, span)

    def poll(self) -> None:
        """Tell what is new on all watched spans."""
        with self._lock:
            all_watched = list(self._watched.items())
        for key, watched in all_watched:
            span = watched.span()
            if span is None:
                with self._lock:
                    self._watched.pop(key, None)
                continue
            with watched.lock:
                if not watched.done:
                    _tell(watched, span)

    def shutdown(self) -> None:
        """Poll once more and stop the thread; spans that end later are still told at their end."""
        self._stopped.set()
        self.poll()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self.poll()
            with self._lock:
                if not self._watched:
                    self._thread = None
                    return


def _tell(watched: _Watched, span: ReadableSpan) -> None:
    """Hand off the new events of `span`; the caller holds `watched.lock`."""
    scope = watched.scope
    story = scope.story
    try:
        read = _read(span)
        if read is None:
            return
        dropped, events = read
        if dropped > watched.told:
            missed = dropped - watched.told
            watched.told = dropped
            story.counters.dropped(DropReason.OVERFLOW, missed)
            story.put(_missed, scope, span, missed)
        new = events[watched.told - dropped :]
        watched.told += len(new)
        for event in new:
            story.put(formatting.span_event, scope, span, event)
    except Exception:  # noqa: BLE001 - an instrument never breaks the instrumented
        count_failure(scope)


def _read(span: ReadableSpan) -> tuple[int, Sequence[Event]] | None:
    """How many events the SDK has dropped, and those it holds, both of one moment.

    The two are read apart, so they are read again until nothing was dropped in between.
    """
    dropped = span.dropped_events
    for _ in range(_READS):
        events = span.events
        again = span.dropped_events
        if again == dropped:
            return dropped, events
        dropped = again
    return None


def _missed(scope: Scope, span: ReadableSpan, count: int) -> NarrationEvent:
    context = span.get_span_context()
    return NarrationEvent(
        at=rfc3339(scope.story.clock.wall_ns()),
        job_id=scope.story.job_id,
        kind=Kind.DROPPED,
        level=Level.WARN.label,
        actor=NARRATOR,
        action="dropped",
        text=f"{count} events of one span were missed: they came faster than they could be read",
        fields={"count": count},
        attempt=scope.attempt,
        trace_id=format_trace_id(context.trace_id) if context else None,
        span_id=format_span_id(context.span_id) if context else None,
        parent_span_id=format_span_id(span.parent.span_id) if span.parent else None,
    )

"""The canary: proves on a throw-away provider that the tap still fits the SDK.

The tap leans on private names. A release of the SDK that changes them must be found when a process
starts, not by messages that are missing. The provider's sampler and limits are given, so that no
`OTEL_*` variable can fail the canary, or let it pass untested. Nothing here touches the providers
of the application.
"""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from narration import formatting
from narration.scope import Scope, with_scope
from narration.story import NoCounters, Story
from telemetry.clock import SystemClock

if TYPE_CHECKING:
    from narration.events import Event
    from narration.story import Make

_KEPT: Final = 2
"""Events that the canary's span keeps: fewer than it is given."""

_SAID: Final = "|"
"""Marks in what was heard the moment when the call that said it had returned."""

_EXPECTED: Final = ["started", "early"] + [
    each for said in ("first", "exception", "last", "ended") for each in (said, _SAID)
]

_LOCKED: Final = 6
"""Times that a tapped span's lock is taken: for each of four events, twice for the late one (by the
tap, then by the SDK), and by the end."""


def fault(processor: Callable[[], SpanProcessor]) -> str | None:
    """What is wrong with the processor that `processor()` makes, None if all is well.

    `processor` makes one that taps live. A span is started, given an event before the tap, then
    one event, one exception and one more, is ended, and is given a late event: the story must have
    heard each but the late one, at once and in order, and the span must have kept what a bare one
    keeps. Never raises.
    """
    try:
        made = processor()
        try:
            return _fault(made)
        finally:
            made.shutdown()
    except Exception as error:  # noqa: BLE001 - whatever the SDK does now, it does not fit
        return f"{type(error).__name__}: {error}"


def _fault(processor: SpanProcessor) -> str | None:
    bare = _span(None, Context())
    _live(bare, [])
    ear = _Ear()
    span = _span(processor, with_scope(Scope(story=ear, actor="canary"), Context()))
    # The SDK must end a span under the lock that the tap takes, found under the same name.
    lock = cast("Any", span)._lock = _CountedLock(cast("Any", span)._lock)  # noqa: SLF001 - what the canary is for
    _live(span, ear.heard)
    if ear.heard != _EXPECTED:
        return f"heard {ear.heard} where {_EXPECTED} was said"
    kept, expected = ([event.name for event in each.events] for each in (span, bare))
    if kept != expected:
        return f"a tapped span kept the events {kept} where a bare one keeps {expected}"
    if lock.taken != _LOCKED:
        return f"the span's lock was taken {lock.taken} times, not {_LOCKED}"
    return None


def _span(processor: SpanProcessor | None, context: Context) -> Span:
    provider = throw_away_provider()
    provider.add_span_processor(_Early())
    if processor is not None:
        provider.add_span_processor(processor)
    return cast("Span", provider.get_tracer("narration.canary").start_span("canary", context))


def _live(span: Span, heard: list[str]) -> None:
    """Say each thing that the tap must hear, with a mark in `heard` behind each."""
    span.add_event("first", {"n": 1})
    heard.append(_SAID)
    span.record_exception(ValueError("canary"))
    heard.append(_SAID)
    span.add_event("last")
    heard.append(_SAID)
    span.end()
    heard.append(_SAID)
    quiet = _Quiet()
    logger = logging.getLogger(sdk_trace.__name__)
    logger.addFilter(quiet)
    try:
        span.add_event("late")
    finally:
        logger.removeFilter(quiet)


def throw_away_provider(*, id_generator: IdGenerator | None = None) -> TracerProvider:
    """A provider that no environment variable shapes, for a canary alone."""
    unset = SpanLimits.UNSET
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource({}),
        shutdown_on_exit=False,
        id_generator=id_generator,
        span_limits=SpanLimits(
            max_attributes=8,
            max_events=_KEPT,
            max_links=8,
            max_span_attributes=8,
            max_event_attributes=8,
            max_link_attributes=8,
            max_attribute_length=unset,
            max_span_attribute_length=unset,
        ),
        meter_provider=NoOpMeterProvider(),
    )
    # OTEL_SDK_DISABLED makes a provider that gives no spans, and would leave the tap untested.
    cast("Any", provider)._disabled = False  # noqa: SLF001
    return provider


class _Early(SpanProcessor):
    """A processor before the tap, which adds an event as the span starts."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's signature
        """Add the event."""
        span.add_event("early")


class _Ear(Story):
    """A story that only notes what it is told, and formats nothing."""

    def __init__(self) -> None:
        super().__init__(
            "canary",
            log=_Nowhere(),
            spans=_Nowhere(),
            clock=SystemClock(),
            counters=NoCounters(),
            mask=str,
            max_message_bytes=1,
            consumer=None,
        )
        self.heard: list[str] = []

    def put(self, make: "Make", *args: Any) -> None:
        """Note the name of an event, or that the span has started or ended."""
        if make is formatting.span_event:
            self.heard.append(args[2].name)
        elif make is formatting.span_started:
            self.heard.append("started")
        elif make is formatting.span_ended:
            self.heard.append("ended")


class _Nowhere:
    """A log and a span sink that keep nothing."""

    def append(self, event: "Event") -> int | None:
        """Nothing is kept."""

    def started(self, span: Span) -> None:
        """Nothing."""

    def ended(self, span: ReadableSpan) -> None:
        """Nothing."""


class _CountedLock:
    """A lock that counts how often it is taken."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.taken = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self.taken += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()


class _Quiet(logging.Filter):
    """Keeps this thread's warning of the late event out of the application's log."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is another thread's."""
        return record.thread != self._thread

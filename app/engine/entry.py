"""What the engine holds for one job beside its record: story, spans, timers, the running attempt.

A job (`app.jobs.job`) is plain data; everything here is live and belongs to the loop's thread. An
`Entry` goes when the job ends; what can still be read of it is `Kept` until it is forgotten.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, format_span_id

from app.engine.runners.work import Running
from app.handlers.operation import Operation
from app.jobs.model import Job
from narration.log import NarrationLog
from narration.scope import Disclosure, Scope, with_scope
from narration.spans import SpanLog
from narration.story import Story
from telemetry.names import TimeoutKind


class StopCause(StrEnum):
    """Why a running attempt was asked to stop; recorded before it is asked."""

    CANCEL = "cancel"
    ATTEMPT_TIMEOUT = "attempt_timeout"
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"
    """The server goes, and another will run the job again."""


@dataclass(slots=True, kw_only=True)
class Observation:
    """The live telemetry of one job; `_mono` are seconds of the monotonic clock."""

    scope: Scope
    span: Span
    baggage: Context
    """What the caller has handed on."""
    attempt_span: Span | None = None
    waiting_from_mono: float | None = None
    backoff_from_mono: float | None = None
    made: Context | None = None

    @property
    def context(self) -> Context:
        """Where the job's own spans start: under its span, in its scope; made at the first use."""
        if self.made is None:
            self.made = trace.set_span_in_context(self.span, with_scope(self.scope, self.baggage))
        return self.made

    def attempt_span_id(self) -> str | None:
        """The running attempt's span in hex; None where tracing is off."""
        if self.attempt_span is None:
            return None
        identity = self.attempt_span.get_span_context()
        return format_span_id(identity.span_id) if identity.is_valid else None


class Closed(Protocol):
    """The engine's end of an attempt's context, as far as its end needs it."""

    def close(self) -> None:
        """Tell what was held back, and take nothing more."""
        ...


@dataclass(slots=True, kw_only=True)
class RunningAttempt:
    """The attempt that holds a slot; `_mono` are seconds of the monotonic clock."""

    started_mono: float
    sink: Closed
    launched: bool = False
    """Whether its start is on record, so that the handler may run."""
    running: Running | None = None
    stop_cause: StopCause | None = None
    stop_requested_mono: float | None = None
    killed: bool = False
    timer: asyncio.TimerHandle | None = None
    grace: asyncio.TimerHandle | None = None

    def disarm(self) -> None:
        """Stop both clocks."""
        for timer in (self.timer, self.grace):
            if timer is not None:
                timer.cancel()
        self.timer = self.grace = None


@dataclass(slots=True, kw_only=True)
class Entry:
    """One job, alive in the engine."""

    job: Job
    operation: Operation
    story: Story
    log: NarrationLog
    spans: SpanLog
    observation: Observation
    announce: Callable[[Job, str], None]
    current: RunningAttempt | None = None
    timers: dict[str, asyncio.TimerHandle] | None = None
    """Those that are armed; None before the first: few jobs that wait have a limit."""
    waiters: tuple[asyncio.Future[None], ...] = ()
    watchers: int = 0
    timeout_kind: TimeoutKind | None = None
    last_run_s: float = 0.0
    stopped_after_s: float | None = None
    progress_told_mono: float | None = None

    @property
    def disclosure(self) -> Disclosure:
        """What of its spans may be shown."""
        return self.observation.scope.disclosure

    def kept(self) -> "Kept":
        """What of it stays when it has ended."""
        return Kept(
            log=self.log,
            spans=self.spans,
            disclosure=self.disclosure,
            identity=self.observation.span.get_span_context(),
        )

    def arm(self, name: str, timer: asyncio.TimerHandle) -> None:
        """Keep a timer of the job under its name, until it is disarmed."""
        if self.timers is None:
            self.timers = {}
        self.timers[name] = timer

    def disarm(self, name: str) -> bool:
        """Cancel one timer of the job, and forget it; whether it was armed."""
        timer = self.timers.pop(name, None) if self.timers else None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def disarm_all(self) -> None:
        """Cancel every timer of the job and of its attempt."""
        for timer in (self.timers or {}).values():
            timer.cancel()
        self.timers = None
        if self.current is not None:
            self.current.disarm()

    def release_waiters(self) -> None:
        """Wake all that wait for the end."""
        waiters, self.waiters = self.waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One job that has finished: what can be read of it beside its record."""

    log: NarrationLog
    spans: SpanLog
    disclosure: Disclosure
    identity: SpanContext
    """Of its span, for who repeats it."""

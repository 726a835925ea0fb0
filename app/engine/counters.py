"""What the engine counts, and what a whole server does; `telemetry.metrics.Metrics` fits both.

Where metrics are off, nothing is counted, by the same calls. It does not know who reads.
"""

from collections.abc import Iterable
from typing import Protocol

from narration.hub import NarrationCounters, NoNarrationCounters
from telemetry.export import ExportCounters, NoExportCounters
from telemetry.metrics import Truth
from telemetry.names import CancelOrigin, Cut, Outcome, Priority, Reason, State, TimeoutKind


class JobCounters(Protocol):
    """What the engine counts. No call may raise; times are seconds, ids those of a span."""

    def expect(self, operations: Iterable[str]) -> None:
        """Let the counters of these operations be there at 0."""
        ...

    def observe(self, truth: Truth) -> None:
        """Let gauges read `truth` from now on."""
        ...

    def submitted(self, operation: str, priority: Priority) -> None:
        """A job was accepted."""
        ...

    def refused(self, reason: str) -> None:
        """A submission was not accepted; `reason` is one of a fixed set of words."""
        ...

    def waited(  # noqa: PLR0917 - by position on the hot path
        self,
        operation: str,
        priority: Priority,
        seconds: float,
        trace_id: int,
        span_id: int,
        job_id: str,
    ) -> None:
        """An attempt started, `seconds` after it was queued."""
        ...

    def ran(  # noqa: PLR0917 - by position on the hot path
        self,
        operation: str,
        outcome: Outcome,
        seconds: float,
        trace_id: int,
        span_id: int,
        job_id: str,
    ) -> None:
        """An attempt ended, `seconds` after it started."""
        ...

    def attempted(self, operation: str, outcome: Outcome) -> None:
        """An attempt ended."""
        ...

    def retried(self, operation: str, reason: str) -> None:
        """A retry was scheduled; `reason` is the outcome of the attempt before."""
        ...

    def timed_out(self, operation: str, kind: TimeoutKind) -> None:
        """A limit ran out."""
        ...

    def cancelled(self, operation: str, origin: CancelOrigin) -> None:
        """A job was cancelled."""
        ...

    def stopped_after(self, operation: str, origin: CancelOrigin, seconds: float) -> None:
        """A running job that was cancelled has stopped, `seconds` after the request."""
        ...

    def finished(self, operation: str, state: State, reason: Reason | None) -> None:
        """A job ended."""
        ...

    def abandoned(self, operation: str) -> None:
        """A handler would not stop within the grace."""
        ...

    def loop_blocked(self, operation: str) -> None:
        """The event loop stood still in the code of `operation`; empty where it was none's."""
        ...

    def loop_lag(self, seconds: float) -> None:
        """The event loop ran a timer `seconds` late."""
        ...


class Counters(JobCounters, NarrationCounters, Protocol):
    """What a whole server counts."""

    def committed(self, seconds: float, events: int) -> None:
        """A batch with `events` events was committed, `seconds` after it was handed over."""
        ...

    def commit_failed(self, reason: str) -> None:
        """A batch was not committed; `reason` is one of a fixed set of words."""
        ...

    def connection_opened(self) -> None:
        """A connection was accepted."""
        ...

    def connection_closed(self) -> None:
        """A connection is gone."""
        ...

    def connection_cut(self, why: Cut) -> None:
        """A connection was refused, or closed by a bound."""
        ...

    @property
    def spans_exported(self) -> ExportCounters:
        """What the export of spans counts."""
        ...

    @property
    def logs_exported(self) -> ExportCounters:
        """What the export of log records counts."""
        ...


class Uncounted(NoNarrationCounters):
    """Counts nothing: for a server whose metrics are off."""

    spans_exported = logs_exported = NoExportCounters()

    def committed(self, seconds: float, events: int) -> None:
        """Nothing."""

    def commit_failed(self, reason: str) -> None:
        """Nothing."""

    def expect(self, operations: Iterable[str]) -> None:
        """Nothing."""

    def observe(self, truth: Truth) -> None:
        """Nothing."""

    def submitted(self, operation: str, priority: Priority) -> None:
        """Nothing."""

    def refused(self, reason: str) -> None:
        """Nothing."""

    def waited(  # noqa: PLR0917 - as `JobCounters.waited`
        self,
        operation: str,
        priority: Priority,
        seconds: float,
        trace_id: int,
        span_id: int,
        job_id: str,
    ) -> None:
        """Nothing."""

    def ran(  # noqa: PLR0917 - as `JobCounters.ran`
        self,
        operation: str,
        outcome: Outcome,
        seconds: float,
        trace_id: int,
        span_id: int,
        job_id: str,
    ) -> None:
        """Nothing."""

    def attempted(self, operation: str, outcome: Outcome) -> None:
        """Nothing."""

    def retried(self, operation: str, reason: str) -> None:
        """Nothing."""

    def timed_out(self, operation: str, kind: TimeoutKind) -> None:
        """Nothing."""

    def cancelled(self, operation: str, origin: CancelOrigin) -> None:
        """Nothing."""

    def stopped_after(self, operation: str, origin: CancelOrigin, seconds: float) -> None:
        """Nothing."""

    def finished(self, operation: str, state: State, reason: Reason | None) -> None:
        """Nothing."""

    def abandoned(self, operation: str) -> None:
        """Nothing."""

    def loop_blocked(self, operation: str) -> None:
        """Nothing."""

    def loop_lag(self, seconds: float) -> None:
        """Nothing."""

    def connection_opened(self) -> None:
        """Nothing."""

    def connection_closed(self) -> None:
        """Nothing."""

    def connection_cut(self, why: Cut) -> None:
        """Nothing."""

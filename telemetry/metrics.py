"""The metrics of one server: its own registry, one method a fact, children looked up once.

The instruments are built from `telemetry.table.METRICS`, so that what is published is what is
registered. Gauges of the engine are not kept here: they read the `Truth` at scrape, and cannot
drift. It does not know what a job is or who calls; a child is found by a dictionary lookup, never
by `labels()` on the hot path (three to four times as dear). It is longer than other modules: one
method for each fact.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol, TypeVar

from prometheus_client import Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector, CollectorRegistry

from telemetry.clock import Clock, SystemClock
from telemetry.exemplars import Traced
from telemetry.names import (
    TERMINAL,
    CancelOrigin,
    Cut,
    DropReason,
    Exported,
    GapReason,
    MetricName,
    Outcome,
    Priority,
    Reason,
    State,
    StoreFault,
    TimeoutKind,
)
from telemetry.table import DURATIONS, METRIC_ROWS, MetricRow
from telemetry.tally import Tally

_RETRIED: Final = (Outcome.ERROR, Outcome.TIMEOUT, Outcome.LOST, Outcome.RETRY_LATER)
"""The outcomes of an attempt that another one may follow."""

_PLAIN_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

_Family = TypeVar("_Family", bound=MetricWrapperBase)


class Truth(Protocol):
    """What the gauges read at scrape, on the thread that renders."""

    def queue_depth(self) -> Mapping[Priority, int]:
        """Waiting jobs; a priority left out counts 0."""
        ...

    def oldest_age_s(self) -> Mapping[Priority, float]:
        """Age of the oldest waiting job, in seconds; a priority left out counts 0."""
        ...

    def running(self) -> Mapping[str, int]:
        """Running jobs by operation, with a 0 for every operation that runs none."""
        ...

    def retrying(self) -> Mapping[str, int]:
        """Jobs that wait for a retry by operation, with a 0 for the others."""
        ...

    def deferred(self) -> int:
        """Jobs that wait for their first stream."""
        ...

    def retained_jobs(self) -> int:
        """Finished jobs that are kept."""
        ...

    def retained_bytes(self) -> int:
        """Memory of their stories."""
        ...

    def slots(self) -> int:
        """Jobs that may run at the same time."""
        ...


class _Children(dict[str | tuple[str, ...], _Family]):
    """The children of one family by their label values (a single value stands for itself)."""

    def __init__(self, family: _Family) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, key: str | tuple[str, ...]) -> _Family:
        values = (key,) if isinstance(key, str) else key
        child = self[key] = self._family.labels(*values)
        return child


class _Tallies(dict[tuple[str, str], Tally]):
    """Tallies by the label values of a counter."""

    def __missing__(self, key: tuple[str, str]) -> Tally:
        return self.setdefault(key, Tally())  # of two threads one makes it


class _Fold(Collector):
    """Collects a counter, into which tallies are folded first."""

    def __init__(self, tallies: _Tallies, row: MetricRow) -> None:
        self._tallies = tallies
        self._counter = Counter(row.name, row.description, row.labels, registry=None)
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        return self._counter.describe()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            for key, tally in self._tallies.copy().items():
                self._counter.labels(*key).inc(tally.take())
        return self._counter.collect()


class _TracedChildren(dict[tuple[str, str], Traced]):
    """The children of a histogram whose measurements link to traces."""

    def __init__(self, family: Histogram, traced: Callable[[Histogram], Traced]) -> None:
        super().__init__()
        self._family = family
        self._traced = traced

    def __missing__(self, key: tuple[str, str]) -> Traced:
        child = self[key] = self._traced(self._family.labels(*key))
        return child


class Metrics:
    """Counts what happens; satisfies `narration.story.Counters`.

    `spans_exported` and `logs_exported` are what the export of each signal counts. Any thread may
    call the counting methods. None of them raises for any value of its types.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._clock = clock or SystemClock()
        self._truth = _TruthCollector()
        self.registry.register(self._truth)
        ProcessCollector(namespace="narrator", registry=self.registry)

        self._submitted = _Children(self._counter(MetricName.SUBMITTED))
        self._refused = _Children(self._counter(MetricName.REFUSED))
        self._finished = _Children(self._counter(MetricName.FINISHED))
        self._wait = _TracedChildren(self._histogram(MetricName.WAIT), self._traced)
        self._run = _TracedChildren(self._histogram(MetricName.RUN), self._traced)
        self._attempts = _Children(self._counter(MetricName.ATTEMPTS))
        self._retries = _Children(self._counter(MetricName.RETRIES))
        self._timeouts = _Children(self._counter(MetricName.TIMEOUTS))
        self._cancellations = _Children(self._counter(MetricName.CANCELLATIONS))
        self._cancellation_s = _Children(self._histogram(MetricName.CANCELLATION_TIME))
        self._abandoned = _Children(self._counter(MetricName.ABANDONED))
        self._streams_open = self._gauge(MetricName.STREAMS_OPEN)
        self._told = _Tallies()
        self.registry.register(_Fold(self._told, METRIC_ROWS[MetricName.MESSAGES]))
        self._dropped = _Children(self._counter(MetricName.MESSAGES_DROPPED))
        self._delivered = self._counter(MetricName.MESSAGES_DELIVERED)
        self._replayed = self._counter(MetricName.MESSAGES_REPLAYED)
        self._gaps = _Children(self._counter(MetricName.GAPS))
        self._slow_readers = self._counter(MetricName.SLOW_READERS)
        self._loop_blocked = _Children(self._counter(MetricName.LOOP_BLOCKED))
        self._loop_lag = self._histogram(MetricName.LOOP_LAG)
        self._store_commit = self._histogram(MetricName.STORE_COMMIT)
        self._store_events = self._counter(MetricName.STORE_EVENTS)
        self._store_failures = _Children(self._counter(MetricName.STORE_FAILURES))
        self._http = _Children(self._histogram(MetricName.HTTP_ANSWER))
        self._connections = self._gauge(MetricName.CONNECTIONS_OPEN)
        self._cut = _Children(self._counter(MetricName.CONNECTIONS_CUT))
        self.spans_exported = ExportMetrics(
            exported=self._counter(MetricName.EXPORTED),
            dropped=self._counter(MetricName.EXPORT_DROPPED),
            queue=self._gauge(MetricName.EXPORT_QUEUE),
            last_success=self._gauge(MetricName.EXPORT_LAST_SUCCESS),
            clock=self._clock,
        )
        self.logs_exported = ExportMetrics(
            exported=self._counter(MetricName.LOGS_EXPORTED),
            dropped=self._counter(MetricName.LOGS_EXPORT_DROPPED),
            queue=self._gauge(MetricName.LOGS_EXPORT_QUEUE),
            last_success=self._gauge(MetricName.LOGS_EXPORT_LAST_SUCCESS),
            clock=self._clock,
        )
        _ = self._loop_blocked[""]
        for fault in StoreFault:
            _ = self._store_failures[fault]
        for reason in DropReason:
            _ = self._dropped[reason]
        for gap in GapReason:
            _ = self._gaps[gap]
        for why in Cut:
            _ = self._cut[why]

    # --- scrape -----------------------------------------------------------------------------------

    def observe(self, truth: Truth) -> None:
        """Let the gauges read `truth` from now on."""
        self._truth.truth = truth

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type, as an `Accept` header asks.

        OpenMetrics with exemplars where it is accepted, else the Prometheus text format.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = generate_latest, _PLAIN_TEXT
        return encode(_WithoutCreated(self.registry)), content_type

    def expect(self, operations: Iterable[str]) -> None:
        """Let the counters of these operations be there at 0, before anything is counted.

        A rate sees how a series grows, not how it appears: it would miss the first event of each.
        """
        for operation in operations:
            for priority in Priority:
                _ = self._submitted[operation, priority]
            for outcome in Outcome:
                _ = self._attempts[operation, outcome]
            for outcome in _RETRIED:
                _ = self._retries[operation, outcome]
            for kind in TimeoutKind:
                _ = self._timeouts[operation, kind]
            for origin in CancelOrigin:
                _ = self._cancellations[operation, origin]
            for reason in Reason:
                _ = self._finished[operation, State.FAILED, reason]
            for state in TERMINAL - {State.FAILED}:
                _ = self._finished[operation, state, ""]
            _ = self._abandoned[operation]
            _ = self._loop_blocked[operation]

    # --- jobs -------------------------------------------------------------------------------------

    def submitted(self, operation: str, priority: Priority) -> None:
        """A job was accepted."""
        self._submitted[operation, priority].inc()

    def refused(self, reason: str) -> None:
        """A submission was not accepted; `reason` is one of a fixed set of words."""
        self._refused[reason].inc()

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
        self._wait[operation, priority].observe(seconds, trace_id, span_id, job_id)

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
        self._run[operation, outcome].observe(seconds, trace_id, span_id, job_id)

    def attempted(self, operation: str, outcome: Outcome) -> None:
        """An attempt ended."""
        self._attempts[operation, outcome].inc()

    def retried(self, operation: str, reason: str) -> None:
        """A retry was scheduled; `reason` is the outcome of the attempt before."""
        self._retries[operation, reason].inc()

    def timed_out(self, operation: str, kind: TimeoutKind) -> None:
        """A limit ran out."""
        self._timeouts[operation, kind].inc()

    def cancelled(self, operation: str, origin: CancelOrigin) -> None:
        """A job was cancelled."""
        self._cancellations[operation, origin].inc()

    def stopped_after(self, operation: str, origin: CancelOrigin, seconds: float) -> None:
        """A running job that was cancelled has stopped, `seconds` after the request."""
        self._cancellation_s[operation, origin].observe(seconds)

    def finished(self, operation: str, state: State, reason: Reason | None) -> None:
        """A job ended."""
        self._finished[operation, state, reason or ""].inc()

    def abandoned(self, operation: str) -> None:
        """A handler would not stop within the grace."""
        self._abandoned[operation].inc()

    def loop_blocked(self, operation: str) -> None:
        """The event loop stood still in the code of `operation`; empty where it was none's."""
        self._loop_blocked[operation].inc()

    def loop_lag(self, seconds: float) -> None:
        """The event loop ran a timer `seconds` late."""
        self._loop_lag.observe(seconds)

    # --- the store --------------------------------------------------------------------------------

    def committed(self, seconds: float, events: int) -> None:
        """A batch with `events` events was committed, `seconds` after it was handed over."""
        self._store_commit.observe(seconds)
        self._store_events.inc(events)

    def commit_failed(self, reason: str) -> None:
        """A batch was not committed; `reason` is one of a fixed set of words."""
        self._store_failures[reason].inc()

    # --- HTTP -------------------------------------------------------------------------------------

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """The head of an HTTP answer was sent; all three labels are of bounded sets."""
        self._http[method, route, str(status)].observe(seconds)

    def connection_opened(self) -> None:
        """A connection was accepted."""
        self._connections.inc()

    def connection_closed(self) -> None:
        """A connection is gone."""
        self._connections.dec()

    def connection_cut(self, why: Cut) -> None:
        """A connection was refused, or closed by a bound."""
        self._cut[why].inc()

    # --- narration and streams --------------------------------------------------------------------

    def narrated(self, source: str, level: str) -> None:
        """One message was stored."""
        self._told[source, level].add()

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """`count` messages never reached their log."""
        self._dropped[reason].inc(count)

    def stream_opened(self) -> None:
        """A stream was opened."""
        self._streams_open.inc()

    def stream_closed(self) -> None:
        """A stream was closed."""
        self._streams_open.dec()

    def delivered(self, count: int) -> None:
        """`count` events were written to a stream."""
        self._delivered.inc(count)

    def replayed(self, count: int) -> None:
        """`count` of the delivered ones were there before the stream attached."""
        self._replayed.inc(count)

    def gap(self, reason: GapReason) -> None:
        """A gap was told to a stream."""
        self._gaps[reason].inc()

    def slow_reader(self) -> None:
        """The log moved past a reader."""
        self._slow_readers.inc()

    # --- the means --------------------------------------------------------------------------------

    def _traced(self, child: Histogram) -> Traced:
        return Traced(child, DURATIONS, monotonic=self._clock.monotonic)

    def _counter(self, name: MetricName) -> Counter:
        row = METRIC_ROWS[name]
        return Counter(name, row.description, row.labels, registry=self.registry)

    def _gauge(self, name: MetricName) -> Gauge:
        row = METRIC_ROWS[name]
        return Gauge(name, row.description, row.labels, registry=self.registry)

    def _histogram(self, name: MetricName) -> Histogram:
        row = METRIC_ROWS[name]
        return Histogram(
            name, row.description, row.labels, buckets=row.buckets, registry=self.registry
        )


class ExportMetrics:
    """What the export queue of one signal counts; satisfies `export.ExportCounters`."""

    def __init__(
        self,
        *,
        exported: Counter,
        dropped: Counter,
        queue: Gauge,
        last_success: Gauge,
        clock: Clock,
    ) -> None:
        self._sent = exported.labels(Exported.SENT)
        self._failed = exported.labels(Exported.FAILED)
        self._dropped = dropped
        self._queue = queue
        self._last_success = last_success
        self._clock = clock

    def observe_export_queue(self, length: Callable[[], int]) -> None:
        """Let the gauge of the export queue read `length` from now on."""
        self._queue.set_function(length)

    def exported(self, count: int) -> None:
        """`count` items were sent."""
        self._sent.inc(count)
        self._last_success.set(self._clock.wall_ns() / 1e9)

    def export_failed(self, count: int) -> None:
        """`count` items could not be sent."""
        self._failed.inc(count)

    def exporter_dropped(self, count: int) -> None:
        """`count` items found no room in the export queue."""
        self._dropped.inc(count)


class _TruthCollector(Collector):
    """The gauges that read the engine; without samples until there is a truth to read."""

    def __init__(self) -> None:
        self.truth: Truth | None = None

    def describe(self) -> Iterable[Metric]:
        return [family for family, _ in self._families(None)]

    def collect(self) -> Iterator[Metric]:
        for family, values in self._families(self.truth):
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family

    def _families(
        self, truth: Truth | None
    ) -> Iterator[tuple[GaugeMetricFamily, dict[tuple[str, ...], float]]]:
        for name, read in _READS.items():
            row: MetricRow = METRIC_ROWS[name]
            family = GaugeMetricFamily(name, row.description, labels=row.labels)
            yield family, {} if truth is None else read(truth)


def _single(value: float) -> dict[tuple[str, ...], float]:
    return {(): value}


def _by_priority(values: Mapping[Priority, float]) -> dict[tuple[str, ...], float]:
    return {(priority.value,): values.get(priority, 0) for priority in Priority}


def _by_operation(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(operation,): value for operation, value in values.items()}


_READS: Final[Mapping[MetricName, Callable[[Truth], dict[tuple[str, ...], float]]]] = {
    MetricName.QUEUE_DEPTH: lambda truth: _by_priority(truth.queue_depth()),
    MetricName.QUEUE_OLDEST_AGE: lambda truth: _by_priority(truth.oldest_age_s()),
    MetricName.RUNNING: lambda truth: _by_operation(truth.running()),
    MetricName.RETRYING: lambda truth: _by_operation(truth.retrying()),
    MetricName.DEFERRED: lambda truth: _single(truth.deferred()),
    MetricName.RETAINED_JOBS: lambda truth: _single(truth.retained_jobs()),
    MetricName.RETAINED_BYTES: lambda truth: _single(truth.retained_bytes()),
    MetricName.WORKER_SLOTS: lambda truth: _single(truth.slots()),
}


class _WithoutCreated(Collector):
    """A registry without the `_created` samples, which would double the series of a scrape.

    The library's own switch for them is global.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            created = f"{metric.name}_created"
            metric.samples = [sample for sample in metric.samples if sample.name != created]
            yield metric

"""A journal that is kept by a store: it gathers changes and hands them over, a batch at a time.

While a batch is written, on a thread of its own, the next one gathers: so the busier the server,
the more jobs share a commit, and an idle one waits for nothing. When a batch is kept, its events
may be read and those who wait for it go on. A batch that can't be written is tried again, with all
that has come since, until it can; meanwhile those who wait are told, and nothing new is taken in.
It does not know what is in a store.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import ClassVar, Final, NamedTuple, Protocol

from app.engine.entry import Entry
from app.jobs.errors import StoreUnavailable
from app.jobs.model import Job
from app.store.errors import StoreError
from app.store.protocol import Batch, Provenance, Store, Told
from narration.held_log import HeldLog
from narration.spans import SpanLog
from telemetry.clock import Clock
from telemetry.names import StoreFault

_logger = logging.getLogger(__name__)

RETRY_S: Final = (0.1, 2.0)
"""Seconds until a batch that could not be written is tried again: at first, and at most."""

CLOSE_S: Final = 5.0
"""Seconds that the last batch may take."""


class StoreCounters(Protocol):
    """What a journal counts; times are seconds."""

    def committed(self, seconds: float, events: int) -> None:
        """A batch with `events` events was kept, `seconds` after it was handed over."""
        ...

    def commit_failed(self, reason: str) -> None:
        """A batch could not be written; `reason` is one of a fixed set of words."""
        ...


@dataclass(slots=True, eq=False)
class _Gathered:
    """What has been noted since the last batch."""

    made: dict[str, Provenance] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    logs: dict[HeldLog, None] = field(default_factory=dict)
    passing: dict[HeldLog, None] = field(default_factory=dict)
    spans: dict[str, SpanLog] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    calls: list[Callable[[], None]] = field(default_factory=list)
    waiters: list["asyncio.Future[None]"] = field(default_factory=list)
    releases: list[tuple[HeldLog, int]] = field(default_factory=list)
    """How far each log may be read when this is kept; set when it is handed over."""

    def touches(self, job_id: str) -> bool:
        return job_id in self.jobs or job_id in self.forgotten

    def batch(self) -> Batch:
        """What there is to write, as it is now."""
        told: dict[str, Told] = {}
        self.releases = [(log, log.number) for log in (*self.logs, *self.passing)]
        for log in self.logs:
            start, entries = log.held()
            if entries:
                first = max(log.first, start + len(entries) - log.limit)
                told[log.job_id] = Told(start=start, first=first, entries=entries)
        return Batch(
            made=self.made,
            jobs={job_id: job.snapshot() for job_id, job in self.jobs.items()},
            told=told,
            spans={job_id: spans.finished() for job_id, spans in self.spans.items()},
            forgotten=self.forgotten,
        )

    def after(self, earlier: "_Gathered") -> None:
        """Take in what an `earlier` one could not have written."""
        self.made = {**earlier.made, **self.made}
        self.jobs = {**earlier.jobs, **self.jobs}
        self.logs = {**earlier.logs, **self.logs}
        self.passing = {**earlier.passing, **self.passing}
        self.spans = {**earlier.spans, **self.spans}
        self.forgotten |= earlier.forgotten
        self.calls = [*earlier.calls, *self.calls]

    def is_empty(self) -> bool:
        """Whether nothing has been noted, and nobody waits."""
        return not (
            self.jobs
            or self.logs
            or self.passing
            or self.spans
            or self.forgotten
            or self.calls
            or self.waiters
        )


@dataclass(slots=True, eq=False)
class _Flight:
    """A batch that is being written."""

    gathered: _Gathered
    batch: Batch
    since: float


class _Failure(NamedTuple):
    reason: str
    words: str


class StoreJournal:
    """Keeps the engine's changes in `store`.

    `threaded` writes on a thread of its own; otherwise the loop itself does: where its time is not
    the real one, none must pass meanwhile.
    """

    durable: ClassVar = True

    def __init__(
        self,
        store: Store,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        counters: StoreCounters,
        threaded: bool,
    ) -> None:
        self.failing: str | None = None
        self._store = store
        self._loop = loop
        self._clock = clock
        self._counters = counters
        self._gathered = _Gathered()
        self._flight: _Flight | None = None
        self._armed = False
        self._closed = False
        self._retry_s = RETRY_S[0]
        self._retry: asyncio.TimerHandle | None = None
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._threaded = threaded
        self._thread: threading.Thread | None = None

    # --- noting -------------------------------------------------------------------------------

    def made(self, job_id: str, provenance: Provenance) -> None:
        """As `Journal.made`."""
        self._gathered.made[job_id] = provenance

    def changed(self, job: Job) -> None:
        """As `Journal.changed`."""
        self._gathered.jobs[job.id] = job
        self._arm()

    def traced(self, entry: Entry) -> None:
        """As `Journal.traced`."""
        self._gathered.spans[entry.job.id] = entry.spans
        self._arm()

    def forgotten(self, job_id: str) -> None:
        """As `Journal.forgotten`."""
        gathered = self._gathered
        for noted in (gathered.jobs, gathered.spans):
            noted.pop(job_id, None)
        never_kept = gathered.made.pop(job_id, None) is not None
        if not never_kept:
            gathered.forgotten.add(job_id)
        self._arm()

    def hold(self, log: HeldLog) -> None:
        """A job's log has events to be kept, and then to be read."""
        self._gathered.logs[log] = None
        self._arm()

    def pass_on(self, log: HeldLog) -> None:
        """A log has events that nobody keeps, to be read when what they tell is kept."""
        self._gathered.passing[log] = None
        self._arm()

    # --- waiting ------------------------------------------------------------------------------

    def then(self, call: Callable[[], None]) -> None:
        """As `Journal.then`."""
        self._gathered.calls.append(call)
        self._arm()

    async def settled(self, *job_ids: str) -> None:
        """As `Journal.settled`."""
        if any(map(self._gathered.touches, job_ids)):
            waited_for = self._gathered
        elif self._flight and any(map(self._flight.gathered.touches, job_ids)):
            waited_for = self._flight.gathered
        else:
            return
        if self.failing is not None:
            raise self._unavailable()
        waiter: asyncio.Future[None] = self._loop.create_future()
        waited_for.waiters.append(waiter)
        await waiter

    async def kept(self) -> None:
        """As `Journal.kept`; a failure ends it, and five seconds do."""
        nothing = self._gathered.is_empty() and self._flight is None
        if nothing or self.failing is not None:
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._gathered.waiters.append(waiter)
        self._arm()
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            await asyncio.wait_for(waiter, CLOSE_S)

    async def close(self) -> None:
        """As `Journal.close`; what can't be written within five seconds is logged, and lost."""
        if self._closed:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                while self._flight is not None or not self._gathered.is_empty():
                    waiter: asyncio.Future[None] = self._loop.create_future()
                    self._gathered.waiters.append(waiter)
                    self._arm()
                    with contextlib.suppress(StoreUnavailable):  # it is tried again
                        await waiter
        except TimeoutError:
            _logger.error(  # noqa: TRY400 - the cause is named; where it was raised says nothing
                "the store could not be written before the end, and %d jobs are there as they "
                "were before: %s",
                len(self._unwritten()),
                self.failing or "it takes too long",
            )
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        if self._thread is not None:
            self._batches.put(None)
            await self._loop.run_in_executor(None, self._thread.join, CLOSE_S)

    def _unwritten(self) -> set[str]:
        """The jobs of which the store does not know the last."""
        flying = self._flight.gathered.jobs.keys() if self._flight else set[str]()
        return {*self._gathered.jobs, *flying}

    # --- handing over -------------------------------------------------------------------------

    def _arm(self) -> None:
        if not (self._armed or self._flight or self._retry or self._closed):
            self._armed = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._armed = False
        self._retry = None
        gathered, self._gathered = self._gathered, _Gathered()
        if gathered.is_empty() and self.failing is None:
            return
        batch = gathered.batch()
        self._flight = _Flight(gathered, batch, self._clock.monotonic())
        if not self._threaded:
            self._loop.call_soon(self._written, self._write(batch))
            return
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._write_all, name="narrator-store", daemon=True
            )
            self._thread.start()
        self._batches.put(batch)

    def _write_all(self) -> None:
        """The thread: write what comes, one batch after the other."""
        while True:
            batch = self._batches.get()
            if batch is None:
                return
            error = self._write(batch)
            try:
                self._loop.call_soon_threadsafe(self._written, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _write(self, batch: Batch) -> _Failure | None:
        try:
            self._store.write(batch)
        except StoreError as error:
            return _Failure(error.code, str(error))
        except Exception as error:
            _logger.exception("the store failed in a way that it should not")
            return _Failure(StoreFault.FAILED.value, f"{type(error).__name__}: {error}")
        return None

    def _written(self, failure: _Failure | None) -> None:
        """On the loop: a batch has been kept, or not."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        if failure is not None:
            self._failed(flight.gathered, failure)
            return
        if self.failing is not None:
            _logger.warning("the store can be written again")
            self.failing, self._retry_s = None, RETRY_S[0]
        batch = flight.batch
        events = sum(len(each.entries) for each in batch.told.values())
        took_s = self._clock.monotonic() - flight.since
        self._counters.committed(took_s, events)
        for log, before in flight.gathered.releases:
            log.release(before)
        for call in flight.gathered.calls:
            call()
        for waiter in flight.gathered.waiters:
            if not waiter.done():
                waiter.set_result(None)
        if not self._gathered.is_empty():
            self._arm()

    def _failed(self, gathered: _Gathered, failure: _Failure) -> None:
        if self.failing is None:
            _logger.error("nothing can be kept, so nothing is acknowledged: %s", failure.words)
        self.failing = failure.words
        self._counters.commit_failed(failure.reason)
        waiters = [*gathered.waiters, *self._gathered.waiters]
        self._gathered.waiters.clear()
        self._gathered.after(gathered)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(self._unavailable())
        if not self._closed:
            self._retry = self._loop.call_later(self._retry_s, self._hand_over)
            self._retry_s = min(2 * self._retry_s, RETRY_S[1])

    def _unavailable(self) -> StoreUnavailable:
        return StoreUnavailable(self.failing or "unknown", retry_after_s=max(1.0, self._retry_s))

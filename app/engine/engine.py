"""The engine: every call that makes, reads or changes a job, and the end of each.

All calls are made on the loop's thread. No await stands between reading a job's state and writing
it. It knows no HTTP; what it refuses, it refuses with an error of `app.jobs.errors`. Every call is
made for a tenant: another's job is `JobNotFound`, as one that is not there. It is long since all
calls stand here, each with what it refuses; what they do is done elsewhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.context import Context

from app.engine.blocking import Blocking
from app.engine.core import Core
from app.engine.draining import Draining
from app.engine.entry import Entry, Kept, StopCause
from app.engine.execution import Execution
from app.engine.housekeeping import Housekeeping
from app.engine.intake import RETRY_AFTER_S, Intake
from app.engine.keeping import Keeping
from app.engine.loop_watch import LoopWatch
from app.engine.open_streams import OpenStreams
from app.engine.recovery import Recovery, Restored
from app.engine.truth import EngineTruth
from app.engine.waiting import Waiting
from app.engine.watching import Watching
from app.handlers.operation import Operation
from app.jobs import job as jobs
from app.jobs.errors import AlreadyFinished, StoreUnavailable
from app.jobs.model import DEFAULT_TENANT, Job
from app.jobs.record import JobRecord, record_of
from app.jobs.registry import JobFilter
from app.jobs.submission import RetryChanges, Submission
from app.store.protocol import Store
from narration.hub import Narration
from narration.log import NarrationLog
from narration.scope import Disclosure
from narration.span_record import SpanRecord
from narration.streams import Streams
from telemetry.names import CancelOrigin, State

if TYPE_CHECKING:
    import asyncio

STREAM_RETRY_MS: Final = 2000
"""When a client whose stream a drain has closed may come back, milliseconds, before jitter."""

_WAITING: Final = (State.QUEUED, State.RETRYING)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPage:
    """Some records, newest first; `next` is the cursor of the page after, `total` counts all."""

    jobs: list[JobRecord]
    next: str | None
    total: int


class Submitted(NamedTuple):
    """What became of a submission: its job, whether that is new, and the status to answer with."""

    job_id: str
    created: bool
    status: int


class Engine:
    """Runs jobs on one loop; made on that loop.

    `real_time` says that the loop's time is the real one: only then can it be watched.
    """

    def __init__(
        self,
        core: Core,
        *,
        operations: Mapping[str, Operation],
        narration: Narration,
        new_id: Callable[[], str],
        real_time: bool,
    ) -> None:
        settings = core.settings
        core.free_slots = settings.concurrency
        self._core = core
        self._operations = dict(operations)
        self._narration = narration
        self._execution = Execution(
            core,
            finish=self._finish,
            wait_for_retry=self._wait_for_retry,
        )
        self._waiting = Waiting(
            core,
            wake=self._execution.wake,
            finish=self._finish,
            deadline_passed=self._execution.deadline_passed,
        )
        self._intake = Intake(
            core,
            operations=self._operations,
            narration=narration,
            new_id=new_id,
            admit=self._waiting.admit,
        )
        self._watching = Watching(
            core,
            enqueue=self._waiting.enqueue,
            cancel_unwatched=lambda entry: self._cancel(entry, CancelOrigin.UNWATCHED),
        )
        self._keeping = Keeping(core, self._intake)
        self._recovery = Recovery(
            core,
            operations=self._operations,
            narration=narration,
            intake=self._intake,
            waiting=self._waiting,
            execution=self._execution,
            keeping=self._keeping,
        )
        self._housekeeping = Housekeeping(
            core.loop,
            metrics=core.metrics if settings.metrics else None,
            tasks=(self._keeping.sweep, self._keeping.compaction.run),
            watch=LoopWatch(
                core.loop,
                limit_s=settings.blocked_loop_s,
                report=Blocking(core, self._operations).report,
            )
            if real_time
            else None,
        )
        self._draining = Draining(core, stop=self._execution.stop, cancel=self._cancel)
        self._open_streams = OpenStreams(settings.tenant_streams)
        self._truth = EngineTruth(core, self._keeping.retention, self._operations)
        core.metrics.observe(self._truth)

    # --- making and reading jobs --------------------------------------------------------------

    def submit(
        self,
        submission: Submission,
        *,
        parent: Context | None = None,
        idempotency_key: str | None = None,
        body_hash: str | None = None,
        tenant: str = DEFAULT_TENANT,
    ) -> Submitted:
        """Make a job, or find the one that the same key made.

        Raises:
            Draining, QueueFull, TenantLimit, OperationNotFound, InvalidParams, InvalidSubmission,
            IdempotencyConflict: refused, and nothing has changed.

        """
        job, created, status = self._intake.submit(
            submission,
            parent=parent,
            idempotency_key=idempotency_key,
            body_hash=body_hash,
            tenant=tenant,
        )
        return Submitted(job.id, created, status)

    def retry(
        self,
        job_id: str,
        changes: RetryChanges | None = None,
        parent: Context | None = None,
        *,
        idempotency_key: str | None = None,
        body_hash: str | None = None,
        tenant: str = DEFAULT_TENANT,
    ) -> JobRecord:
        """Run a finished job again, with changes, as a new job linked to it.

        Or find the one that the same key made, whether or not the old one is still there.

        Raises:
            JobNotFound, NotFinished, and what `submit` raises.

        """
        job = self._intake.retry(
            job_id,
            changes,
            parent=parent,
            idempotency_key=idempotency_key,
            body_hash=body_hash,
            tenant=tenant,
        )
        return self._record(job)

    def record(self, job_id: str, *, tenant: str = DEFAULT_TENANT) -> JobRecord:
        """The job as it is now; `JobNotFound`."""
        return self._record(self._core.registry.owned(job_id, tenant))

    async def settled(self, *job_ids: str) -> None:
        """Return once all that has become of these jobs by now would outlive the process.

        Without a store, at once.

        Raises:
            StoreUnavailable: it can't be kept, for now.

        """
        await self._core.journal.settled(*job_ids)

    async def wait(
        self, job_id: str, timeout_s: float, *, tenant: str = DEFAULT_TENANT
    ) -> JobRecord:
        """The job once it has finished, or as it is after `timeout_s` seconds; `JobNotFound`.

        Raises:
            JobNotFound, StoreUnavailable.

        """
        job = self._core.registry.owned(job_id, tenant)
        await self.ended(job_id, timeout_s, tenant=tenant)
        record = self._record(job)
        await self.settled(job_id)
        return record

    async def ended(self, job_id: str, timeout_s: float, *, tenant: str = DEFAULT_TENANT) -> bool:
        """Wait for a job's end, `timeout_s` seconds at most; whether it has come; `JobNotFound`."""
        job = self._core.registry.owned(job_id, tenant)
        if not job.finished:
            entry = self._core.entries[job_id]
            waiter: asyncio.Future[None] = self._core.loop.create_future()
            entry.waiters = (*entry.waiters, waiter)
            timer = self._core.loop.call_later(timeout_s, _give_up, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                entry.waiters = tuple(each for each in entry.waiters if each is not waiter)
        return job.finished

    def find(
        self,
        chosen: JobFilter,
        cursor: str | None = None,
        limit: int = 100,
        *,
        tenant: str = DEFAULT_TENANT,
    ) -> RecordPage:
        """One page of the tenant's jobs, newest first; `InvalidCursor`, `InvalidFilter`."""
        page = self._core.registry.find(chosen, cursor, limit, tenant=tenant)
        records = [self._record(job) for job in page.jobs]
        return RecordPage(jobs=records, next=page.next, total=page.total)

    def operations(self) -> list[Operation]:
        """What can be run."""
        return [*self._operations.values()]

    def log(self, job_id: str, *, tenant: str = DEFAULT_TENANT) -> NarrationLog:
        """The job's story; `JobNotFound`."""
        return self._told(job_id, tenant).log

    def trace(
        self, job_id: str, *, tenant: str = DEFAULT_TENANT
    ) -> tuple[list[SpanRecord], Disclosure]:
        """The job's spans so far, and what of their attributes may be shown; `JobNotFound`."""
        told = self._told(job_id, tenant)
        return told.spans.records(), told.disclosure

    def feed(self, tenant: str = DEFAULT_TENANT) -> NarrationLog:
        """State changes of all jobs of the tenant."""
        return self._core.feed.of(tenant)

    @property
    def open_streams(self) -> OpenStreams:
        """How many streams of each tenant are open, and may be."""
        return self._open_streams

    @property
    def streams(self) -> Streams:
        """The open streams."""
        return self._narration.streams

    @property
    def draining(self) -> bool:
        """Whether the server is going and takes no new jobs."""
        return self._core.draining

    def overview(self, tenant: str = DEFAULT_TENANT) -> dict[str, Any]:
        """The state in numbers, as JSON data: of the tenant's own jobs and streams."""
        return {**self._truth.overview(tenant), "streams": self._open_streams.count(tenant)}

    def ready(self) -> dict[str, bool]:
        """What has to hold for new work to be taken."""
        core = self._core
        checks = {
            "accepting": not core.draining,
            "queue": core.registry.count(*_WAITING) < core.settings.queue_limit,
        }
        if core.journal.durable:
            checks["store"] = core.journal.failing is None
        return checks

    # --- changing them ------------------------------------------------------------------------

    def cancel(
        self,
        job_id: str,
        origin: CancelOrigin = CancelOrigin.CLIENT,
        *,
        tenant: str = DEFAULT_TENANT,
    ) -> JobRecord:
        """Ask for a cancellation; may be repeated until it has come to its end.

        Raises:
            JobNotFound, AlreadyFinished.

        """
        job = self._core.registry.owned(job_id, tenant)
        if job.finished:
            raise AlreadyFinished(job_id, job.state)
        self._cancel(self._core.entries[job_id], origin)
        return self._record(job)

    def forget(self, job_id: str, *, tenant: str = DEFAULT_TENANT) -> None:
        """Forget a finished job; its readers are told.

        Raises:
            JobNotFound, NotFinished.
            StoreUnavailable: it would be there again after a restart.

        """
        job = self._core.registry.owned(job_id, tenant)
        problem = self._core.journal.failing
        if problem is not None:
            raise StoreUnavailable(problem, retry_after_s=RETRY_AFTER_S)
        self._keeping.forget(job.id)

    def attached(self, job_id: str) -> None:
        """A following stream of the job was answered with 200."""
        entry = self._core.entries.get(job_id)
        if entry is not None:
            self._watching.attached(entry)

    def detached(self, job_id: str, *, by_client: bool) -> None:
        """Such a stream has ended: because the client left, or because the server closed it."""
        entry = self._core.entries.get(job_id)
        if entry is not None:
            self._watching.detached(entry, by_client=by_client)

    # --- the life of the engine ---------------------------------------------------------------

    def start(self) -> None:
        """Begin to keep house; jobs run from the first submission on."""
        self._housekeeping.start()

    def restore(self, store: Store) -> Restored:
        """Take up the jobs that an earlier process has left; before any other call.

        Raises:
            StoreError: they can't be read.

        """
        return self._recovery.restore(store)

    async def close(self) -> None:
        """Keep what there is to keep; nothing is noted after this."""
        await self._core.journal.close()

    async def drain(self, grace_s: float) -> None:
        """Take no new jobs; give running ones `grace_s` seconds, and stop what is left.

        Streams that are open now are told and closed. With a store, jobs that wait are left to the
        next process, and an attempt that is stopped is `lost`: its job is tried again there, if its
        policy allows. Without one nobody would run them: waiting jobs are cancelled at once, and
        running ones in the end (origin `shutdown`).
        """
        self.streams.drain("shutdown", retry_ms=STREAM_RETRY_MS)
        await self._draining.drain(grace_s)
        await self._core.journal.kept()  # streams that follow are told the ends

    def kill_all(self) -> None:
        """End by force what can be ended by force: the process itself is about to end.

        May be called in a signal handler: it neither logs nor waits.
        """
        for entry in list(self._core.entries.values()):
            if entry.current is not None and entry.current.running is not None:
                entry.current.running.kill()

    def stop(self) -> None:
        """Cancel every timer; nothing runs after this."""
        self._housekeeping.stop()
        self._keeping.compaction.stop()
        for entry in self._core.entries.values():
            entry.disarm_all()

    # --- the means ----------------------------------------------------------------------------

    def _told(self, job_id: str, tenant: str) -> Entry | Kept:
        job = self._core.registry.owned(job_id, tenant)
        return self._core.kept[job_id] if job.finished else self._core.entries[job_id]

    def _record(self, job: Job) -> JobRecord:
        base = f"/v1/jobs/{job.id}"
        links = {
            "self": base,
            "stream": f"{base}/stream",
            "narration": f"{base}/narration",
            "trace": f"{base}/trace",
        }
        address = job.trace_id and self._core.settings.trace_address(job.trace_id)
        if address:
            links["trace_viewer"] = address
        dashboard = self._core.settings.dashboard_address(job.operation)
        if dashboard:
            links["dashboard"] = dashboard
        return record_of(job, queue_position=self._core.queue.position(job.id), links=links)

    def _cancel(self, entry: Entry, origin: CancelOrigin) -> None:
        before = entry.job.state
        after = jobs.cancel(entry.job, origin=origin, now_ns=self._core.clock.wall_ns())
        if before is State.CANCELLING:
            return
        self._core.observer.cancel_requested(entry, origin, before)
        if after is State.CANCELLING:
            self._execution.stop(entry, StopCause.CANCEL)
        else:
            self._finish(entry)

    def _wait_for_retry(self, entry: Entry, delay_s: float) -> None:
        self._core.journal.traced(entry)
        self._waiting.for_retry(entry, delay_s)
        self._draining.waits(entry)

    def _finish(self, entry: Entry) -> None:
        """A job has reached a terminal state: tell it, keep it, let go of what was live."""
        core = self._core
        self._waiting.leave(entry)
        core.observer.finished(entry)
        entry.release_waiters()
        core.journal.traced(entry)
        self._keeping.keep(entry)
        self._draining.look_for_idle()


def _give_up(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)

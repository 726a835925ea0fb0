"""Waiting: for a stream, for a slot, for the retry time, and every limit on it.

Each wait ends in exactly one of: the next step, a cancel, or a limit that fails the job. It knows
nothing of running attempts except that the execution is to be told when a deadline passes.
"""

from collections.abc import Callable
from typing import Final

from app.engine.core import Core
from app.engine.entry import Entry
from app.engine.moments import limit_s
from app.jobs import job as jobs
from app.jobs.model import Failure
from app.jobs.verdict import expired
from narration.slim_span import slim
from telemetry.names import State, TimeoutKind

_UNMET: Final = {
    TimeoutKind.QUEUE: "not started within queue_timeout_s",
    TimeoutKind.ATTACH: "no stream attached within attach_timeout_s",
    TimeoutKind.DEADLINE: "not finished within deadline_s",
}


class Waiting:
    """Moves jobs between deferred, queued and retrying, and ends those that wait too long."""

    def __init__(
        self,
        core: Core,
        *,
        wake: Callable[[], None],
        finish: Callable[[Entry], None],
        deadline_passed: Callable[[Entry], None],
    ) -> None:
        self._core = core
        self._wake = wake
        self._finish = finish
        self._deadline_passed = deadline_passed

    def admit(self, entry: Entry) -> None:
        """A new job: its deadline counts from now; it is queued, or deferred until a stream."""
        policy = entry.job.policy
        if policy.deadline_s is not None:
            self._arm(entry, "deadline", policy.deadline_s, self._deadline)
        if entry.job.deferred:
            self._core.observer.deferred(entry)
            slim(entry.observation.span)
            self._arm(entry, "attach", policy.attach_timeout_s, self._expire, TimeoutKind.ATTACH)
        else:
            self.enqueue(entry)

    def enqueue(self, entry: Entry) -> None:
        """Into the queue: at submit, when the first stream attaches, or when a retry is due."""
        core, job = self._core, entry.job
        now = core.clock.monotonic()
        jobs.queue(job, now_ns=core.clock.wall_ns(), now_mono=now)
        entry.disarm("attach")
        self._line_up(entry, now)
        core.observer.queued(entry, core.queue.position(job.id) or 0)
        if not core.free_slots and not job.attempt:
            slim(entry.observation.span)  # it will really wait, and has never run
        self._wake()

    def for_retry(self, entry: Entry, delay_s: float) -> None:
        """Hold no slot until `delay_s` seconds have passed, then queue again."""
        self._arm(entry, "retry", delay_s, self._due)

    def resume(self, entry: Entry) -> None:
        """A job of an earlier process goes on to wait, each of its limits where it was."""
        core, job, now = self._core, entry.job, self._core.clock.monotonic()
        left_s = job.left_s(now)
        if left_s is not None:
            self._arm(entry, "deadline", max(0.0, left_s), self._deadline)
        if job.deferred:
            until = job.created_mono + job.policy.attach_timeout_s
            self._arm(entry, "attach", max(0.0, until - now), self._expire, TimeoutKind.ATTACH)
        elif job.state is State.RETRYING:
            due_ns, since_ns = job.next_retry_ns or 0, job.attempts[-1].finished_ns or 0
            # A wall clock that was put back makes no delay longer than it was.
            left_ns = min(due_ns - core.clock.wall_ns(), due_ns - since_ns)
            self.for_retry(entry, max(0.0, left_ns / 1e9))
        elif job.state is State.QUEUED:
            self._line_up(entry, job.queued_mono)
        slim(entry.observation.span)

    def leave(self, entry: Entry) -> None:
        """The job waits no longer, for whatever reason: no trace of it in queue or timers."""
        self._core.queue.remove(entry.job.id)
        entry.disarm_all()

    def _line_up(self, entry: Entry, since_mono: float) -> None:
        """Into the queue as of `since_mono`, with its limit."""
        core, job = self._core, entry.job
        core.queue.push(
            job.id,
            priority=job.policy.priority,
            operation=job.operation,
            concurrency_key=job.policy.concurrency_key,
            now_mono=since_mono,
            tenant=job.tenant,
        )
        limit_s = job.policy.queue_timeout_s
        if limit_s is not None and job.started_ns is None:
            left_s = max(0.0, since_mono + limit_s - core.clock.monotonic())
            self._arm(entry, "queue", left_s, self._expire, TimeoutKind.QUEUE)

    def _due(self, entry: Entry) -> None:
        entry.disarm("retry")
        jobs.due(entry.job)
        self._core.observer.backoff_ended(entry)
        self.enqueue(entry)

    def _deadline(self, entry: Entry) -> None:
        entry.disarm("deadline")
        state = entry.job.state
        if state in (State.RUNNING, State.CANCELLING):
            self._deadline_passed(entry)
        elif state in (State.QUEUED, State.RETRYING):
            self._expire(entry, TimeoutKind.DEADLINE)

    def _expire(self, entry: Entry, kind: TimeoutKind) -> None:
        """Fail a waiting job: `expired` if it never started, else `timeout`."""
        core, job = self._core, entry.job
        reason = expired(kind, started=job.started_ns is not None)
        entry.timeout_kind = kind
        core.observer.waiting_timed_out(entry, kind)
        message = f"{_UNMET[kind]} = {limit_s(job, kind):g} s"
        failure = Failure(reason=reason, type=reason.value, message=message)
        jobs.fail(job, failure, now_ns=core.clock.wall_ns())
        self._finish(entry)

    def _arm(
        self, entry: Entry, name: str, delay_s: float, call: Callable[..., None], *args: object
    ) -> None:
        entry.arm(name, self._core.loop.call_later(delay_s, call, entry, *args))

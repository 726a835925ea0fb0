"""Taking up what an earlier process has left in the store.

A job that has finished is kept as it was. One that waited goes on to wait, each limit and time
where it was by the wall clock. One that ran has lost its attempt: that is recorded and narrated,
its processes that still run are killed, and the job's policy says what follows. A job whose
operation is not served here waits until a server has it. It does not know how a store keeps
anything.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from opentelemetry.trace import SpanContext, TraceFlags

from app.engine.core import Core
from app.engine.entry import Entry, Kept
from app.engine.execution import Execution
from app.engine.intake import EPOCH, Intake
from app.engine.keeping import Keeping
from app.engine.runners import tree
from app.engine.waiting import Waiting
from app.handlers.operation import Operation, absent
from app.jobs.model import Job
from app.store.protocol import Store, StoredJob
from narration.held_log import HeldLog
from narration.hub import Narration, OpenStory
from narration.log import Entry as LogEntry
from narration.process import MARK
from telemetry.clock import wall_ns_of
from telemetry.names import State, StreamEvent

_logger = logging.getLogger(__name__)

TELL_EVERY_S: Final = 2.0
"""Seconds between two lines that say how far it is."""

KILLED_S: Final = 5.0
"""Seconds for which processes that were killed are waited for."""


@dataclass(slots=True, kw_only=True)
class Restored:
    """How many jobs were taken up, by what they were."""

    finished: int = 0
    waiting: int = 0
    cut: int = 0
    """Those of which an attempt ran."""
    unserved: Counter[str] = field(default_factory=Counter)
    """Unfinished ones whose operation is not served here, by operation."""


class _Last(msgspec.Struct):
    """What matters of the last event that was kept of a story."""

    at: str
    state: str | None = None


class Recovery:
    """Used once, before the engine takes anything in."""

    def __init__(
        self,
        core: Core,
        *,
        operations: Mapping[str, Operation],
        narration: Narration,
        intake: Intake,
        waiting: Waiting,
        execution: Execution,
        keeping: Keeping,
    ) -> None:
        self._core = core
        self._operations = operations
        self._narration = narration
        self._intake = intake
        self._waiting = waiting
        self._execution = execution
        self._keeping = keeping
        self._absent: dict[str, Operation] = {}

    def restore(self, store: Store) -> Restored:
        """Take up all jobs in `store`.

        Raises:
            StoreError: they can't be read.

        """
        restored = Restored()
        # Read once: jobs that were queued a moment apart must not change places.
        now_ns, now = self._core.clock.wall_ns(), self._core.clock.monotonic()
        cut: list[tuple[Entry, int]] = []
        told_mono = now
        for number, stored in enumerate(store.load()):
            at_mono = self._core.clock.monotonic()
            if at_mono - told_mono >= TELL_EVERY_S:
                told_mono = at_mono
                _logger.info("taking up jobs: %d of %d", number, store.count())
            job = stored.job
            _set_clock(job, now_ns, now)
            self._core.registry.restore(job)
            self._intake.remember(job, stored.provenance)
            if job.finished:
                self._keep(store, stored)
                restored.finished += 1
                continue
            entry, last_ns = self._entry(store, stored)
            self._core.entries[job.id] = entry
            if job.operation not in self._operations:
                restored.unserved[job.operation] += 1
            if job.state in (State.RUNNING, State.CANCELLING):
                cut.append((entry, last_ns))
                restored.cut += 1
            else:
                restored.waiting += 1
            self._waiting.resume(entry)
        self._end_what_runs({entry.job.id for entry, _ in cut})
        for entry, last_ns in cut:  # when all others are where they were
            self._execution.cut(entry, at_ns=last_ns)
        self._keeping.restored()
        self._execution.wake()
        return restored

    def _end_what_runs(self, job_ids: set[str]) -> None:
        """Kill what cut attempts have started: what they began must not go on beside the next."""
        if job_ids and not tree.kill_marked(MARK, job_ids, within_s=KILLED_S):
            _logger.error(
                "processes that jobs of an earlier server have started can't be killed (see the "
                "variable %s in their environment); they may go on beside the next attempt",
                MARK,
            )

    def _keep(self, store: Store, stored: StoredJob) -> None:
        job = stored.job
        told, entries = self._reopen(store, stored)
        last = _decoder.decode(entries[-1].data) if entries else _Last(at="")
        if not entries or entries[-1].name != StreamEvent.END:
            told_of = last.state == job.state
            self._core.observer.end_recovered(job, told, state_told=told_of)
        operation = self._operations.get(job.operation) or self._stand_in(job.operation)
        identity = SpanContext(
            int(job.trace_id or "0", 16),
            int(job.span_id or "0", 16),
            is_remote=False,
            trace_flags=TraceFlags(stored.provenance.trace_flags),
        )
        kept = Kept(
            log=told.log,
            spans=told.spans,
            disclosure=self._core.observer.disclosure(operation),
            identity=identity,
        )
        self._keeping.restore(job, kept)

    def _entry(self, store: Store, stored: StoredJob) -> tuple[Entry, int]:
        """The job, alive again, and when it was last heard of, in Unix nanoseconds."""
        job = stored.job
        operation = self._operations.get(job.operation)
        if operation is None:
            operation = self._stand_in(job.operation)
            self._core.queue.hold(job.operation)
        told, entries = self._reopen(store, stored)
        entry = Entry(
            job=job,
            operation=operation,
            story=told.story,
            log=told.log,
            spans=told.spans,
            observation=self._core.observer.resumed(job, operation, told.story, stored.provenance),
            announce=self._core.feed.announce,
        )
        return entry, _heard(entries, job)

    def _reopen(self, store: Store, stored: StoredJob) -> tuple[OpenStory, list[LogEntry]]:
        job = stored.job
        told = self._narration.open_story(job.id, epoch=job.id[:EPOCH])
        entries = store.entries(job.id)
        if isinstance(told.log, HeldLog):
            told.log.restore(entries, stored.next)
        told.spans.restore(store.spans(job.id))
        return told, entries

    def _stand_in(self, name: str) -> Operation:
        if name not in self._absent:
            self._absent[name] = absent(name)
        return self._absent[name]


def _set_clock(job: Job, now_ns: int, now: float) -> None:
    """Put the job's times on this process's monotonic clock; none is in the future."""
    job.created_mono = now - max(0, now_ns - job.created_ns) / 1e9
    if job.queued_ns is not None:
        job.queued_mono = now - max(0, now_ns - job.queued_ns) / 1e9


def _heard(entries: list[LogEntry], job: Job) -> int:
    """When the newest event was told; the start of the attempt where there is none."""
    if not entries:
        return job.started_ns or job.created_ns
    return wall_ns_of(_decoder.decode(entries[-1].data).at)


_decoder: Final = msgspec.json.Decoder(_Last)

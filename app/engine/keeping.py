"""Finished jobs: how long they stay readable, and in how little room.

A job that has finished is kept within three limits (`app.jobs.retention`), oldest gone first. Its
story and its spans are packed a little later, when the loop has time (`compaction`). It does not
know how a job came to its end.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from app.engine.compaction import Compaction
from app.engine.core import Core
from app.engine.entry import Entry, Kept
from app.engine.intake import Intake
from app.jobs.model import Job
from app.jobs.retention import Retention

ENTRY_BYTES: Final = 2560
"""What a finished job holds beside its story, its params and its result; measured, for most."""


class Keeping:
    """Keeps finished jobs, and forgets them."""

    def __init__(self, core: Core, intake: Intake) -> None:
        settings = core.settings
        self.retention = Retention(
            age_s=settings.retention_s,
            max_jobs=settings.retention_jobs,
            max_bytes=settings.retention_bytes,
        )
        self._core = core
        self._intake = intake
        self.compaction = Compaction(core.loop, core.clock, pack=self._pack)

    def keep(self, entry: Entry) -> None:
        """A job has finished; those that are now too many go."""
        job_id = entry.job.id
        self._core.kept[job_id] = self._core.entries.pop(job_id).kept()
        self._weigh(job_id)
        # Not before its end may be read: a log that goes on is not packed.
        self._core.journal.then(partial(self.compaction.add, job_id))
        self.sweep()

    def restore(self, job: Job, kept: Kept) -> None:
        """A job of an earlier process, which has finished, is kept for as long as it would be."""
        core = self._core
        core.kept[job.id] = kept
        since_s = max(0.0, (core.clock.wall_ns() - (job.finished_ns or 0)) / 1e9)
        self._weigh(job.id, core.clock.monotonic() - since_s)
        for _ in self._pack(job.id):  # at once: there may be many, and nobody waits for the loop
            pass

    def restored(self) -> None:
        """All of them are there; those that are too many, or too old by now, go."""
        self.retention.sort()  # a store gives jobs in the order of their making
        self.sweep()

    def forget(self, job_id: str) -> None:
        """Forget a finished job; its readers are told.

        Raises:
            JobNotFound, NotFinished.

        """
        self._core.registry.forget(job_id)
        self._core.journal.forgotten(job_id)
        self._intake.forget(job_id)
        self.retention.remove(job_id)
        self._core.kept.pop(job_id).log.forget()

    def sweep(self) -> None:
        """Forget what is too old, too much or too many."""
        for job_id in self.retention.surplus(self._core.clock.monotonic()):
            self.forget(job_id)

    def _pack(self, job_id: str) -> Iterator[None]:
        """The steps in which one job is packed, unless it has been forgotten."""
        kept = self._core.kept.get(job_id)
        if kept is not None:
            yield from kept.spans.pack()
            yield from kept.log.pack()
        if job_id in self._core.kept:
            self._weigh(job_id)

    def _weigh(self, job_id: str, finished_mono: float | None = None) -> None:
        job, kept = self._core.registry.get(job_id), self._core.kept[job_id]
        size = ENTRY_BYTES + kept.log.size + kept.spans.size + len(job.params_json)
        size += len(job.result or b"") + len(job.checkpoint or b"")
        now = self._core.clock.monotonic() if finished_mono is None else finished_mono
        self.retention.add(job.id, size=size, now_mono=now, tenant=job.tenant)

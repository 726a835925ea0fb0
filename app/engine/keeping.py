"""Finished jobs: how long they stay readable, and in how little room.

A job that has finished is kept within three limits (`app.jobs.retention`), oldest gone first. Its
spans are made compact a little later, when the loop has time: under load most jobs are gone by
then, and the work is saved. It does not know how a job came to its end.
"""

from collections import deque
from typing import Final

from app.engine.core import Core
from app.engine.entry import Entry
from app.engine.intake import Intake
from app.jobs.retention import Retention

ENTRY_BYTES: Final = 4096
"""What a finished job holds beside its story, its params and its result; an estimate."""

COMPACT_AFTER_S: Final = 1.0
"""Seconds after its end at which a job's spans are made compact."""

COMPACT_AT_ONCE: Final = 100
"""Jobs that are made compact in one go: a few milliseconds of the loop."""


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
        self._loose: deque[tuple[float, Entry]] = deque()

    def keep(self, entry: Entry) -> None:
        """A job has finished; those that are now too many go."""
        now = self._core.clock.monotonic()
        self._weigh(entry, now)
        self._loose.append((now, entry))
        self.sweep()

    def forget(self, job_id: str) -> None:
        """Forget a finished job; its readers are told.

        Raises:
            JobNotFound, NotFinished.

        """
        self._core.registry.forget(job_id)
        self._intake.forget(job_id)
        self.retention.remove(job_id)
        self._core.entries.pop(job_id).log.forget()

    def sweep(self) -> None:
        """Forget what is too old, too much or too many."""
        for job_id in self.retention.surplus(self._core.clock.monotonic()):
            self.forget(job_id)

    def compact(self) -> None:
        """Make the spans of some jobs compact whose end is a while ago."""
        now = self._core.clock.monotonic()
        done = 0
        while self._loose and done < COMPACT_AT_ONCE:
            finished, entry = self._loose[0]
            if now - finished < COMPACT_AFTER_S:
                return
            self._loose.popleft()
            if entry.job.id in self._core.entries:
                entry.spans.compact()
                self._weigh(entry, now)
                done += 1

    def _weigh(self, entry: Entry, now_mono: float) -> None:
        job = entry.job
        size = ENTRY_BYTES + entry.log.size + entry.spans.size + len(job.params_json)
        size += len(job.result or b"") + len(job.checkpoint or b"")
        self.retention.add(job.id, size=size, now_mono=now_mono)

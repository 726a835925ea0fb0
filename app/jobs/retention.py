"""Which finished jobs to forget: those beyond an age, a number or a size, oldest first.

It keeps the order in which jobs finished and what each of them holds in memory, and nothing else
of them. The newest one is never forgotten for its size alone: its result could not be read once.
"""

from collections import OrderedDict
from typing import NamedTuple


class _Kept(NamedTuple):
    size: int
    finished_mono: float


class Retention:
    """Finished jobs, oldest first, within three limits; times are seconds of one clock."""

    def __init__(self, *, age_s: float, max_jobs: int, max_bytes: int) -> None:
        self._age_s = age_s
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0

    @property
    def jobs(self) -> int:
        """How many finished jobs are kept."""
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """How many bytes they hold."""
        return self._bytes

    def add(self, job_id: str, *, size: int, now_mono: float) -> None:
        """A job has finished and holds `size` bytes; a second time only its size is new."""
        before = self._kept.get(job_id)
        if before is not None:
            self._bytes -= before.size
            now_mono = before.finished_mono
        self._kept[job_id] = _Kept(size, now_mono)
        self._bytes += size

    def remove(self, job_id: str) -> None:
        """The job has been forgotten; one that is not kept is no error."""
        kept = self._kept.pop(job_id, None)
        if kept is not None:
            self._bytes -= kept.size

    def surplus(self, now_mono: float) -> list[str]:
        """The jobs to forget now, oldest first; each is kept here until `remove`.

        Costs as much as there are.
        """
        found: list[str] = []
        left, held = len(self._kept), self._bytes
        for job_id, kept in self._kept.items():
            too_old = now_mono - kept.finished_mono >= self._age_s
            too_big = held > self._max_bytes and left > 1
            if not (too_old or too_big or left > self._max_jobs):
                break
            found.append(job_id)
            left -= 1
            held -= kept.size
        return found

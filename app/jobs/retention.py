"""Which finished jobs to forget: those beyond an age, a number or a size, oldest first.

It keeps the order in which jobs finished and what each of them holds in memory, and nothing else
of them. The newest one is never forgotten for its size alone: its result could not be read once.
What is too much is taken from the tenant that holds the most of it: one that keeps less than its
share of the room loses nothing by what others do.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from app.jobs.model import DEFAULT_TENANT


class _Kept(NamedTuple):
    size: int
    finished_mono: float
    tenant: str


@dataclass(slots=True)
class _Share:
    """What one tenant holds, and its jobs from the oldest on."""

    oldest: Iterator[str]
    jobs: int
    bytes: int


class Retention:
    """Finished jobs, oldest first, within three limits; times are seconds of one clock."""

    def __init__(self, *, age_s: float, max_jobs: int, max_bytes: int) -> None:
        self._age_s = age_s
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._of: dict[str, OrderedDict[str, None]] = {}
        self._bytes_of: dict[str, int] = {}
        self._bytes = 0

    @property
    def jobs(self) -> int:
        """How many finished jobs are kept."""
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """How many bytes they hold."""
        return self._bytes

    def add(self, job_id: str, *, size: int, now_mono: float, tenant: str = DEFAULT_TENANT) -> None:
        """A job has finished and holds `size` bytes; a second time only its size is new."""
        before = self._kept.get(job_id)
        if before is not None:
            self._count(tenant, -before.size)
            now_mono = before.finished_mono
        self._kept[job_id] = _Kept(size, now_mono, tenant)
        self._of.setdefault(tenant, OrderedDict())[job_id] = None
        self._count(tenant, size)

    def sort(self) -> None:
        """Put those that were added in another order into that in which they finished."""
        ordered = sorted(self._kept.items(), key=lambda item: item[1].finished_mono)
        self._kept = OrderedDict(ordered)
        self._of = {tenant: OrderedDict() for tenant in self._of}
        for job_id, kept in ordered:
            self._of[kept.tenant][job_id] = None

    def remove(self, job_id: str) -> None:
        """The job has been forgotten; one that is not kept is no error."""
        kept = self._kept.pop(job_id, None)
        if kept is not None:
            del self._of[kept.tenant][job_id]
            self._count(kept.tenant, -kept.size)

    def surplus(self, now_mono: float) -> list[str]:
        """The jobs to forget now, oldest first; each is kept here until `remove`.

        Costs as much as there are, and where there are too many, a look at each tenant for each.
        """
        found: list[str] = []
        for job_id, kept in self._kept.items():
            if now_mono - kept.finished_mono < self._age_s:
                break
            found.append(job_id)
        if self._fits(len(self._kept), self._bytes):
            return found
        return [*found, *self._too_much(found)]

    def _too_much(self, old: list[str]) -> Iterator[str]:
        """What has to go besides the `old` ones, each from the tenant that then holds the most."""
        gone = set(old)
        shares = [
            _Share(
                iter([each for each in jobs if each not in gone] if gone else jobs),
                len(jobs) - sum(1 for each in old if each in jobs),
                self._bytes_of[tenant] - sum(self._kept[each].size for each in old if each in jobs),
            )
            for tenant, jobs in self._of.items()
        ]
        left, held = sum(each.jobs for each in shares), sum(each.bytes for each in shares)
        while not self._fits(left, held):
            by_number = left > self._max_jobs
            share = max(shares, key=lambda each: each.jobs if by_number else _bytes(each))
            job_id = next(share.oldest)
            size = self._kept[job_id].size
            share.jobs -= 1
            share.bytes -= size
            left -= 1
            held -= size
            yield job_id

    def _fits(self, jobs: int, held: int) -> bool:
        return jobs <= self._max_jobs and (held <= self._max_bytes or jobs <= 1)

    def _count(self, tenant: str, size: int) -> None:
        self._bytes_of[tenant] = self._bytes_of.get(tenant, 0) + size
        self._bytes += size


def _bytes(share: _Share) -> int:
    """What a tenant holds; one that has no jobs has nothing to give."""
    return share.bytes if share.jobs else -1

"""The queue: which waiting job runs next, within the limits on concurrency.

A job's rank is made once, when it is queued: the time minus a boost for its priority, so waiting
jobs age upward and nothing starves. The price, stated: a job that was queued before another of
higher priority, by more than the difference of their boosts, goes first: a low one 61 s older than
a normal one, say. Within a priority it is first in, first out.

Two limits hold jobs back: of the operation, and of the concurrency key, which is shared by all
operations. Jobs with the same operation and key form a lane, since the same limits hold them back.
A lane that is not full offers its first job to its operation, an operation that is not full its
best job to the queue; whatever changes, only the offers that depend on it are made again. Thus a
push, a pop and a release cost O(log n) however many jobs are held back, and no job that could run
is ever overlooked. The queue does not know how many slots there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sortedcontainers import SortedList

from telemetry.names import Priority

BOOST_S: Final[Mapping[Priority, float]] = MappingProxyType(
    {
        Priority.LOW: 0.0,
        Priority.NORMAL: 60.0,
        Priority.HIGH: 300.0,
        Priority.CRITICAL: 3600.0,
    }
)
"""Seconds by which a priority goes before its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many jobs of an operation may run at once: in all (None: any number), and per key."""

    limit: int | None = None
    per_key: int = 1

    def __post_init__(self) -> None:
        if (self.limit is not None and self.limit < 1) or self.per_key < 1:
            raise ValueError("a concurrency limit must be at least 1: less would run nothing")


class _Waiting(NamedTuple):
    """One waiting job; sorts by rank (no two have the same `number`)."""

    score: float
    number: int
    job_id: str
    priority: Priority
    operation: str
    key: str | None
    queued_mono: float


@dataclass(slots=True, eq=False)
class _Lane:
    """The waiting jobs of one operation and one key."""

    jobs: Any = field(default_factory=SortedList)
    offered: _Waiting | None = None


@dataclass(slots=True, eq=False)
class _Operation:
    """The lanes of one operation, and what each offers."""

    concurrency: Concurrency
    held: bool = False
    running: int = 0
    lanes: dict[str | None, _Lane] = field(default_factory=dict)
    offers: Any = field(default_factory=SortedList)
    offered: _Waiting | None = None


class JobQueue:
    """Waiting jobs in rank order, and the count of running ones that the limits need.

    `limits` maps operations to their concurrency; one that is not in it has no limit of its own
    and runs one job at a time for each key.
    """

    def __init__(self, limits: Mapping[str, Concurrency] = MappingProxyType({})) -> None:
        self._limits = limits
        self._waiting: dict[str, _Waiting] = {}
        self._ranks: dict[Priority, Any] = {priority: SortedList() for priority in Priority}
        self._operations: dict[str, _Operation] = {}
        self._by_key: dict[str, set[str]] = {}
        self._running_by_key: dict[str, int] = {}
        self._offers: Any = SortedList()
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._waiting

    def push(
        self,
        job_id: str,
        *,
        priority: Priority,
        operation: str,
        concurrency_key: str | None = None,
        now_mono: float,
    ) -> None:
        """Let a job wait, from `now_mono` on.

        Raises:
            ValueError: it waits already.

        """
        if job_id in self._waiting:
            raise ValueError(f"job {job_id} is already in the queue")
        self._pushed += 1
        job = _Waiting(
            score=now_mono - BOOST_S[priority],
            number=self._pushed,
            job_id=job_id,
            priority=priority,
            operation=operation,
            key=concurrency_key,
            queued_mono=now_mono,
        )
        self._waiting[job_id] = job
        self._ranks[priority].add(job)
        mine = self._operation(operation)
        lane = mine.lanes.get(concurrency_key)
        if lane is None:
            lane = mine.lanes[concurrency_key] = _Lane()
        lane.jobs.add(job)
        if concurrency_key is not None:
            self._by_key.setdefault(concurrency_key, set()).add(operation)
        self._offer(operation, concurrency_key)

    def hold(self, operation: str) -> None:
        """Let no job of `operation` run: they wait until they are removed."""
        self._operation(operation).held = True

    def pop(self) -> str | None:
        """The best job that may run now; from here on it counts as running, until `release`.

        None if none may, whether or not some wait.
        """
        if not self._offers:
            return None
        job: _Waiting = self._offers[0]
        self._operation(job.operation).running += 1
        if job.key is not None:
            self._running_by_key[job.key] = self._running_by_key.get(job.key, 0) + 1
        self._take(job)
        self._offer_all(job.operation, job.key)
        return job.job_id

    def release(self, operation: str, concurrency_key: str | None = None) -> None:
        """A job that was popped runs no longer.

        Raises:
            ValueError: no such job runs: it was released before.

        """
        mine = self._operations.get(operation)
        running_of_key = 1 if concurrency_key is None else self.running_with(concurrency_key)
        if mine is None or mine.running == 0 or running_of_key == 0:
            raise ValueError(
                f"no job of operation {operation!r} and key {concurrency_key!r} runs: "
                "it was released before"
            )
        mine.running -= 1
        if concurrency_key is not None:
            self._running_by_key[concurrency_key] -= 1
            if not self._running_by_key[concurrency_key]:
                del self._running_by_key[concurrency_key]
        self._offer_all(operation, concurrency_key)

    def remove(self, job_id: str) -> bool:
        """The job waits no longer, and does not run; False if it did not wait."""
        job = self._waiting.get(job_id)
        if job is None:
            return False
        self._take(job)
        self._offer(job.operation, job.key)
        return True

    def position(self, job_id: str) -> int | None:
        """How many waiting jobs rank before this one, held back or not; None if it does not wait.

        O(log n).
        """
        job = self._waiting.get(job_id)
        if job is None:
            return None
        before: int = sum([ranked.bisect_left(job) for ranked in self._ranks.values() if ranked])
        return before

    def depth(self) -> dict[Priority, int]:
        """How many jobs wait, by priority."""
        return {priority: len(ranked) for priority, ranked in self._ranks.items()}

    def oldest(self) -> dict[Priority, float]:
        """When (monotonic) the oldest waiting job was queued, by priority; without the empty."""
        return {
            priority: ranked[0].queued_mono for priority, ranked in self._ranks.items() if ranked
        }

    def running(self, operation: str) -> int:
        """How many jobs of `operation` were popped and not yet released."""
        mine = self._operations.get(operation)
        return mine.running if mine is not None else 0

    def running_with(self, concurrency_key: str) -> int:
        """How many jobs with `concurrency_key` were popped and not yet released."""
        return self._running_by_key.get(concurrency_key, 0)

    def _operation(self, name: str) -> _Operation:
        found = self._operations.get(name)
        if found is None:
            found = _Operation(self._limits.get(name, Concurrency()))
            self._operations[name] = found
        return found

    def _take(self, job: _Waiting) -> None:
        """Out of every list; `_offer` has to follow."""
        del self._waiting[job.job_id]
        _remove(self._ranks[job.priority], job)
        _remove(self._operation(job.operation).lanes[job.key].jobs, job)

    def _offer_all(self, operation: str, key: str | None) -> None:
        """Offer again after a change of what runs: other operations may share the key."""
        self._offer(operation, key)
        if key is not None:
            for other in self._by_key.get(key, set()) - {operation}:
                self._offer(other, key)

    def _offer(self, operation: str, key: str | None) -> None:
        """Make the offers of one lane and of its operation what they should be."""
        mine = self._operation(operation)
        lane = mine.lanes.get(key)
        if lane is not None:
            full = key is not None and self.running_with(key) >= mine.concurrency.per_key
            best = None if full or not lane.jobs else lane.jobs[0]
            lane.offered = _exchange(mine.offers, lane.offered, best)
            if key is not None and not lane.jobs:
                self._drop_lane(operation, key)
        limit = mine.concurrency.limit
        full = mine.held or (limit is not None and mine.running >= limit)
        best = None if full or not mine.offers else mine.offers[0]
        mine.offered = _exchange(self._offers, mine.offered, best)

    def _drop_lane(self, operation: str, key: str) -> None:
        """The empty lane of a key is forgotten: keys come and go without end."""
        del self._operation(operation).lanes[key]
        sharing = self._by_key[key]
        sharing.discard(operation)
        if not sharing:
            del self._by_key[key]


def _remove(jobs: Any, job: _Waiting) -> None:
    """Take `job` out of a sorted list, of which it most often is the first."""
    if jobs[0] is job:
        del jobs[0]
    else:
        jobs.remove(job)


def _exchange(offers: Any, old: _Waiting | None, new: _Waiting | None) -> _Waiting | None:
    """Put `new` in the place of `old`; None is no offer."""
    if old is not new:
        if old is not None:
            offers.remove(old)
        if new is not None:
            offers.add(new)
    return new

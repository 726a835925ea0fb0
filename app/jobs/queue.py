"""The queue: which waiting job runs next, within the limits on concurrency.

A job's rank is made once, when it is queued: the time minus a boost for its priority, so waiting
jobs age upward and nothing starves. The price, stated: a job that was queued before another of
higher priority, by more than the difference of their boosts, goes first: a low one 61 s older than
a normal one, say. Within a priority it is first in, first out.

Three limits hold jobs back: of the operation, of the tenant, and of the concurrency key, which is
shared by all operations of one tenant and means nothing to another. A tenant's jobs with the same
operation and key form a lane, since the same limits hold them back. A lane that is not full offers
its first job to its operation, an operation that is not full its best job to its tenant, a tenant
that is not full its best to the queue; whatever changes, only the offers that depend on it are made
again. Thus a push, a pop and a release cost O(log n) however many jobs are held back (and, where
the operation has a limit, a look at each tenant, of which there are few), and no job that could run
is ever overlooked. The queue does not know how many slots there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sortedcontainers import SortedList

from app.jobs.model import DEFAULT_TENANT
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
    tenant: str


@dataclass(slots=True, eq=False)
class _Lane:
    """The waiting jobs of one tenant, one operation and one key."""

    jobs: Any = field(default_factory=SortedList)
    offered: _Waiting | None = None


@dataclass(slots=True, eq=False)
class _Lanes:
    """The lanes of one tenant and one operation, and what each offers."""

    by_key: dict[str | None, _Lane] = field(default_factory=dict)
    offers: Any = field(default_factory=SortedList)
    offered: _Waiting | None = None


@dataclass(slots=True, eq=False)
class _Operation:
    """One operation: its limits, and how many of its jobs run, whosever they are."""

    concurrency: Concurrency
    held: bool = False
    running: int = 0

    @property
    def full(self) -> bool:
        """Whether no more of its jobs may run."""
        limit = self.concurrency.limit
        return self.held or (limit is not None and self.running >= limit)


def _ranks() -> dict[Priority, Any]:
    return {priority: SortedList() for priority in Priority}


@dataclass(slots=True, eq=False)
class _Tenant:
    """One tenant: its waiting jobs in rank order, and how many of its jobs run."""

    ranks: dict[Priority, Any] = field(default_factory=_ranks)
    lanes: dict[str, _Lanes] = field(default_factory=dict)
    """By operation."""
    offers: Any = field(default_factory=SortedList)
    offered: _Waiting | None = None
    running: int = 0
    sharing: dict[str, set[str]] = field(default_factory=dict)
    """The operations that have waiting jobs with a concurrency key, by that key."""
    running_by_key: dict[str, int] = field(default_factory=dict)


class JobQueue:
    """Waiting jobs in rank order, and the count of running ones that the limits need.

    `limits` maps operations to their concurrency; one that is not in it has no limit of its own
    and runs one job at a time for each key. `per_tenant` is how many jobs of one tenant may run at
    once (None: any number). What is kept of a tenant stays: there are few.
    """

    def __init__(
        self,
        limits: Mapping[str, Concurrency] = MappingProxyType({}),
        *,
        per_tenant: int | None = None,
    ) -> None:
        self._limits = limits
        self._per_tenant = per_tenant
        self._waiting: dict[str, _Waiting] = {}
        self._operations: dict[str, _Operation] = {}
        self._tenants: dict[str, _Tenant] = {}
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
        tenant: str = DEFAULT_TENANT,
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
            tenant=tenant,
        )
        self._waiting[job_id] = job
        owner = self._tenant(tenant)
        owner.ranks[priority].add(job)
        mine = owner.lanes.get(operation)
        if mine is None:
            mine = owner.lanes[operation] = _Lanes()
        lane = mine.by_key.get(concurrency_key)
        if lane is None:
            lane = mine.by_key[concurrency_key] = _Lane()
        lane.jobs.add(job)
        if concurrency_key is not None:
            owner.sharing.setdefault(concurrency_key, set()).add(operation)
        self._offer(owner, operation, concurrency_key)

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
        owner = self._tenants[job.tenant]
        self._operation(job.operation).running += 1
        owner.running += 1
        if job.key is not None:
            owner.running_by_key[job.key] = owner.running_by_key.get(job.key, 0) + 1
        self._take(job)
        self._offer_all(owner, job.operation, job.key)
        return job.job_id

    def release(
        self, operation: str, concurrency_key: str | None = None, *, tenant: str = DEFAULT_TENANT
    ) -> None:
        """A job that was popped runs no longer.

        Raises:
            ValueError: no such job runs: it was released before.

        """
        load, owner = self._operations.get(operation), self._tenant(tenant)
        of_key = 1 if concurrency_key is None else owner.running_by_key.get(concurrency_key, 0)
        if load is None or 0 in {load.running, owner.running, of_key}:
            raise ValueError(
                f"no job of operation {operation!r} and key {concurrency_key!r} runs: "
                "it was released before"
            )
        load.running -= 1
        owner.running -= 1
        if concurrency_key is not None:
            owner.running_by_key[concurrency_key] -= 1
            if not owner.running_by_key[concurrency_key]:
                del owner.running_by_key[concurrency_key]
        self._offer_all(owner, operation, concurrency_key)

    def remove(self, job_id: str) -> bool:
        """The job waits no longer, and does not run; False if it did not wait."""
        job = self._waiting.get(job_id)
        if job is None:
            return False
        self._take(job)
        self._offer(self._tenants[job.tenant], job.operation, job.key)
        return True

    def position(self, job_id: str) -> int | None:
        """How many waiting jobs of its tenant rank before this one, held back or not.

        None if it does not wait. Others' jobs are not counted: nobody learns how many there are.
        O(log n).
        """
        job = self._waiting.get(job_id)
        if job is None:
            return None
        ranks = self._tenants[job.tenant].ranks.values()
        before: int = sum([ranked.bisect_left(job) for ranked in ranks if ranked])
        return before

    def depth(self, tenant: str | None = None) -> dict[Priority, int]:
        """How many jobs wait, by priority; of one tenant or of all."""
        chosen = self._chosen(tenant)
        return {each: sum(len(owner.ranks[each]) for owner in chosen) for each in Priority}

    def oldest(self, tenant: str | None = None) -> dict[Priority, float]:
        """When (monotonic) the oldest waiting job was queued, by priority; without the empty.

        Of one tenant or of all.
        """
        chosen = self._chosen(tenant)
        first = {
            each: [owner.ranks[each][0].queued_mono for owner in chosen if owner.ranks[each]]
            for each in Priority
        }
        return {each: min(times) for each, times in first.items() if times}

    def running(self, operation: str) -> int:
        """How many jobs of `operation` were popped and not yet released."""
        load = self._operations.get(operation)
        return load.running if load is not None else 0

    def running_with(self, concurrency_key: str, *, tenant: str = DEFAULT_TENANT) -> int:
        """How many jobs of `tenant` with `concurrency_key` were popped and not yet released."""
        owner = self._tenants.get(tenant)
        return owner.running_by_key.get(concurrency_key, 0) if owner is not None else 0

    def _chosen(self, tenant: str | None) -> list[_Tenant]:
        if tenant is None:
            return [*self._tenants.values()]
        found = self._tenants.get(tenant)
        return [] if found is None else [found]

    def _operation(self, name: str) -> _Operation:
        found = self._operations.get(name)
        if found is None:
            found = self._operations[name] = _Operation(self._limits.get(name, Concurrency()))
        return found

    def _tenant(self, name: str) -> _Tenant:
        found = self._tenants.get(name)
        if found is None:
            found = self._tenants[name] = _Tenant()
        return found

    def _take(self, job: _Waiting) -> None:
        """Out of every list; `_offer` has to follow."""
        owner = self._tenants[job.tenant]
        del self._waiting[job.job_id]
        _remove(owner.ranks[job.priority], job)
        _remove(owner.lanes[job.operation].by_key[job.key].jobs, job)

    def _offer_all(self, owner: _Tenant, operation: str, key: str | None) -> None:
        """Offer again after a change of what runs: others may share the key, or the operation."""
        self._offer(owner, operation, key)
        if key is not None:
            for other in owner.sharing.get(key, set()) - {operation}:
                self._offer(owner, other, key)
        if self._operation(operation).concurrency.limit is not None:
            for tenant in self._tenants.values():
                if tenant is not owner:
                    self._offer_operation(tenant, operation)

    def _offer(self, owner: _Tenant, operation: str, key: str | None) -> None:
        """Make the offers of one lane, of its operation and its tenant what they should be."""
        mine = owner.lanes.get(operation)
        lane = None if mine is None else mine.by_key.get(key)
        if mine is not None and lane is not None:
            per_key = self._operation(operation).concurrency.per_key
            full = key is not None and owner.running_by_key.get(key, 0) >= per_key
            best = None if full or not lane.jobs else lane.jobs[0]
            lane.offered = _exchange(mine.offers, lane.offered, best)
            if key is not None and not lane.jobs:
                _drop_lane(owner, operation, key)
        self._offer_operation(owner, operation)

    def _offer_operation(self, owner: _Tenant, operation: str) -> None:
        mine = owner.lanes.get(operation)
        if mine is not None:
            full = self._operation(operation).full
            best = None if full or not mine.offers else mine.offers[0]
            mine.offered = _exchange(owner.offers, mine.offered, best)
        full = self._per_tenant is not None and owner.running >= self._per_tenant
        best = None if full or not owner.offers else owner.offers[0]
        owner.offered = _exchange(self._offers, owner.offered, best)


def _drop_lane(owner: _Tenant, operation: str, key: str) -> None:
    """The empty lane of a key is forgotten: keys come and go without end."""
    del owner.lanes[operation].by_key[key]
    sharing = owner.sharing[key]
    sharing.discard(operation)
    if not sharing:
        del owner.sharing[key]


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

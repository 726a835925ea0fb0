"""All jobs that the server knows: found by id, listed newest first, counted exactly.

The counts follow each job's own `on_change`, so that no caller can forget to keep them. Each tenant
has a list and counts of its own: nothing that is told to one depends on another's jobs. Listing
costs what the page costs; only a filter on tags or times looks at every job, to give the total.
The registry does not know when a job may be forgotten (`retention` does).
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from sortedcontainers import SortedDict

from app.jobs.errors import InvalidFilter, JobNotFound, NotFinished
from app.jobs.job import Job
from app.jobs.model import DEFAULT_TENANT
from app.jobs.page_cursors import PageCursors
from telemetry.names import State

MAX_PAGE: Final = 1000

_CURSOR_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs to list; an empty field selects all.

    `tag` holds `key` or `key:value`, and all must hold. `since` (inclusive) and `until` (exclusive)
    bound the time of creation, in nanoseconds since the Unix epoch. `text` is looked for in id,
    operation, tags and the params' JSON, whatever its case.
    """

    states: frozenset[State] = frozenset()
    operation: str | None = None
    tag: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    text: str | None = None

    @property
    def needs_a_look(self) -> bool:
        """Whether the counts by state and operation do not answer it."""
        return bool(self.tag or self.text) or self.since is not None or self.until is not None

    def admits(self, job: Job) -> bool:
        """Whether `job` is among them."""
        return (
            (not self.states or job.state in self.states)
            and (self.operation is None or job.operation == self.operation)
            and (self.since is None or job.created_ns >= self.since)
            and (self.until is None or job.created_ns < self.until)
            and all(_tagged(job, tag) for tag in self.tag)
            and (not self.text or _says(job, self.text.lower()))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some jobs, newest first; `next` is the cursor of the page after, `total` counts all pages."""

    jobs: tuple[Job, ...]
    next: str | None
    total: int


@dataclass(slots=True, eq=False)
class _Count:
    """How many jobs of one tenant are in one state, of one operation, deferred or not."""

    state: State
    operation: str
    deferred: bool
    jobs: int = 0


@dataclass(slots=True, eq=False)
class _Place:
    """Where a job is listed and counted."""

    job: Job
    counted: _Count


@dataclass(slots=True, eq=False)
class _Tenant:
    """The jobs of one tenant, in order of their making, and counted."""

    by_number: Any = field(default_factory=SortedDict)
    counts: dict[tuple[State, str, bool], _Count] = field(default_factory=dict)

    def count(self, states: Collection[State], operation: str | None) -> int:
        """How many are in one of `states` (none given: in any), of one operation or of all."""
        return sum(
            each.jobs
            for each in self.counts.values()
            if (not states or each.state in states)
            and (operation is None or each.operation == operation)
        )


class JobRegistry:
    """The jobs by id, and of each tenant in order of their making.

    What is kept of a tenant beside its jobs stays: there are few.

    `changed`, if there is one, is told of each job that is new, or in another state than before.
    Cursors are sealed under `cursor_key`, 32 random bytes, by default new ones.
    """

    def __init__(
        self,
        changed: Callable[[Job], None] | None = None,
        *,
        cursor_key: bytes | None = None,
    ) -> None:
        self._told = changed
        self._places: dict[str, _Place] = {}
        self._tenants: dict[str, _Tenant] = {}
        self._in_state: Counter[State] = Counter()
        self._cursors = PageCursors(cursor_key or os.urandom(_CURSOR_KEY_BYTES))
        self._last = 0
        self._on_change = self._changed  # one bound method for all jobs

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._places

    def __iter__(self) -> Iterator[Job]:
        """Newest first; jobs may be added or forgotten meanwhile."""
        jobs = (place.job for place in self._places.values())
        return iter(sorted(jobs, key=lambda job: job.number, reverse=True))

    def add(self, job: Job) -> None:
        """Know a new job, give it its number, and count it from now on.

        Raises:
            ValueError: the id is taken.

        """
        job.number = self._last + 1
        self.restore(job)
        if self._told is not None:
            self._told(job)

    def restore(self, job: Job) -> None:
        """Know a job that has its number already, and tell nobody.

        Raises:
            ValueError: the id is taken.

        """
        if job.id in self._places:
            raise ValueError(f"there is already a job {job.id}")
        self._last = max(self._last, job.number)
        place = _Place(job, self._count_of(job))
        self._places[job.id] = self._tenants[job.tenant].by_number[job.number] = place
        self._add(place.counted, 1)
        job.on_change = self._on_change

    def owned(self, job_id: str, tenant: str) -> Job:
        """The job of that id, if it is the tenant's: another's is as one that is not there.

        Raises:
            JobNotFound: there is none (any more), or it is not theirs.

        """
        place = self._places.get(job_id)
        if place is None or place.job.tenant != tenant:
            raise JobNotFound(job_id)
        return place.job

    def get(self, job_id: str) -> Job:
        """The job of that id, whosever it is.

        Raises:
            JobNotFound: there is none (any more).

        """
        place = self._places.get(job_id)
        if place is None:
            raise JobNotFound(job_id)
        return place.job

    def forget(self, job_id: str) -> Job:
        """Know a finished job no longer.

        Raises:
            JobNotFound: there is none (any more).
            NotFinished: it has to finish first.

        """
        job = self.get(job_id)
        if not job.finished:
            raise NotFinished(job_id, job.state)
        place = self._places.pop(job_id)
        del self._tenants[job.tenant].by_number[job.number]
        self._add(place.counted, -1)
        return job

    def find(
        self,
        chosen: JobFilter = JobFilter(),
        cursor: str | None = None,
        limit: int = 100,
        *,
        tenant: str = DEFAULT_TENANT,
    ) -> Page:
        """One page of the tenant's jobs that `chosen` admits, newest first.

        Jobs that are made meanwhile do not move the pages: a cursor says before which job to go on.

        Raises:
            InvalidCursor: the cursor is none that this tenant was given.
            InvalidFilter: `limit` is not 1 to 1000.

        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidFilter("limit", limit, f"1 to {MAX_PAGE}")
        before = None if cursor is None else self._cursors.opened(cursor, tenant)
        mine = self._tenants.get(tenant) or _Tenant()
        total = _total(mine, chosen)
        found = islice(_admitted(mine, chosen, before), limit + 1) if total else ()
        places = list(found)
        more = len(places) > limit
        return Page(
            jobs=tuple(place.job for place in places[:limit]),
            next=self._cursors.sealed(places[limit - 1].job.number, tenant) if more else None,
            total=total,
        )

    def count(self, *states: State, operation: str | None = None, tenant: str | None = None) -> int:
        """How many jobs are in one of `states` (none given: in any).

        Of one operation or of all, of one tenant or of all.
        """
        if operation is None and tenant is None:
            if not states:
                return len(self._places)
            return sum([self._in_state[each] for each in set(states)])
        return sum(each.count(states, operation) for each in self._chosen(tenant))

    def by_operation(self, *states: State, tenant: str | None = None) -> dict[str, int]:
        """How many jobs of each operation are in one of `states`; without the operations at 0.

        Of one tenant or of all.
        """
        counts: Counter[str] = Counter()
        for mine in self._chosen(tenant):
            for each in mine.counts.values():
                if each.state in states and each.jobs:
                    counts[each.operation] += each.jobs
        return dict(counts)

    def deferred(self, tenant: str | None = None) -> int:
        """How many jobs wait for their first stream; of one tenant or of all."""
        return sum(
            each.jobs
            for mine in self._chosen(tenant)
            for each in mine.counts.values()
            if each.deferred
        )

    def _chosen(self, tenant: str | None) -> Collection[_Tenant]:
        if tenant is None:
            return self._tenants.values()
        found = self._tenants.get(tenant)
        return () if found is None else (found,)

    def _changed(self, job: Job) -> None:
        place = self._places.get(job.id)
        if place is None:  # forgotten
            return
        self._add(place.counted, -1)
        place.counted = self._count_of(job)
        self._add(place.counted, 1)
        if self._told is not None:
            self._told(job)

    def _count_of(self, job: Job) -> _Count:
        """Where `job` is counted as it is now; there are as many as ways for a job to be."""
        mine = self._tenants.get(job.tenant)
        if mine is None:
            mine = self._tenants[job.tenant] = _Tenant()
        key = job.state, job.operation, job.deferred
        found = mine.counts.get(key)
        if found is None:
            found = mine.counts[key] = _Count(*key)
        return found

    def _add(self, counted: _Count, jobs: int) -> None:
        counted.jobs += jobs
        self._in_state[counted.state] += jobs


def _total(mine: _Tenant, chosen: JobFilter) -> int:
    if not chosen.needs_a_look:
        return mine.count(chosen.states, chosen.operation)
    return sum(1 for _ in _admitted(mine, chosen, None))


def _admitted(mine: _Tenant, chosen: JobFilter, before: int | None) -> Iterator[_Place]:
    numbers = mine.by_number.irange(maximum=before, inclusive=(True, False), reverse=True)
    for number in numbers:
        place: _Place = mine.by_number[number]
        if chosen.admits(place.job):
            yield place


def _tagged(job: Job, tag: str) -> bool:
    key, colon, value = tag.partition(":")
    return job.tags.get(key) == value if colon else key in job.tags


def _says(job: Job, text: str) -> bool:
    tags = (f"{key}:{value}" for key, value in job.tags.items())
    said = (job.id, job.operation, *tags, job.params_json.decode())
    return any(text in each.lower() for each in said)

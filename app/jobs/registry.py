"""All jobs that the server knows: found by id, listed newest first, counted exactly.

The counts follow each job's own `on_change`, so that no caller can forget to keep them. Listing
costs what the page costs; only a filter on tags or times looks at every job, to give the total.
The registry does not know when a job may be forgotten (`retention` does).
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sortedcontainers import SortedDict

from app.jobs.errors import InvalidCursor, InvalidFilter, JobNotFound, NotFinished
from app.jobs.job import Job
from telemetry.names import State

MAX_PAGE: Final = 1000

_CURSOR: Final = re.compile(rb"before:([1-9][0-9]{0,17})")


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
    """How many jobs are in one state, of one operation, deferred or not."""

    state: State
    operation: str
    deferred: bool
    jobs: int = 0


@dataclass(slots=True, eq=False)
class _Place:
    """Where a job is listed and counted."""

    job: Job
    counted: _Count


class JobRegistry:
    """The jobs by id and in order of their making.

    `changed`, if there is one, is told of each job that is new, or in another state than before.
    """

    def __init__(self, changed: Callable[[Job], None] | None = None) -> None:
        self._told = changed
        self._places: dict[str, _Place] = {}
        self._by_number: Any = SortedDict()
        self._counts: dict[tuple[State, str, bool], _Count] = {}
        self._last = 0
        self._on_change = self._changed  # one bound method for all jobs

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._places

    def __iter__(self) -> Iterator[Job]:
        """Newest first; jobs may be added or forgotten meanwhile."""
        return iter([place.job for place in reversed(self._by_number.values())])

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
        self._places[job.id] = self._by_number[job.number] = place
        place.counted.jobs += 1
        job.on_change = self._on_change

    def get(self, job_id: str) -> Job:
        """The job of that id.

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
        del self._by_number[job.number]
        place.counted.jobs -= 1
        return job

    def find(
        self, chosen: JobFilter = JobFilter(), cursor: str | None = None, limit: int = 100
    ) -> Page:
        """One page of the jobs that `chosen` admits, newest first.

        Jobs that are made meanwhile do not move the pages: a cursor says before which job to go on.

        Raises:
            InvalidCursor: the cursor is not one of ours.
            InvalidFilter: `limit` is not 1 to 1000.

        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidFilter("limit", limit, f"1 to {MAX_PAGE}")
        before = None if cursor is None else _before(cursor)
        total = self._total(chosen)
        found = islice(self._admitted(chosen, before), limit + 1) if total else ()
        places = list(found)
        more = len(places) > limit
        return Page(
            jobs=tuple(place.job for place in places[:limit]),
            next=_cursor(places[limit - 1].job.number) if more else None,
            total=total,
        )

    def count(self, *states: State, operation: str | None = None) -> int:
        """How many jobs are in one of `states` (none given: in any), of one operation or of all."""
        return sum(
            each.jobs
            for each in self._counts.values()
            if (not states or each.state in states)
            and (operation is None or each.operation == operation)
        )

    def by_operation(self, *states: State) -> dict[str, int]:
        """How many jobs of each operation are in one of `states`; without the operations at 0."""
        counts: Counter[str] = Counter()
        for each in self._counts.values():
            if each.state in states and each.jobs:
                counts[each.operation] += each.jobs
        return dict(counts)

    def deferred(self) -> int:
        """How many jobs wait for their first stream."""
        return sum(each.jobs for each in self._counts.values() if each.deferred)

    def _total(self, chosen: JobFilter) -> int:
        if not chosen.needs_a_look:
            return self.count(*chosen.states, operation=chosen.operation)
        return sum(1 for _ in self._admitted(chosen, None))

    def _admitted(self, chosen: JobFilter, before: int | None) -> Iterator[_Place]:
        numbers = self._by_number.irange(maximum=before, inclusive=(True, False), reverse=True)
        for number in numbers:
            place: _Place = self._by_number[number]
            if chosen.admits(place.job):
                yield place

    def _changed(self, job: Job) -> None:
        place = self._places.get(job.id)
        if place is None:  # forgotten
            return
        place.counted.jobs -= 1
        place.counted = self._count_of(job)
        place.counted.jobs += 1
        if self._told is not None:
            self._told(job)

    def _count_of(self, job: Job) -> _Count:
        """Where `job` is counted as it is now; there are as many as ways for a job to be."""
        key = job.state, job.operation, job.deferred
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = _Count(*key)
        return found


def _tagged(job: Job, tag: str) -> bool:
    key, colon, value = tag.partition(":")
    return job.tags.get(key) == value if colon else key in job.tags


def _says(job: Job, text: str) -> bool:
    tags = (f"{key}:{value}" for key, value in job.tags.items())
    said = (job.id, job.operation, *tags, job.params_json.decode())
    return any(text in each.lower() for each in said)


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(f"before:{number}".encode()).decode().rstrip("=")


def _before(cursor: str) -> int:
    """The number that a cursor of ours holds.

    Raises:
        InvalidCursor: it is not one of ours.

    """
    try:
        text = base64.b64decode(
            f"{cursor}{'=' * (-len(cursor) % 4)}", altchars=b"-_", validate=True
        )
    except (ValueError, binascii.Error):
        raise InvalidCursor(cursor) from None
    found = _CURSOR.fullmatch(text)
    if found is None or _cursor(int(found[1])) != cursor:
        raise InvalidCursor(cursor)
    return int(found[1])

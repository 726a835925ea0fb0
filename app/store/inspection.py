"""A store's file, read while whoever has it goes on: every job with its story, and what is damaged.

Nothing is changed, and a job is read in one moment: who reads slowly holds nobody up.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from app.jobs.model import Job
from app.store import reading
from app.store.opening import at_opening, open_to_read, unreadable
from app.store.protocol import StoredJob
from narration.log import Entry
from telemetry.names import State, StreamEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A job, and the events that its log kept."""

    stored: StoredJob
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong: where, and what."""

    where: str
    what: str


class StoreFile(AbstractContextManager["StoreFile"]):
    """The store at `path`, to be read.

    Raises:
        StoreNewer, StoreUnusable, StoreCorrupt: it is not a store of this version.

    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._connection = open_to_read(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def count(self) -> int:
        """How many jobs there are.

        Raises:
            StoreCorrupt, StoreUnusable: it cannot be read.

        """
        try:
            return reading.count_of(self._connection)
        except sqlite3.Error as error:
            raise at_opening(self.path, error) from error

    def stories(self) -> Iterator[Story]:
        """Every job with its story, in the order of their making.

        Raises:
            StoreCorrupt, StoreUnusable: it cannot be read.

        """
        number = 0
        while (story := self._after(number)) is not None:
            yield story
            number = story.stored.job.number

    def findings(self) -> Iterator[Finding]:
        """All that is wrong: SQLite's own checks first, then ours, job by job."""
        try:
            yield from _of_the_file(self._connection)
            yield from _of_the_keys(self._connection)
            number = 0
            while found := self._next_job(number):
                number, job_id = found
                for what in self._of_the_job(number, job_id):
                    yield Finding(where=f"job {job_id}", what=what)
        except sqlite3.Error as error:
            yield Finding(where="file", what=f"cannot be read further: {error}")

    def _after(self, number: int) -> Story | None:
        connection = self._connection
        try:
            with reading.whole(connection):
                found = reading.jobs_after(connection, number, 1)
                if not found:
                    return None
                return Story(
                    stored=found[0], entries=reading.entries_of(connection, found[0].job.id)
                )
        except sqlite3.Error as error:
            raise at_opening(self.path, error) from error
        except reading.UNREADABLE as error:
            raise unreadable(self.path, error) from error

    def _next_job(self, number: int) -> tuple[int, str] | None:
        found: tuple[int, str] | None = self._connection.execute(
            "SELECT number, id FROM job WHERE number > ? ORDER BY number LIMIT 1", (number,)
        ).fetchone()
        return found

    def _of_the_job(self, number: int, job_id: str) -> Iterator[str]:
        with reading.whole(self._connection):
            try:
                found = reading.jobs_after(self._connection, number - 1, 1)
                reading.spans_of(self._connection, job_id)
            except reading.UNREADABLE as error:
                yield f"holds what this version cannot read: {error}"
                return
            if not found or found[0].job.number != number:
                yield "has no submission"
                return
            job = found[0].job
            yield from _of_its_state(job)
            yield from _of_its_attempts(job)
            yield from self._of_its_story(job)

    def _of_its_story(self, job: Job) -> Iterator[str]:
        following, last = None, None
        runs = self._connection.execute(
            "SELECT start, next, first, events FROM narration WHERE job = ? ORDER BY start",
            (job.number,),
        )
        for start, after, first, events in runs:
            try:
                entries = reading.decode_events(events)
            except reading.UNREADABLE as error:
                yield f"events from {start} on cannot be read: {error}"
                return
            if len(entries) != after - start or not entries:
                yield f"the run of events {start} to {after - 1} has {len(entries)} of them"
                return
            if start != (following or start):
                yield f"events {following} to {start - 1} are missing"
            if following is None and start > first:
                yield f"events {first} to {start - 1} are missing"
            following, last = after, entries[-1].name
        if job.finished and last != StreamEvent.END:
            yield f"is {job.state}, and its story has no end"
        if not job.finished and last == StreamEvent.END:
            yield f"is {job.state}, and its story has ended"


def _of_the_file(connection: sqlite3.Connection) -> Iterator[Finding]:
    for (what,) in connection.execute("PRAGMA integrity_check"):
        if what != "ok":
            yield from (Finding(where="file", what=line) for line in what.splitlines())


def _of_the_keys(connection: sqlite3.Connection) -> Iterator[Finding]:
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchall():
        yield Finding(where=f"table {table}", what=f"a row belongs to no row of {parent}")
    twice = connection.execute(
        "SELECT tenant, idempotency_key, count(*) FROM job WHERE idempotency_key IS NOT NULL "
        "GROUP BY tenant, idempotency_key HAVING count(*) > 1"
    )
    for tenant, key, jobs in twice.fetchall():
        yield Finding(
            where=f"tenant {tenant}", what=f"{jobs} jobs have the idempotency key {key!r}"
        )


def _of_its_state(job: Job) -> Iterator[str]:
    if job.finished != (job.finished_ns is not None):
        yield f"is {job.state}, and has {'no' if job.finished else 'a'} time of its end"
    if (job.failure is not None) != (job.state is State.FAILED):
        yield f"is {job.state}, and has {'a' if job.failure else 'no'} failure"
    if (job.result is not None) and job.state is not State.COMPLETED:
        yield f"is {job.state}, and has a result"


def _of_its_attempts(job: Job) -> Iterator[str]:
    numbers = [attempt.number for attempt in job.attempts]
    if numbers != list(range(1, job.attempt + 1)):
        yield f"is at attempt {job.attempt}, and has the attempts {numbers}"
    running = [attempt.number for attempt in job.attempts if attempt.outcome is None]
    if running and (job.finished or running != [job.attempt]):
        yield f"is {job.state}, and the attempts {running} have not ended"

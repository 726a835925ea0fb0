"""Any sequence of batches leaves in the file what a dictionary would have, failures included."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from app.jobs.model import Job
from app.store.errors import StoreFull
from app.store.protocol import Batch, Provenance, Told
from app.store.sqlite import SqliteStore
from narration.log import Entry
from tests.store.values import ENTRIES, PROVENANCES, SPANS, changed, facts, submitted

NO_LIMIT = 4_294_967_294
"""The most pages that a file may have, SQLite's own limit."""


class _Kept:
    """What a store should have of one job."""

    def __init__(self, job: Job, provenance: Provenance) -> None:
        self.job = job
        self.provenance = provenance
        self.first = 1
        self.entries: list[Entry] = []
        self.spans: list[bytes] = []


class Stores(RuleBasedStateMachine):
    """A store beside a dictionary; batches are gathered, then written or refused."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.kept: dict[str, _Kept] = {}
        self.jobs: dict[str, Job] = {}
        """As the engine has them: ahead of what is written."""
        self.following: dict[str, tuple[int, int]] = {}
        self.batch = Batch()
        self.made = 0

    @initialize()
    def open(self) -> None:
        self.store = SqliteStore(Path(self.folder.name, "s.db"))

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(data=st.data(), provenance=PROVENANCES)
    def make(self, data: st.DataObject, provenance: Provenance) -> None:
        self.made += 1
        job_id = f"job-{self.made}"
        job = data.draw(submitted(job_id, self.made))
        self.batch.made[job_id] = provenance
        self.jobs[job_id] = self.batch.jobs[job_id] = job
        self.following[job_id] = 1, 1

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        job_id = self._some_job(data)
        job = data.draw(changed(self.jobs[job_id]))
        self.jobs[job_id] = self.batch.jobs[job_id] = job

    @precondition(lambda self: bool(set(self.jobs) - set(self.batch.told)))
    @rule(data=st.data(), entries=ENTRIES, lost=st.integers(0, 40))
    def tell(self, data: st.DataObject, entries: list[Entry], lost: int) -> None:
        job_id = data.draw(st.sampled_from(sorted(set(self.jobs) - set(self.batch.told))))
        first, start = self.following[job_id]
        following = start + len(entries)
        first = min(first + lost, following - 1)
        self.batch.told[job_id] = Told(start=start, first=first, entries=entries)
        self.following[job_id] = first, following

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), spans=SPANS)
    def trace(self, data: st.DataObject, spans: list[bytes]) -> None:
        self.batch.spans[self._some_job(data)] = spans

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        job_id = self._some_job(data)
        self.batch.forgotten.add(job_id)
        del self.jobs[job_id]

    @precondition(lambda self: self.batch != Batch())
    @rule()
    def write(self) -> None:
        self.store.write(self.batch)
        self._apply()

    @precondition(lambda self: self.jobs)
    @rule(room=st.integers(0, 3))
    def write_when_there_is_little_room(self, room: int) -> None:
        writer: Any = self.store._writer
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        self.batch.spans |= {job_id: [b"x" * 20_000] for job_id in self.jobs}
        writer.execute(f"PRAGMA max_page_count = {pages + room}")
        try:
            self.store.write(self.batch)
        except StoreFull:
            self._check()
            writer.execute(f"PRAGMA max_page_count = {NO_LIMIT}")
            self.store.write(self.batch)
        writer.execute(f"PRAGMA max_page_count = {NO_LIMIT}")
        self._apply()

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.open()
        self._check()

    def _check(self) -> None:
        there = {stored.job.id: stored for stored in self.store.load()}
        assert list(there) == sorted(self.kept, key=lambda job_id: self.kept[job_id].job.number)
        assert self.store.count() == len(there)
        for job_id, kept in self.kept.items():
            stored = there[job_id]
            assert facts(stored.job) == facts(kept.job)
            assert stored.provenance == kept.provenance
            assert self.store.spans(job_id) == kept.spans
            assert self.store.entries(job_id) == kept.entries
            assert (stored.first, stored.next) == (kept.first, kept.first + len(kept.entries))

    def _apply(self) -> None:
        batch, self.batch = self.batch, Batch()
        for job_id, job in batch.jobs.items():
            if job_id in batch.made:
                self.kept[job_id] = _Kept(job, batch.made[job_id])
            self.kept[job_id].job = job
        for job_id, told in batch.told.items():
            kept = self.kept[job_id]
            kept.entries = [*kept.entries, *told.entries][told.first - kept.first :]
            kept.first = told.first
        for job_id, spans in batch.spans.items():
            self.kept[job_id].spans = list(spans)
        for job_id in batch.forgotten:
            del self.kept[job_id]
        self._check()

    def _some_job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.jobs)))


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)

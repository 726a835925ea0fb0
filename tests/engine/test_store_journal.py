"""What waits for a store, and what happens while it can't be written."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from app.engine.store_journal import CLOSE_S, StoreJournal
from app.handlers.context import JobContext
from app.handlers.operation import operation
from app.jobs.errors import JobNotFound, StoreUnavailable
from app.jobs.model import Job
from app.store.errors import StoreFull
from app.store.protocol import Batch, Provenance, StoredJob
from narration.events import OutputEvent
from narration.held_log import HeldLog
from narration.log import Entry
from narration.narrate import narrate
from telemetry.clock import SystemClock
from telemetry.names import MetricName
from tests.engine.harness import Bench, run
from tests.engine.lives import Lives, run_lives
from tests.engine.operations import hang, sleep
from tests.store.values import plain_job

pytestmark = pytest.mark.backend("sqlite")

FULL = StoreFull(Path("jobs.db"), "the disk is full")


class TestStore:
    """A store that keeps what it is given in a list, and fails when it is told to."""

    __test__ = False

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.failing: Exception | None = None
        self.tries = 0
        self.threads: set[int] = set()
        self.open = threading.Event()
        """A batch takes until this is set."""
        self.open.set()

    def write(self, batch: Batch) -> None:
        """Keep it."""
        self.tries += 1
        assert self.open.wait(20)
        self.threads.add(threading.get_ident())
        if self.failing is not None:
            raise self.failing
        self.batches.append(batch)

    def load(self) -> Iterator[StoredJob]:
        """Nothing."""
        return iter(())

    def entries(self, job_id: str) -> list[Entry]:
        """Those of all batches."""
        told = [batch.told[job_id] for batch in self.batches if job_id in batch.told]
        return [entry for each in told for entry in each.entries]

    def spans(self, job_id: str) -> list[bytes]:
        """Those of all batches."""
        return [span for batch in self.batches for span in batch.spans.get(job_id, ())]

    def count(self) -> int:
        """None."""
        return 0

    def secret(self) -> bytes:
        """Nothing is sealed here."""
        return bytes(32)

    def close(self) -> None:
        """Nothing."""


class Counted:
    """What a journal has counted."""

    def __init__(self) -> None:
        self.events: list[int] = []
        self.reasons: list[str] = []

    def committed(self, seconds: float, events: int) -> None:
        """One batch."""
        assert seconds >= 0
        self.events.append(events)

    def commit_failed(self, reason: str) -> None:
        """One try."""
        self.reasons.append(reason)


class Noted:
    """A journal in front of a `TestStore`."""

    def __init__(self, *, threaded: bool = False) -> None:
        self.store, self.counted = TestStore(), Counted()
        self.journal = StoreJournal(
            self.store,
            loop=asyncio.get_running_loop(),
            clock=SystemClock(),
            counters=self.counted,
            threaded=threaded,
        )

    def log(self, job_id: str, limit: int = 100) -> HeldLog:
        """Of a job; held by the journal."""
        schedule = asyncio.get_running_loop().call_soon
        hold = self.journal.hold
        return HeldLog(job_id, epoch="e", limit=limit, schedule=schedule, on_hold=hold)

    def make(self, number: int) -> Job:
        """A new job."""
        job = plain_job(number)
        self.journal.made(job.id, Provenance())
        self.journal.changed(job)
        return job


def noting(
    test: Callable[[Noted], Coroutine[Any, Any, None]], *, threaded: bool = False
) -> Callable[[], None]:
    """Run `test` with a journal on a loop of its own."""

    async def main() -> None:
        noted = Noted(threaded=threaded)
        async with asyncio.timeout(20):
            await test(noted)
            await noted.journal.close()

    return lambda: asyncio.run(main())


def tell(log: HeldLog, *chunks: Any) -> None:
    """Some output."""
    for chunk in chunks:
        log.append(OutputEvent(at="t", chunk=chunk))


# --- the journal alone ----------------------------------------------------------------------------


def test_what_is_noted_in_one_turn_of_the_loop_is_one_batch() -> None:
    async def test(noted: Noted) -> None:
        log = noted.log("job-1")
        for number in (1, 2, 3):
            noted.make(number)
        tell(log, "a", "b")
        assert noted.store.tries == 0
        await noted.journal.settled("job-1", "job-3")

        (batch,) = noted.store.batches
        assert [*batch.jobs] == [*batch.made] == ["job-1", "job-2", "job-3"]
        assert (batch.told["job-1"].start, len(batch.told["job-1"].entries)) == (1, 2)
        assert noted.counted.events == [2]

    noting(test)()


def test_what_comes_while_a_batch_is_written_is_one_more_batch() -> None:
    async def test(noted: Noted) -> None:
        noted.make(1)
        await asyncio.sleep(0)  # handed over, and not known to be kept
        assert noted.store.tries == 1
        noted.make(2)
        noted.make(3)
        assert noted.store.tries == 1
        await noted.journal.settled("job-2")
        assert [[*batch.jobs] for batch in noted.store.batches] == [["job-1"], ["job-2", "job-3"]]

    noting(test)()


def test_a_batch_has_jobs_as_they_were_when_it_was_handed_over() -> None:
    async def test(noted: Noted) -> None:
        job = noted.make(1)
        job.attempt = 1
        await asyncio.sleep(0)
        job.attempt = 2
        noted.journal.changed(job)
        await noted.journal.settled("job-1")

        assert [batch.jobs["job-1"].attempt for batch in noted.store.batches] == [1, 2]
        assert [[*batch.made] for batch in noted.store.batches] == [["job-1"], []]

    noting(test)()


def test_settled_waits_for_what_concerns_the_jobs_and_for_nothing_else() -> None:
    async def test(noted: Noted) -> None:
        noted.store.open.clear()
        noted.make(1)
        await asyncio.sleep(0)
        noted.make(2)
        other = asyncio.create_task(noted.journal.settled("job-3"))
        flying = asyncio.create_task(noted.journal.settled("job-1"))
        gathered = asyncio.create_task(noted.journal.settled("job-1", "job-2"))
        await asyncio.sleep(0.01)
        assert [task.done() for task in (other, flying, gathered)] == [True, False, False]
        noted.store.open.set()
        await flying
        assert [*noted.store.batches[0].jobs] == ["job-1"]
        assert not gathered.done()
        await gathered
        assert len(noted.store.batches) == 2

    noting(test, threaded=True)()


def test_settled_makes_no_batch_of_its_own() -> None:
    async def test(noted: Noted) -> None:
        noted.store.open.clear()
        noted.make(1)
        await asyncio.sleep(0)
        waits = [asyncio.create_task(noted.journal.settled("job-1")) for _ in range(5)]
        await asyncio.sleep(0)
        noted.store.open.set()
        await asyncio.gather(*waits)
        await asyncio.sleep(0.01)
        assert noted.store.tries == 1

    noting(test, threaded=True)()


def test_a_waiter_that_gives_up_holds_up_nobody() -> None:
    async def test(noted: Noted) -> None:
        noted.make(1)
        waits = [asyncio.create_task(noted.journal.settled("job-1")) for _ in range(2)]
        await asyncio.sleep(0)
        waits[0].cancel()
        await waits[1]
        assert waits[0].cancelled()

    noting(test)()


def test_events_may_be_read_once_they_are_kept_and_calls_are_made_after_that() -> None:
    async def test(noted: Noted) -> None:
        log, seen = noted.log("job-1"), []
        noted.make(1)
        tell(log, "a")
        noted.journal.then(lambda: seen.append((log.next, len(noted.store.batches))))
        assert (log.next, seen) == (1, [])
        await noted.journal.settled("job-1")
        assert (log.next, seen) == (2, [(2, 1)])

    noting(test)()


def test_a_story_that_is_told_faster_than_it_is_kept_says_which_events_went() -> None:
    async def test(noted: Noted) -> None:
        log = noted.log("job-1", limit=3)
        noted.make(1)
        tell(log, *range(8))
        await noted.journal.settled("job-1")
        told = noted.store.batches[0].told["job-1"]
        assert (told.start, told.first, len(told.entries)) == (6, 6, 3)
        assert (log.first, log.next) == (6, 9)
        tell(log, 8)
        noted.make(2)
        await noted.journal.settled("job-2")
        told = noted.store.batches[1].told["job-1"]
        assert (told.start, told.first, len(told.entries)) == (9, 7, 1)

    noting(test)()


def test_a_job_that_was_never_kept_and_is_forgotten_leaves_nothing() -> None:
    async def test(noted: Noted) -> None:
        noted.make(1)
        noted.make(2)
        noted.journal.forgotten("job-1")
        await noted.journal.settled("job-1", "job-2")
        (batch,) = noted.store.batches
        assert ([*batch.made], [*batch.jobs], batch.forgotten) == (["job-2"], ["job-2"], set())

    noting(test)()


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_that_is_forgotten_while_it_is_written_is_deleted_by_the_next_batch(
    fails: bool,
) -> None:
    async def test(noted: Noted) -> None:
        log = noted.log("job-1")
        noted.store.failing = FULL if fails else None
        noted.make(1)
        tell(log, "a")
        await asyncio.sleep(0)
        log.forget()
        noted.journal.forgotten("job-1")
        noted.store.failing = None
        await asyncio.sleep(0.2)

        last = noted.store.batches[-1]
        assert last.forgotten == {"job-1"}
        assert not last.told
        assert len(noted.store.batches) == (1 if fails else 2)

    noting(test)()


def test_what_could_not_be_written_is_written_with_what_came_since_each_event_once() -> None:
    async def test(noted: Noted) -> None:
        log, calls = noted.log("job-1"), []
        noted.store.failing = FULL
        job = noted.make(1)
        tell(log, "a")
        noted.journal.then(lambda: calls.append("first"))
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            await noted.journal.settled("job-1")
        job.attempt = 1
        noted.journal.changed(job)
        tell(log, "b", "c")
        noted.make(2)
        noted.journal.then(lambda: calls.append("second"))
        with pytest.raises(StoreUnavailable):
            await noted.journal.settled("job-2")
        await noted.journal.settled("job-3")  # it has nothing to wait for
        assert (log.next, calls) == (1, [])
        noted.store.failing = None
        again = asyncio.Event()
        noted.journal.then(again.set)
        await again.wait()

        (batch,) = noted.store.batches
        assert ([*batch.made], batch.jobs["job-1"].attempt) == (["job-1", "job-2"], 1)
        assert (batch.told["job-1"].start, len(batch.told["job-1"].entries)) == (1, 3)
        assert (log.next, calls) == (4, ["first", "second"])
        assert set(noted.counted.reasons) == {"store-full"}
        assert noted.counted.events == [3]

    noting(test)()


def test_a_journal_recovers_though_nothing_is_left_to_be_written() -> None:
    async def test(noted: Noted) -> None:
        noted.store.failing = FULL
        noted.make(1)
        with pytest.raises(StoreUnavailable):
            await noted.journal.settled("job-1")
        noted.journal.forgotten("job-1")
        noted.store.failing = None
        await asyncio.sleep(0.2)
        assert noted.journal.failing is None

    noting(test)()


def test_a_store_that_raises_what_it_should_not_is_one_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(noted: Noted) -> None:
        noted.store.failing = ZeroDivisionError("oh")
        noted.make(1)
        with pytest.raises(StoreUnavailable, match="ZeroDivisionError: oh"):
            await noted.journal.settled("job-1")
        noted.store.failing = None
        await asyncio.sleep(0.3)
        assert noted.journal.failing is None
        assert noted.counted.reasons[0] == "store-failed"

    noting(test)()
    assert "failed in a way that it should not" in caplog.text


def test_a_thread_of_its_own_writes_and_the_loop_is_told() -> None:
    async def test(noted: Noted) -> None:
        for number in range(1, 40):
            noted.make(number)
            if number % 3 == 0:
                await noted.journal.settled(f"job-{number}")
        await noted.journal.close()

        kept = [job_id for batch in noted.store.batches for job_id in batch.jobs]
        assert sorted(kept) == sorted(f"job-{number}" for number in range(1, 40))
        assert threading.get_ident() not in noted.store.threads
        assert len(noted.store.threads) == 1
        assert not any(each.name == "narrator-store" for each in threading.enumerate())

    noting(test, threaded=True)()


def test_closing_keeps_what_was_noted_and_notes_nothing_more() -> None:
    async def test(noted: Noted) -> None:
        noted.make(1)
        await asyncio.sleep(0)
        noted.make(2)
        await noted.journal.close()
        noted.make(3)
        await asyncio.sleep(0.01)
        await noted.journal.close()

        assert [[*batch.jobs] for batch in noted.store.batches] == [["job-1"], ["job-2"]]

    noting(test)()


# --- an engine whose store fails ------------------------------------------------------------------


class Fault:
    """Makes the store of a bench fail, in front of the real one."""

    def __init__(self, bench: Bench) -> None:
        self.failing: Exception | None = None
        journal = bench.engine._core.journal
        assert isinstance(journal, StoreJournal)
        self.journal = journal
        self._real = journal._store
        journal._store = cast("Any", self)

    def write(self, batch: Batch) -> None:
        """As the real one, unless it is to fail."""
        if self.failing is not None:
            raise self.failing
        self._real.write(batch)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing has room meanwhile."""
        self.failing = FULL
        yield
        self.failing = None


def test_while_nothing_can_be_kept_nothing_is_told_taken_in_or_begun() -> None:
    begun: list[int] = []

    @operation
    async def begins(*, job: JobContext) -> None:
        begun.append(job.attempt)

    async def test(bench: Bench) -> None:
        fault = Fault(bench)
        deferred = bench.submit("begins", start="on_stream")
        await bench.settle()
        before = bench.events(deferred)
        feed = bench.engine.feed().next
        with fault.full():
            bench.engine.attached(deferred)
            with pytest.raises(StoreUnavailable, match="disk is full"):
                await bench.engine.settled(deferred)
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="disk is full"):
                    bench.submit("begins")
                await bench.at(bench.now + 5)
            assert bench.engine.ready()["store"] is False
            assert bench.events(deferred) == before
            assert bench.engine.feed().next == feed
            assert begun == []
        await bench.at(bench.now + 3)

        assert bench.engine.ready()["store"] is True
        assert begun == [1]
        assert bench.states(deferred) == ["queued", "queued", "running", "completed"]
        assert bench.engine.feed().next == feed + 3
        assert bench.metric(MetricName.REFUSED, reason="store-unavailable") == 2
        assert bench.metric(MetricName.STORE_FAILURES, reason="store-full") > 2
        assert bench.total(MetricName.STORE_EVENTS) == len(bench.events(deferred))
        assert bench.metric(MetricName.STORE_COMMIT, "_count") > 2
        await bench.ended(bench.submit("begins"))

    run(test, begins)


def test_jobs_that_run_go_on_and_what_they_said_is_told_later_in_order() -> None:
    @operation
    async def counts() -> int:
        for number in range(10):
            narrate("count", "{number}", number=number)
            await asyncio.sleep(1)
        return 10

    async def test(bench: Bench) -> None:
        fault = Fault(bench)
        job = bench.submit("counts")
        await bench.at(2.5)
        told = bench.texts(job)
        with fault.full():
            await bench.at(20)
            assert bench.record(job).state == "completed"
            assert bench.texts(job) == told == ["0", "1", "2"]
            with pytest.raises(StoreUnavailable):
                await bench.engine.wait(job, 1)
        await bench.at(25)
        assert bench.texts(job) == [str(number) for number in range(10)]
        assert (await bench.engine.wait(job, 1)).result == 10

    run(test, counts)


def test_a_story_is_packed_though_its_end_was_kept_late() -> None:
    async def test(bench: Bench) -> None:
        fault = Fault(bench)
        job = bench.submit("sleep", {"for_s": 1})
        await bench.at(0.5)
        with fault.full():
            await bench.at(30)
        await bench.at(60)
        log = bench.engine.log(job)
        assert log.ended
        assert log._packed

    run(test, sleep)


@pytest.mark.parametrize("how", ["cancel", "deadline", "drain"])
def test_an_attempt_that_is_not_on_record_yet_is_stopped_at_once(how: str) -> None:
    begun: list[str] = []

    @operation
    async def begins(*, job: JobContext) -> None:
        begun.append(job.id)

    async def test(bench: Bench) -> None:
        fault = Fault(bench)
        job = bench.submit("begins", start="on_stream", deadline_s=5 if how == "deadline" else None)
        await bench.settle()
        with fault.full():
            bench.engine.attached(job)
            await bench.at(1)
            assert bench.state(job) == "running"
            if how == "cancel":
                assert bench.engine.cancel(job).state == "cancelled"
            elif how == "drain":
                await bench.engine.drain(0)
                assert bench.now == 1
            await bench.at(6)
        await bench.at(10)

        ends = {"cancel": "cancelled", "deadline": "failed/timeout", "drain": "failed/lost"}
        assert bench.state(job) == ends[how]
        assert begun == []
        assert bench.total(MetricName.ABANDONED) == 0

    run(test, begins)


def test_a_job_that_is_forgotten_while_nothing_can_be_written_is_gone_for_good() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        fault = Fault(bench)
        job, other = bench.submit("sleep"), bench.submit("sleep")
        await bench.ended(job)
        with fault.full():
            bench.engine.forget(job)
            with pytest.raises(StoreUnavailable):
                await bench.engine.settled(job)
            with pytest.raises(JobNotFound):
                bench.record(job)
        await bench.at(bench.now + 3)
        await bench.engine.settled(job)
        await lives.kill()
        bench = await lives.start()
        assert bench.state(other) == "completed"
        with pytest.raises(JobNotFound):
            bench.record(job)

    run_lives(test, sleep)


def test_a_store_that_fails_at_the_end_is_tried_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        fault = Fault(bench)
        job = bench.submit("hang", retry={"max_attempts": 2, "base_delay_s": 100})
        await bench.settle()
        fault.failing = FULL
        asyncio.get_running_loop().call_later(CLOSE_S / 2, setattr, fault, "failing", None)
        await lives.stop()
        assert "could not be written before the end" not in caplog.text
        bench = await lives.start()
        assert bench.state(job) == "retrying"
        assert "shut down" in str(bench.record(job).attempts[0].error)

    run_lives(test, hang, drain_s=0)


def test_a_store_that_fails_to_the_end_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        fault = Fault(bench)
        jobs = [bench.submit("hang", retry={"max_attempts": 2}) for _ in range(2)]
        await bench.settle()
        fault.failing = FULL
        began = bench.now
        await lives.stop()
        assert CLOSE_S <= bench.now - began < CLOSE_S + 1
        assert (
            "2 jobs are there as they were before: store jobs.db: the disk is full" in caplog.text
        )
        bench = await lives.start()
        assert [bench.state(job) for job in jobs] == ["retrying", "retrying"]
        assert "died" in str(bench.record(jobs[0]).attempts[0].error)

    with caplog.at_level(logging.ERROR, "app"):
        run_lives(test, hang, drain_s=0)


def test_a_real_store_without_room_fails_and_goes_on() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        journal: Any = bench.engine._core.journal
        writer: Any = journal._store._writer
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages + 2}")
        ids: list[str] = []

        async def fill() -> None:
            for _ in range(1000):
                ids.append(bench.submit("sleep", {"value": "x" * 1000}, start="on_stream"))
                await bench.engine.settled(ids[-1])

        with pytest.raises(StoreUnavailable):
            await fill()
        assert 0 < len(ids) < 100
        writer.execute("PRAGMA max_page_count = 100000")
        await bench.at(bench.now + 5)
        await bench.engine.settled(*ids)
        await lives.kill()
        bench = await lives.start()
        assert {bench.state(job) for job in ids} == {"queued"}
        for job in ids:
            bench.engine.cancel(job)

    run_lives(test, sleep)

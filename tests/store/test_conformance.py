"""What the protocol promises, tried on every kind of store (`OPENERS` in conftest)."""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Any

from app.jobs.model import AttemptError, AttemptRecord, Failure, Progress
from app.store.protocol import Batch, Provenance, Store, Told
from narration.log import Entry
from telemetry.names import Level, Outcome, Reason, State
from tests.store.values import facts, heard, ids, making, plain_job, saying


def test_a_new_store_is_empty(store: Store) -> None:
    assert (store.count(), list(store.load())) == (0, [])


def test_a_job_comes_back_as_it_was_written(store: Store) -> None:
    job = plain_job(1, tags={"k": "v"}, params_json='{"ü":"\\u0000"}'.encode())
    origin = Provenance(idempotency_key="key", body_hash="h", retry_of=("0" * 32, "1" * 16, 1))
    store.write(Batch(made={job.id: origin}, jobs={job.id: job}))

    (stored,) = store.load()

    assert facts(stored.job) == facts(job)
    assert stored.provenance == origin


def test_a_job_is_as_it_was_written_last(store: Store) -> None:
    job = plain_job(1)
    store.write(making(job))
    later = replace(job, state=State.COMPLETED, finished_ns=5, result=b"null")
    store.write(Batch(jobs={job.id: later}))

    (stored,) = store.load()

    assert facts(stored.job) == facts(later)


def test_jobs_come_in_the_order_of_their_making(store: Store) -> None:
    for number in (3, 1, 2):
        store.write(making(plain_job(number)))

    assert ids(store) == ["job-1", "job-2", "job-3"]


def test_many_jobs_are_written_at_once_and_read_again(store: Store) -> None:
    jobs = [plain_job(number) for number in range(1, 700)]
    batch = making(*jobs)
    batch.told = {job.id: saying(1, job.id) for job in jobs}
    store.write(batch)

    assert store.count() == 699
    assert ids(store) == [job.id for job in jobs]
    assert heard(store, "job-698") == ["job-698"]


def test_every_attempt_is_kept_as_it_was_written_last(store: Store) -> None:
    job = plain_job(1)
    store.write(making(job))
    written: tuple[AttemptRecord, ...] = ()
    for number in range(1, 5):
        begun = AttemptRecord(number=number, started_ns=number)
        store.write(Batch(jobs={job.id: replace(job, attempts=(*written, begun))}))
        error = AttemptError(type="E", message=f"no {number}")
        ended = replace(begun, finished_ns=number, outcome=Outcome.ERROR, error=error, span_id="s")
        written = (*written, ended)
        store.write(Batch(jobs={job.id: replace(job, attempts=written)}))

    (stored,) = store.load()

    assert stored.job.attempts == written


def test_a_checkpoint_is_the_last_one(store: Store) -> None:
    job = plain_job(1, checkpoint=b"1")
    store.write(making(job))
    store.write(Batch(jobs={job.id: replace(job, checkpoint=b"2")}))

    assert [stored.job.checkpoint for stored in store.load()] == [b"2"]


def test_texts_that_are_no_unicode_are_kept_with_replacements(store: Store) -> None:
    error = AttemptError(type="E", message="a\udcffb")
    failure = Failure(reason=Reason.ERROR, type="E", message="a\udcffb")
    attempt = AttemptRecord(number=1, started_ns=1, outcome=Outcome.ERROR, error=error)
    progress = Progress(done=10**300, text="a\udcffb")
    store.write(making(plain_job(1, attempts=(attempt,), failure=failure, progress=progress)))

    ((stored),) = store.load()

    assert stored.job.failure == replace(failure, message="a�b")
    assert stored.job.attempts[0].error == replace(error, message="a�b")
    assert stored.job.progress is not None
    assert stored.job.progress.text == "a�b"


def test_progress_in_a_number_of_somebodys_own_type_is_kept_as_a_float(store: Store) -> None:
    half: Any = Fraction(1, 2)
    store.write(making(plain_job(1, progress=Progress(done=half, total=half))))

    assert [each.job.progress for each in store.load()] == [Progress(done=0.5, total=0.5)]


def test_a_story_is_what_was_told_in_order(store: Store) -> None:
    batch = making(plain_job(1))
    batch.told = {"job-1": saying(1, "a", "b")}
    store.write(batch)
    store.write(Batch(told={"job-1": saying(3, "c")}))

    (stored,) = store.load()

    assert heard(store, "job-1") == ["a", "b", "c"]
    assert (stored.first, stored.next) == (1, 4)


def test_an_event_comes_back_whole(store: Store) -> None:
    entry = Entry("end", Level.FATAL, b"\x00\xff")
    batch = making(plain_job(1))
    batch.told = {"job-1": Told(start=1, first=1, entries=[entry])}
    store.write(batch)

    assert store.entries("job-1") == [entry]
    assert isinstance(store.entries("job-1")[0].level, Level)


def test_what_a_log_no_longer_keeps_is_not_read(store: Store) -> None:
    batch = making(plain_job(1))
    batch.told = {"job-1": saying(1, "a", "b")}
    store.write(batch)
    store.write(Batch(told={"job-1": saying(3, "c", "d", first=2)}))

    assert heard(store, "job-1") == ["b", "c", "d"]
    store.write(Batch(told={"job-1": saying(5, "e", first=5)}))

    (stored,) = store.load()

    assert heard(store, "job-1") == ["e"]
    assert (stored.first, stored.next) == (5, 6)


def test_a_job_that_told_nothing_begins_at_one(store: Store) -> None:
    store.write(making(plain_job(1)))

    assert [(stored.first, stored.next) for stored in store.load()] == [(1, 1)]
    assert store.entries("job-1") == []


def test_spans_replace_what_is_there(store: Store) -> None:
    batch = making(plain_job(1))
    batch.spans = {"job-1": [b"a", b"b"]}
    store.write(batch)
    store.write(Batch(spans={"job-1": [b"c"]}))

    assert store.spans("job-1") == [b"c"]


def test_what_is_forgotten_is_gone_with_its_story(store: Store) -> None:
    batch = making(plain_job(1), plain_job(2))
    batch.told = {"job-1": saying(1, "a"), "job-2": saying(1, "b")}
    batch.spans = {"job-1": [b"a"]}
    store.write(batch)
    store.write(Batch(forgotten={"job-1"}))

    assert ids(store) == ["job-2"]
    assert (store.entries("job-1"), store.spans("job-1")) == ([], [])


def test_forgetting_wins_over_all_else_in_its_batch(store: Store) -> None:
    batch = making(plain_job(1, checkpoint=b"1"))
    batch.told = {"job-1": saying(1, "a")}
    batch.spans = {"job-1": [b"a"]}
    batch.forgotten = {"job-1", "never"}
    store.write(batch)

    assert store.count() == 0
    assert (store.entries("job-1"), store.spans("job-1")) == ([], [])


def test_what_is_said_of_a_job_that_is_not_there_is_passed_over(store: Store) -> None:
    gone = plain_job(7, checkpoint=b"1", attempts=(AttemptRecord(number=1, started_ns=1),))
    batch = making(plain_job(1))
    batch.jobs[gone.id] = gone
    batch.told = {gone.id: saying(1, "a")}
    batch.spans = {gone.id: [b"a"]}
    store.write(batch)

    assert ids(store) == ["job-1"]
    assert (store.entries(gone.id), store.spans(gone.id)) == ([], [])


def test_what_was_written_is_there_when_it_is_opened_again(
    open_store: Callable[[], Store],
) -> None:
    with closing(open_store()) as first:
        batch = making(plain_job(1))
        batch.told = {"job-1": saying(1, "a")}
        first.write(batch)
    with closing(open_store()) as second:
        assert heard(second, "job-1") == ["a"]
        second.write(Batch(told={"job-1": saying(2, "b")}))

        assert heard(second, "job-1") == ["a", "b"]


def test_any_thread_may_write(store: Store) -> None:
    thread = threading.Thread(target=store.write, args=[making(plain_job(1))])
    thread.start()
    thread.join()

    assert ids(store) == ["job-1"]


def test_closing_twice_is_no_error(store: Store) -> None:
    store.close()
    store.close()


def test_its_secret_stays_with_it(open_store: Callable[[], Store]) -> None:
    with closing(open_store()) as store:
        secret = store.secret()
    with closing(open_store()) as store:
        again = store.secret()

    assert len(secret) == 32
    assert again == secret

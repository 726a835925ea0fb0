"""What an engine leaves in its store is taken up by the next one, whichever way the first ended.

A kill is as sudden as that of a process: what was not written by then never is.
"""

import asyncio
import logging
from typing import Any

import msgspec
import pytest
from opentelemetry.trace import format_span_id

from app.handlers.context import JobContext
from app.handlers.operation import operation
from app.jobs.errors import IdempotencyConflict, JobNotFound
from app.jobs.registry import JobFilter
from app.jobs.submission import Submission
from narration.narrate import narrate
from narration.resume import StreamQuery, resolve
from telemetry.names import MetricName, State
from tests.engine.harness import Bench, seconds
from tests.engine.lives import Lives, run_lives
from tests.engine.operations import flaky, hang, later, refuse, sleep, speaks, stubborn

pytestmark = pytest.mark.backend("sqlite")


@operation
async def remembers(*, job: JobContext) -> Any:
    """Leave a checkpoint and wait for the end; the next attempt gives it back."""
    if job.last_checkpoint is not None:
        return job.last_checkpoint
    job.checkpoint({"page": 3})
    job.progress(3, 10, "three of ten")
    await asyncio.Event().wait()
    return None


@operation(timeout_s=4)
async def sleep_within(for_s: float) -> str:
    """Take a while, but not too long."""
    await asyncio.sleep(for_s)
    return "slept"


# --- what has finished ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params"), [("speaks", {}), ("flaky", {"times": 9}), ("refuse", {})]
)
def test_a_finished_job_stays_as_it_was_with_its_story_and_its_trace(
    name: str, params: dict[str, Any]
) -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit(name, params, tags={"team": "a"}, metadata={"deep": {"er": [1, 2]}})
        record = await bench.ended(job)
        story, spans = bench.events(job), bench.engine.trace(job)[0]
        await lives.kill(after_s=60)
        bench = await lives.start()

        assert bench.record(job) == record
        assert bench.events(job) == story
        assert sorted(bench.engine.trace(job)[0], key=str) == sorted(spans, key=str)
        assert await bench.engine.wait(job, 0) == record

    run_lives(test, speaks, flaky, refuse)


def test_a_cancelled_job_stays_cancelled() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        running, waiting = bench.submit("hang"), bench.submit("hang", start="on_stream")
        await bench.settle()
        for job in (running, waiting):
            bench.engine.cancel(job)
        records = [await bench.ended(job) for job in (running, waiting)]
        await lives.kill()
        bench = await lives.start()

        assert [bench.record(job) for job in (running, waiting)] == records
        assert [record.state for record in records] == ["cancelled", "cancelled"]

    run_lives(test, hang)


def test_a_finished_job_can_be_run_again_and_the_new_one_links_to_it() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("sleep", {"value": "once"}, tags={"a": "b"})
        await bench.ended(job)
        await lives.kill()
        bench = await lives.start()
        again = bench.engine.retry(job)
        record = await bench.ended(again.id)

        assert (record.result, record.tags, record.retry_of) == ("once", {"a": "b"}, job)
        (span,) = bench.spans("job sleep", again.id)
        assert [format_span_id(link.context.span_id) for link in span.links] == [
            bench.engine._core.registry.get(job).span_id
        ]

    run_lives(test, sleep)


def test_a_job_that_was_forgotten_stays_forgotten() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        kept, gone = bench.submit("sleep"), bench.submit("sleep")
        await bench.ended(gone)
        bench.engine.forget(gone)
        await bench.settle()
        await lives.kill()
        bench = await lives.start()

        assert bench.state(kept) == "completed"
        with pytest.raises(JobNotFound):
            bench.record(gone)

    run_lives(test, sleep)


def test_an_end_that_was_recorded_without_its_last_event_is_told_by_the_next_engine() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("sleep", {"for_s": 1})
        await bench.at(0.5)
        log: Any = bench.engine.log(job)
        log._on_hold, log.ending = lambda _: None, True  # what is told now is in no batch
        await bench.at(2)
        assert bench.state(job) == "completed"
        assert bench.states(job) == ["queued", "running"]
        await lives.kill()
        bench = await lives.start()
        await bench.settle()

        assert bench.states(job) == ["queued", "running", "completed"]
        assert bench.events(job)[-1]["marker"] == "[DONE]"
        assert bench.engine.log(job).ended

    run_lives(test, sleep)


def test_retention_goes_on_by_age() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        slow, fast = bench.submit("sleep", {"for_s": 50}), bench.submit("sleep")
        await bench.at(60)
        await lives.kill(after_s=30)
        bench = await lives.start()
        await bench.at(99)
        assert {bench.state(job) for job in (slow, fast)} == {"completed"}
        await bench.at(102)
        with pytest.raises(JobNotFound):  # it has finished first, and was made last
            bench.record(fast)
        await bench.at(149)
        assert bench.state(slow) == "completed"
        await bench.at(152)
        with pytest.raises(JobNotFound):
            bench.record(slow)
        await lives.kill()
        bench = await lives.start()
        assert bench.engine.find(JobFilter()).total == 0

    run_lives(test, sleep, retention_s=100)


@pytest.mark.parametrize("limit", ["jobs", "bytes"])
def test_retention_goes_on_by_number_and_by_size(limit: str) -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        last = bench.submit("sleep", {"for_s": 5, "value": "x" * 5000})
        first = bench.submit("sleep", {"value": "x" * 5000})
        await bench.ended(last)
        await lives.kill()
        bounds: dict[str, Any] = {"jobs": {"retention_jobs": 1}, "bytes": {"retention_bytes": 9000}}
        bench = await lives.start(**bounds[limit])

        assert bench.state(last) == "completed"
        with pytest.raises(JobNotFound):
            bench.record(first)

    run_lives(test, sleep)


def test_history_can_be_listed_filtered_and_paged_across_the_restart() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        jobs = [
            bench.submit("sleep" if number % 2 else "refuse", tags={"n": str(number)})
            for number in range(6)
        ]
        await bench.settle()
        page = bench.engine.find(JobFilter(), limit=2)
        assert [each.id for each in page.jobs] == [jobs[5], jobs[4]]
        await lives.kill()
        bench = await lives.start()
        new = bench.submit("sleep")
        await bench.settle()

        def found(**chosen: Any) -> list[str]:
            return [each.id for each in bench.engine.find(JobFilter(**chosen)).jobs]

        following = bench.engine.find(JobFilter(), page.next, limit=2)
        assert [each.id for each in following.jobs] == [jobs[3], jobs[2]]
        assert found() == [new, *reversed(jobs)]
        assert found(states=frozenset({State.FAILED})) == [jobs[4], jobs[2], jobs[0]]
        assert found(operation="sleep") == [new, jobs[5], jobs[3], jobs[1]]
        assert found(tag=("n:3",)) == [jobs[3]]
        assert found(text="refuse") == [jobs[4], jobs[2], jobs[0]]

    run_lives(test, sleep, refuse)


# --- what was not acknowledged, and what was ------------------------------------------------------


def test_a_job_is_there_once_it_was_acknowledged() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        told = bench.submit("hang")
        await bench.engine.settled(told)
        untold = bench.submit("hang")
        await lives.kill()
        bench = await lives.start()
        await bench.settle()

        assert bench.record(told).id == told
        with pytest.raises(JobNotFound):
            bench.record(untold)

    run_lives(test, hang)


def test_a_key_answers_with_the_first_job_and_a_new_one_is_free_again() -> None:
    async def test(lives: Lives) -> None:
        def submit(bench: Bench, body_hash: str = "a") -> tuple[str, bool]:
            submission = Submission(operation="sleep")
            taken = bench.engine.submit(submission, idempotency_key="k", body_hash=body_hash)
            return taken.job_id, taken.created

        bench = await lives.start()
        job, created = submit(bench)
        assert created
        await bench.settle()
        await lives.kill()
        bench = await lives.start()

        assert submit(bench) == (job, False)
        with pytest.raises(IdempotencyConflict):
            submit(bench, "b")
        bench.engine.forget(job)
        await bench.settle()
        await lives.kill()
        bench = await lives.start()
        assert submit(bench, "b")[1]

    run_lives(test, sleep)


# --- what ran -------------------------------------------------------------------------------------


def test_a_running_job_is_tried_again_if_its_policy_allows() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("sleep", {"for_s": 10}, retry={"max_attempts": 2, "jitter": "none"})
        await bench.at(4)
        before = bench.events(job)
        await lives.kill(after_s=100)
        bench = await lives.start()
        cut = bench.record(job)
        record = await bench.ended(job)

        assert (cut.state, seconds(cut.next_retry_at)) == ("retrying", 104 + 1)
        assert bench.outcomes(job) == ["lost", "completed"]
        assert record.attempts[0].error is not None
        assert "died" in record.attempts[0].error.message
        assert seconds(record.attempts[0].finished_at) == 0  # when it was last heard of
        assert bench.events(job)[: len(before)] == before
        assert bench.states(job) == [
            *("queued", "running", "retrying", "queued", "running", "completed")
        ]
        assert bench.moments(job).count("attempt_failed") == 1
        assert bench.moment(job, "retry_scheduled")["job.delay_s"] == 1
        labels = {"operation": "sleep", "outcome": "lost"}
        assert bench.metric(MetricName.ATTEMPTS, **labels) == 1

    run_lives(test, sleep)


def test_a_running_job_without_another_attempt_has_failed_as_lost() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("hang")
        await bench.at(4)
        await lives.kill()
        bench = await lives.start()

        record = bench.record(job)
        assert bench.state(job) == "failed/lost"
        assert record.failure is not None
        assert record.failure.reason == "lost"
        assert bench.outcomes(job) == ["lost"]
        await bench.settle()
        assert bench.states(job) == ["queued", "running", "failed/lost"]
        assert bench.events(job)[-1]["marker"].startswith("[ERROR] ")
        await lives.kill()
        bench = await lives.start()
        assert bench.record(job) == record

    run_lives(test, hang)


def test_each_life_that_cuts_an_attempt_costs_one() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("hang", retry={"max_attempts": 3, "base_delay_s": 0})
        for _ in range(3):
            await bench.settle()
            assert bench.state(job) == "running"
            await lives.kill()
            bench = await lives.start()
        assert bench.state(job) == "failed/lost"
        assert bench.outcomes(job) == ["lost", "lost", "lost"]

    run_lives(test, hang)


def test_an_attempt_whose_start_was_not_written_has_not_begun() -> None:
    begun: list[int] = []

    @operation
    async def begins(*, job: JobContext) -> None:
        begun.append(job.attempt)

    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("begins", start="on_stream")
        await bench.settle()
        bench.engine.attached(job)
        await asyncio.sleep(0)  # it has been started, and is written in a moment
        assert bench.state(job) == "running"
        await lives.kill()
        assert begun == []
        bench = await lives.start()
        await bench.settle()
        if bench.record(job).state == "queued":
            bench.engine.attached(job)
        await bench.ended(job)

        assert begun == [1]
        assert bench.outcomes(job) == ["completed"]

    run_lives(test, begins)


def test_a_checkpoint_reaches_the_attempt_after_the_one_that_was_cut() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("remembers", retry={"max_attempts": 2, "base_delay_s": 5})
        await bench.at(1)
        await lives.kill()
        bench = await lives.start()
        progress = bench.record(job).progress
        record = await bench.ended(job)

        assert progress is not None
        assert (progress.done, progress.total, progress.text) == (3, 10, "three of ten")
        assert record.result == {"page": 3}

    run_lives(test, remembers)


def test_what_the_attempt_said_before_it_was_cut_is_still_told_under_the_same_ids() -> None:
    @operation
    async def talks(*, job: JobContext) -> None:
        for number in range(3):
            narrate("say", "{n} of attempt {a}", n=number, a=job.attempt)
        if job.attempt == 1:
            await asyncio.Event().wait()

    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("talks", retry={"max_attempts": 2, "base_delay_s": 2})
        await bench.at(1)
        before, log = bench.events(job), bench.engine.log(job)
        seen = log.event_id(before[-1]["seq"])
        await lives.kill()
        bench = await lives.start()
        log = bench.engine.log(job)
        place = resolve(log, StreamQuery(last_event_id=seen))
        await bench.ended(job)

        assert place.start == len(before) + 1
        assert not place.gaps
        assert bench.events(job)[: len(before)] == before
        assert bench.texts(job) == [f"{n} of attempt {a}" for a in (1, 2) for n in range(3)]
        done = log.event_id(bench.events(job)[-1]["seq"])
        assert resolve(log, StreamQuery(last_event_id=done)).complete

    run_lives(test, talks)


def test_a_story_that_was_longer_than_its_log_goes_on_where_it_was() -> None:
    @operation
    async def talks() -> None:
        for number in range(50):
            narrate("say", "{n}", n=number)
            await asyncio.sleep(1)

    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("talks", retry={"max_attempts": 2})
        await bench.at(30)
        before, log = bench.events(job), bench.engine.log(job)
        assert log.first > 1
        await lives.kill()
        bench = await lives.start()
        await bench.settle()
        after = bench.events(job)

        assert [each["seq"] for each in after] == [*range(after[0]["seq"], after[-1]["seq"] + 1)]
        assert len(after) == 10
        told = {each["seq"]: each for each in after}
        assert all(told.get(each["seq"], each) == each for each in before)
        assert after[-1]["seq"] > before[-1]["seq"]

    run_lives(test, talks, log_limit=10)


def test_a_cancelling_job_whose_attempt_was_cut_is_cancelled() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("stubborn", retry={"max_attempts": 5})
        await bench.settle()
        assert bench.engine.cancel(job).state == "cancelling"
        await bench.settle()
        await lives.kill()
        bench = await lives.start()
        await bench.settle()

        record = bench.record(job)
        assert bench.states(job) == ["queued", "running", "cancelling", "cancelled"]
        assert record.cancel is not None
        assert (record.cancel.origin, record.cancel.abandoned) == ("client", False)
        assert bench.outcomes(job) == ["lost"]

    run_lives(test, stubborn)


def test_a_cut_attempt_whose_job_is_past_its_deadline_is_not_tried_again() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("hang", retry={"max_attempts": 5}, deadline_s=20)
        await bench.settle()
        await lives.kill(after_s=30)
        bench = await lives.start()

        assert bench.state(job) == "failed/timeout"
        assert bench.outcomes(job) == ["lost"]

    run_lives(test, hang)


def test_an_attempt_after_the_restart_has_its_own_time() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("sleep_within", {"for_s": 3}, retry={"max_attempts": 2})
        await bench.at(2)
        await lives.kill(after_s=50)
        bench = await lives.start()
        await bench.ended(job)

        assert bench.outcomes(job) == ["lost", "completed"]

    run_lives(test, sleep_within)


def test_the_feed_begins_anew_and_tells_what_became_of_what_ran() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("hang")
        await bench.settle()
        feed = bench.engine.feed()
        seen = feed.event_id(feed.next - 1)
        await lives.kill()
        bench = await lives.start()
        await bench.settle()
        feed = bench.engine.feed()
        place = resolve(feed, StreamQuery(last_event_id=seen))

        assert place.gaps  # list again
        (told,) = [msgspec.json.decode(each.data) for each in feed.entries()]
        assert (told["job_id"], told["state"], told["reason"]) == (job, "failed", "lost")

    run_lives(test, hang)


# --- what waited ----------------------------------------------------------------------------------


def test_waiting_jobs_run_in_the_order_that_they_had() -> None:
    order: list[str] = []

    @operation(concurrency=1)
    async def ordered(name: str, for_s: float = 0) -> None:
        await asyncio.sleep(for_s)
        order.append(name)

    async def test(lives: Lives) -> None:
        bench = await lives.start()
        bench.submit("ordered", {"name": "running", "for_s": 1e5})
        await bench.at(1)
        for name in ("low", "normal", "high", "critical"):
            bench.submit("ordered", {"name": name}, priority=name)
            bench.submit("ordered", {"name": f"{name} 2"}, priority=name)
        await bench.at(2)
        names = {each.id: each.params["name"] for each in bench.engine.find(JobFilter()).jobs}
        places = {job: bench.record(job).queue_position for job in names}
        await lives.kill(after_s=10)
        bench = await lives.start()
        running = next(job for job, name in names.items() if name == "running")
        places[running] = None
        assert {job: bench.record(job).queue_position for job in names} == places
        await bench.at(20)

        assert order == [
            *("critical", "critical 2", "high", "high 2", "normal", "normal 2", "low", "low 2")
        ]

    run_lives(test, ordered)


def test_the_time_that_a_job_has_waited_counts_after_the_restart() -> None:
    order: list[str] = []

    @operation(concurrency=1)
    async def ordered(name: str, for_s: float = 0) -> None:
        await asyncio.sleep(for_s)
        order.append(name)

    async def test(lives: Lives) -> None:
        bench = await lives.start()
        bench.submit("ordered", {"name": "first", "for_s": 1e6}, retry={"max_attempts": 2})
        bench.submit("ordered", {"name": "old and low"}, priority="low")
        await bench.settle()
        await lives.kill(after_s=100_000)
        bench = await lives.start()
        bench.submit("ordered", {"name": "new and critical"}, priority="critical")
        await bench.settle()

        assert order == ["old and low", "new and critical"]

    run_lives(test, ordered)


def test_a_retry_is_due_when_it_was() -> None:
    async def test(lives: Lives) -> None:
        retry = {"max_attempts": 2, "base_delay_s": 60, "jitter": "none"}
        bench = await lives.start()
        job = bench.submit("flaky", {"times": 1}, retry=retry)
        await bench.at(1)
        due = seconds(bench.record(job).next_retry_at)
        await lives.kill(after_s=20)
        bench = await lives.start()
        assert (bench.state(job), seconds(bench.record(job).next_retry_at)) == ("retrying", due)
        record = await bench.ended(job)

        assert due == 60
        assert seconds(record.attempts[1].started_at) == due
        (backoff,) = bench.spans("job.backoff", job)
        assert (backoff.end_time or 0) - (backoff.start_time or 0) == 60e9

    run_lives(test, flaky)


def test_a_retry_that_was_due_meanwhile_starts_at_once() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("later", {"times": 1, "after_s": 30})
        await bench.at(1)
        await lives.kill(after_s=100)
        bench = await lives.start()
        record = await bench.ended(job)

        assert seconds(record.attempts[1].started_at) == 101
        assert record.result == 2

    run_lives(test, later)


@pytest.mark.parametrize("away_s", [3, 50])
@pytest.mark.parametrize(
    ("asked", "end"),
    [
        ({"start": "on_stream", "attach_timeout_s": 20}, "failed/expired"),
        ({"queue_timeout_s": 20}, "failed/expired"),
        ({"deadline_s": 20}, "failed/expired"),
    ],
)
def test_each_limit_on_waiting_counts_from_where_it_did(
    asked: dict[str, Any], end: str, away_s: float
) -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        bench.submit("hang", retry={"max_attempts": 9, "base_delay_s": 0})
        await bench.settle()
        job = bench.submit("hang", **asked)
        await bench.settle()
        await lives.kill(after_s=away_s)
        bench = await lives.start(concurrency=1)
        blocker = bench.submit("hang", priority="critical")
        if away_s < 20:
            await bench.at(19.5)
            assert bench.state(job) == "queued"
        else:
            await bench.at(away_s + 0.1)
        record = await bench.ended(job)

        assert bench.state(job) == end
        assert seconds(record.finished_at) == max(20, away_s)
        bench.engine.cancel(blocker)

    run_lives(test, hang, concurrency=1)


def test_a_deferred_job_waits_for_its_stream_and_is_queued_by_it() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("sleep", start="on_stream", attach_timeout_s=100)
        await bench.settle()
        await lives.kill(after_s=50)
        bench = await lives.start()
        assert (bench.state(job), bench.record(job).queue_position) == ("queued", None)
        assert bench.total(MetricName.DEFERRED) == 1
        bench.engine.attached(job)
        await bench.ended(job)

        assert bench.states(job) == ["queued", "queued", "running", "completed"]

    run_lives(test, sleep)


def test_limits_on_concurrency_hold_for_what_was_taken_up() -> None:
    inside = [0, 0]

    @operation(concurrency=2)
    async def counted() -> None:
        inside[0] += 1
        inside[1] = max(inside)
        await asyncio.sleep(1)
        inside[0] -= 1

    async def test(lives: Lives) -> None:
        bench = await lives.start(concurrency=1)
        bench.submit("hang")
        await bench.settle()
        jobs = [bench.submit("counted") for _ in range(6)]
        keyed = [bench.submit("hang", concurrency_key="k") for _ in range(2)]
        await bench.settle()
        await lives.kill()
        bench = await lives.start()
        for job in jobs:
            await bench.ended(job)
        assert inside == [0, 2]
        assert [bench.state(job) for job in keyed] == ["running", "queued"]
        for job in keyed:
            bench.engine.cancel(job)

    run_lives(test, counted, hang)


def test_a_waiting_job_can_be_cancelled_by_the_next_engine() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        deferred = bench.submit("hang", start="on_stream")
        retrying = bench.submit("flaky", {"times": 3}, retry={"max_attempts": 4})
        await bench.settle()
        await lives.kill()
        bench = await lives.start()
        for job in (deferred, retrying):
            assert bench.engine.cancel(job).state == "cancelled"
        await bench.settle()
        assert bench.states(retrying)[-2:] == ["retrying", "cancelled"]

    run_lives(test, hang, flaky)


def test_a_job_whose_operation_is_not_served_waits_until_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        waiting = bench.submit("sleep", start="on_stream", tags={"a": "b"})
        cut = bench.submit("sleep", {"for_s": 5}, retry={"max_attempts": 2})
        done = bench.submit("sleep")
        await bench.at(1)
        await lives.kill()
        with caplog.at_level(logging.WARNING, "app"):
            bench = await lives.start(hang)
        assert "2 unfinished jobs of operation 'sleep'" in caplog.text
        bench.engine.attached(waiting)
        other = bench.submit("hang")
        await bench.at(100)
        assert [bench.state(job) for job in (waiting, cut, done, other)] == [
            *("queued", "queued", "completed", "running")
        ]
        assert bench.record(waiting).queue_position is not None
        bench.engine.cancel(other)
        await bench.settle()
        await lives.stop()
        bench = await lives.start()
        for job in (waiting, cut):
            await bench.ended(job)
            assert bench.state(job) == "completed"

    run_lives(test, sleep, hang)


def test_a_job_whose_operation_is_not_served_keeps_its_limits_and_can_be_cancelled() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        first = bench.submit("sleep", start="on_stream", attach_timeout_s=30)
        second = bench.submit("sleep", start="on_stream")
        await bench.settle()
        await lives.kill()
        bench = await lives.start(hang)
        bench.engine.cancel(second)
        await bench.ended(first)
        assert (bench.now, bench.state(first)) == (30, "failed/expired")
        assert bench.state(second) == "cancelled"

    run_lives(test, sleep)


# --- the clock ------------------------------------------------------------------------------------


def test_a_wall_clock_that_was_put_back_makes_no_wait_longer_than_it_was() -> None:
    async def test(lives: Lives) -> None:
        retry = {"max_attempts": 2, "base_delay_s": 60, "jitter": "none"}
        bench = await lives.start()
        retrying = bench.submit("flaky", {"times": 1}, retry=retry)
        deferred = bench.submit("sleep", start="on_stream", attach_timeout_s=20)
        done = bench.submit("sleep")
        late = bench.submit("hang", start="on_stream", deadline_s=40, attach_timeout_s=90)
        cut = bench.submit("hang")
        await bench.at(9)
        await lives.kill()
        bench = await lives.start(step_s=-7200)
        assert bench.state(cut) == "failed/lost"
        await bench.at(10 + 20.5)
        assert bench.state(deferred) == "failed/expired"
        await bench.at(10 + 40.5)
        assert bench.state(late) == "failed/expired"
        await bench.at(10 + 60.5)
        assert bench.state(retrying) == "completed"
        await bench.at(10 + 99)
        assert bench.state(done) == "completed"
        await bench.at(10 + 101)
        with pytest.raises(JobNotFound):
            bench.record(done)

    run_lives(test, flaky, sleep, hang, retention_s=100)


def test_a_wall_clock_that_was_put_forward_lets_what_is_due_happen_at_once() -> None:
    async def test(lives: Lives) -> None:
        retry = {"max_attempts": 2, "base_delay_s": 60, "jitter": "none"}
        bench = await lives.start()
        retrying = bench.submit("flaky", {"times": 1}, retry=retry)
        deferred = bench.submit("sleep", start="on_stream", attach_timeout_s=20)
        await bench.settle()
        await lives.kill()
        bench = await lives.start(step_s=86_400)
        await bench.settle()
        await bench.at(0.1)
        assert bench.state(deferred) == "failed/expired"
        assert bench.state(retrying) == "completed"

    run_lives(test, flaky, sleep)

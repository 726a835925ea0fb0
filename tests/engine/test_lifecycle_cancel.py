"""Cancelling: from every unfinished state, until the work has really stopped."""

import asyncio
import threading

import pytest

from app.handlers.context import JobCancelled, JobContext
from app.handlers.operation import operation
from app.jobs.errors import AlreadyFinished, JobNotFound
from narration.narrate import narrate
from telemetry.names import CancelOrigin, MetricName
from tests.engine.harness import Bench, run, seconds
from tests.engine.operations import flaky, hang, reluctant, sleep, stubborn


def test_a_queued_job_is_cancelled_at_once() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        await bench.settle()
        job = bench.submit("sleep")
        record = bench.engine.cancel(job)
        await bench.settle()

        assert record.state == "cancelled"
        assert record.started_at is None
        assert record.cancel is not None
        assert record.cancel.model_dump() == {
            "origin": "client",
            "requested_at": record.created_at,
            "abandoned": False,
        }
        assert bench.states(job) == ["queued", "cancelled"]
        assert bench.moments(job) == ["queued", "cancel_requested", "cancelled"]
        assert bench.moment(job, "cancel_requested")["job.state"] == "queued"
        assert bench.events(job)[-1]["marker"] == "[CANCELLED]"

    run(test, hang, sleep, concurrency=1)


def test_a_deferred_job_is_cancelled_at_once() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", start="on_stream")
        bench.engine.cancel(job)
        bench.engine.attached(job)
        await bench.settle()

        assert bench.states(job) == ["queued", "cancelled"]

    run(test, sleep)


def test_a_job_that_waits_for_its_retry_is_cancelled_at_once() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("flaky", {"times": 1}, retry={"max_attempts": 2, "base_delay_s": 60})
        await bench.settle()
        record = bench.engine.cancel(job)

        assert record.state == "cancelled"
        assert record.next_retry_at is None
        assert bench.outcomes(job) == ["error"]
        await bench.at(100)
        assert bench.record(job) == record
        assert len(bench.spans("job.backoff", job)) == 1

    run(test, flaky)


def test_a_running_job_is_cancelling_until_the_work_has_really_stopped() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", {"stops_after_s": 2})
        waiting = bench.submit("sleep")
        await bench.at(1)
        record = bench.engine.cancel(job)
        assert record.state == "cancelling"
        await bench.at(2.9)
        assert bench.state(job) == "cancelling"
        assert bench.state(waiting) == "queued"
        assert bench.metric(MetricName.RUNNING, operation="reluctant") == 1
        record = await bench.ended(job)

        assert bench.now == 3
        assert record.state == "cancelled"
        assert record.cancel is not None
        assert not record.cancel.abandoned
        assert bench.outcomes(job) == ["cancelled"]
        assert bench.states(job) == ["queued", "running", "cancelling", "cancelled"]
        await bench.ended(waiting)

    run(test, reluctant, sleep, concurrency=1)


@pytest.mark.parametrize("how", ["finish", "raise", "later", "reject", "cancelled"])
def test_once_cancelling_every_ending_is_cancelled(how: str) -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", {"how": how}, retry={"max_attempts": 5})
        await bench.settle()
        bench.engine.cancel(job)
        record = await bench.ended(job)

        assert record.state == "cancelled"
        assert (record.result, record.failure) == (None, None)
        assert bench.outcomes(job) == ["cancelled"]

    run(test, reluctant)


def test_a_result_that_came_in_the_same_moment_as_the_cancel_is_cancelled() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 5})
        await asyncio.sleep(5)  # its timer comes first, and its task is about to return
        bench.engine.cancel(job)
        record = await bench.ended(job)

        assert record.state == "cancelled"

    run(test, sleep)


def test_cancelling_may_be_repeated_and_the_first_origin_stays() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant")
        await bench.at(1)
        bench.engine.cancel(job)
        await bench.at(2)
        record = bench.engine.cancel(job, CancelOrigin.SHUTDOWN)

        assert record.state == "cancelling"
        assert record.cancel is not None
        assert record.cancel.origin == "client"
        assert seconds(record.cancel.requested_at) == 1
        assert bench.moments(job).count("cancel_requested") == 1
        await bench.ended(job)
        assert bench.now == 3

    run(test, reluctant)


def test_what_has_ended_cannot_be_cancelled() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep")
        record = await bench.ended(job)
        with pytest.raises(AlreadyFinished):
            bench.engine.cancel(job)
        with pytest.raises(JobNotFound):
            bench.engine.cancel("nobody")

        assert bench.record(job) == record

    run(test, sleep)


def test_a_coroutine_that_swallows_the_cancellation_is_abandoned_after_the_grace() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("stubborn", {"for_s": 60})
        waiting = bench.submit("sleep")
        await bench.at(1)
        bench.engine.cancel(job)
        record = await bench.ended(job)

        assert bench.now == 6
        assert record.state == "cancelled"
        assert record.cancel is not None
        assert record.cancel.abandoned
        assert bench.moments(job)[-3:] == ["cancel_requested", "abandoned", "cancelled"]
        assert bench.moment(job, "cancelled")["job.cancel.abandoned"] is True
        (span,) = bench.spans("job stubborn", job)
        assert (span.attributes or {})["job.cancel.abandoned"] is True
        assert bench.metric(MetricName.ABANDONED, operation="stubborn") == 1
        await bench.ended(waiting)
        assert bench.now == 6
        await bench.at(61)
        assert bench.record(job) == record
        assert bench.engine._core.free_slots == 1

    run(test, stubborn, sleep, concurrency=1)


def test_a_thread_that_ignores_its_token_is_abandoned_and_nothing_it_says_later_is_told() -> None:
    release, over = threading.Event(), threading.Event()

    @operation
    def deaf(*, job: JobContext) -> str:
        release.wait(30)
        narrate("late", "too late")
        job.progress(1)
        job.output("too late")
        job.checkpoint("too late")
        over.set()
        return "too late"

    async def test(bench: Bench) -> None:
        job = bench.submit("deaf")
        await bench.settle()
        bench.engine.cancel(job)
        record = await bench.ended(job)
        told = bench.events(job)
        assert record.cancel is not None
        assert record.cancel.abandoned
        assert bench.engine._core.free_slots == 1
        release.set()
        with bench.hold():
            await asyncio.to_thread(over.wait, 30)
            await bench.settle()

        assert bench.record(job) == record
        assert bench.events(job) == told
        assert bench.engine._core.free_slots == 1
        assert bench.metric(MetricName.ABANDONED, operation="deaf") == 1
        assert bench.metric(MetricName.MESSAGES_DROPPED, reason="late") == 4

    run(test, deaf, concurrency=1, cancel_grace_s=0.02)


def test_a_thread_sees_that_it_is_asked_to_stop() -> None:
    @operation
    def polite(*, job: JobContext) -> None:
        assert job.token.wait(30)
        assert job.cancelled
        job.raise_if_cancelled()

    async def test(bench: Bench) -> None:
        job = bench.submit("polite")
        await bench.settle()
        bench.engine.cancel(job)
        record = await bench.ended(job)

        assert record.state == "cancelled"
        assert record.cancel is not None
        assert not record.cancel.abandoned

    run(test, polite)


def test_a_handler_that_cancels_itself_has_made_an_error() -> None:
    @operation
    async def gives_up() -> None:
        raise asyncio.CancelledError

    @operation
    async def claims() -> None:
        raise JobCancelled

    async def test(bench: Bench) -> None:
        for name in ("gives_up", "claims"):
            job = bench.submit(name)
            await bench.ended(job)

            assert bench.state(job) == "failed/error"
            assert bench.outcomes(job) == ["error"]

    run(test, gives_up, claims)


def test_cancellations_are_counted_by_origin_with_the_time_they_took() -> None:
    async def test(bench: Bench) -> None:
        waiting = bench.submit("reluctant", start="on_stream")
        bench.engine.cancel(waiting)
        job = bench.submit("reluctant", {"stops_after_s": 3})
        await bench.at(1)
        bench.engine.cancel(job)
        await bench.ended(job)

        labels = {"operation": "reluctant", "origin": "client"}
        assert bench.metric(MetricName.CANCELLATIONS, **labels) == 2
        assert bench.metric(MetricName.CANCELLATION_TIME, "_count", **labels) == 1
        assert bench.metric(MetricName.CANCELLATION_TIME, "_sum", **labels) == 3

    run(test, reluctant)


def test_a_cancel_during_the_grace_of_a_timeout_is_a_cancellation() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", {"stops_after_s": 4}, timeout_s=2)
        await bench.at(3)
        bench.engine.cancel(job)
        record = await bench.ended(job)

        assert bench.now == 6
        assert record.state == "cancelled"
        assert bench.outcomes(job) == ["cancelled"]
        labels = {"operation": "reluctant", "origin": "client"}
        assert bench.metric(MetricName.CANCELLATION_TIME, "_sum", **labels) == 3

    run(test, reluctant)


def test_a_cancelled_job_is_no_error_in_its_trace() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("hang")
        await bench.settle()
        bench.engine.cancel(job)
        await bench.ended(job)

        for name, attribute, value in (
            ("job hang", "job.cancel.origin", "client"),
            ("job.attempt", "job.outcome", "cancelled"),
        ):
            (span,) = bench.spans(name, job)
            assert span.status.status_code.name == "UNSET"
            assert (span.attributes or {})[attribute] == value

    run(test, hang)


def test_a_job_that_is_cancelled_before_its_first_step_never_runs() -> None:
    ran: list[str] = []

    @operation
    async def note() -> None:
        ran.append("ran")

    async def test(bench: Bench) -> None:
        job = bench.submit("note")
        await asyncio.sleep(0)  # its task is made, and has not begun
        assert bench.state(job) == "running"
        bench.engine.cancel(job)
        record = await bench.ended(job)

        assert (record.state, ran) == ("cancelled", [])

    run(test, note)

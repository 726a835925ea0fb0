"""From submission to the end of an undisturbed job, and the metrics, spans and story of it."""

import asyncio

import pytest

from app.handlers.operation import operation
from app.jobs.errors import InvalidParams, InvalidSubmission, OperationNotFound, QueueFull
from app.jobs.registry import JobFilter
from telemetry.names import MetricName, State
from tests.engine.harness import Bench, run, seconds
from tests.engine.operations import flaky, hang, sleep


def test_a_job_is_queued_runs_and_completes() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 4, "value": "x"})
        assert bench.state(job) == "queued"
        assert bench.record(job).queue_position == 0
        await bench.settle()
        assert bench.state(job) == "running"
        assert bench.record(job).queue_position is None

        record = await bench.ended(job)

        assert (record.state, record.reason, record.result) == ("completed", None, "x")
        assert bench.states(job) == ["queued", "running", "completed"]
        assert bench.moments(job) == ["queued", "started", "completed"]
        assert seconds(record.started_at) == 0
        assert seconds(record.finished_at) == 4
        assert bench.outcomes(job) == ["completed"]

    run(test, sleep)


def test_a_job_that_needs_no_time_takes_none() -> None:
    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit("sleep"))

        assert bench.now == 0

    run(test, sleep)


def test_the_record_names_params_tags_metadata_and_links() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "sleep", {"for_s": 1}, tags={"team": "blue"}, metadata={"ticket": [1, {"a": None}]}
        )
        record = bench.record(job)

        assert record.params == {"for_s": 1.0}
        assert record.tags == {"team": "blue"}
        assert record.metadata == {"ticket": [1, {"a": None}]}
        assert record.links == {
            "self": f"/v1/jobs/{job}",
            "stream": f"/v1/jobs/{job}/stream",
            "narration": f"/v1/jobs/{job}/narration",
            "trace": f"/v1/jobs/{job}/trace",
            "trace_viewer": f"https://traces/{record.trace_id}",
        }

    run(test, sleep, trace_url="https://traces/{trace_id}")


def test_a_handler_sees_its_tags_and_metadata() -> None:
    from app.handlers.context import JobContext  # noqa: PLC0415  # what a user's file imports

    seen: list[object] = []

    @operation
    async def look(*, job: JobContext) -> None:
        seen.extend([job.id, job.attempt, job.tags, job.metadata])

    async def test(bench: Bench) -> None:
        job = bench.submit("look", tags={"a": "b"}, metadata={"c": 1})
        await bench.ended(job)

        assert seen == [job, 1, {"a": "b"}, {"c": 1}]

    run(test, look)


def test_jobs_are_found_by_tag_state_and_operation() -> None:
    async def test(bench: Bench) -> None:
        blue = bench.submit("hang", tags={"team": "blue"})
        red = bench.submit("sleep", tags={"team": "red"})
        await bench.settle()

        def found(**chosen: object) -> list[str]:
            return [each.id for each in bench.engine.find(JobFilter(**chosen)).jobs]  # type: ignore[arg-type]  # each test case names its own fields

        assert found(tag=("team:blue",)) == [blue]
        assert found(tag=("team",)) == [red, blue]
        assert found(states=frozenset({State.RUNNING})) == [blue]
        assert found(operation="sleep") == [red]

    run(test, hang, sleep)


def test_pages_of_jobs_are_linked_by_their_cursor() -> None:
    async def test(bench: Bench) -> None:
        made = [bench.submit("hang") for _ in range(5)]
        first = bench.engine.find(JobFilter(), limit=2)
        second = bench.engine.find(JobFilter(), first.next, limit=2)

        assert [each.id for each in (*first.jobs, *second.jobs)] == made[:0:-1]
        assert (first.total, second.total) == (5, 5)

    run(test, hang)


def test_an_unknown_operation_and_wrong_params_are_refused_and_change_nothing() -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(OperationNotFound) as unknown:
            bench.submit("slep")
        with pytest.raises(InvalidParams):
            bench.submit("sleep", {"for_s": "long"})
        with pytest.raises(InvalidSubmission):
            bench.submit("sleep", timeout_s=1e6)

        assert unknown.value.legal == ("sleep",)
        assert bench.engine.find(JobFilter()).total == 0
        assert bench.total(MetricName.SUBMITTED) == 0
        for reason in ("operation-not-found", "invalid-params", "invalid-submission"):
            assert bench.metric(MetricName.REFUSED, reason=reason) == 1

    run(test, sleep)


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        await bench.settle()
        waiting = [bench.submit("hang"), bench.submit("hang", start="on_stream")]
        ready = bench.engine.ready()
        assert (ready["accepting"], ready["queue"]) == (True, False)

        with pytest.raises(QueueFull) as full:
            bench.submit("hang")

        assert (full.value.limit, full.value.retry_after_s) == (2, 1)
        assert bench.metric(MetricName.REFUSED, reason="queue-full") == 1
        bench.engine.cancel(waiting[0])
        bench.submit("hang")

    run(test, hang, concurrency=1, queue_limit=2)


def test_a_job_that_waits_for_its_retry_counts_against_the_queue_limit() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("flaky", {"times": 1}, retry={"max_attempts": 2})
        await bench.settle()

        with pytest.raises(QueueFull):
            bench.submit("flaky", {"times": 0})

    run(test, flaky, queue_limit=1)


def test_waiting_ends_with_the_job_or_with_the_time() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 10})

        assert (await bench.engine.wait(job, 4)).state == "running"
        assert bench.now == 4
        assert (await bench.engine.wait(job, 100)).state == "completed"
        assert bench.now == 10
        assert (await bench.engine.wait(job, 100)).state == "completed"
        assert bench.now == 10

    run(test, sleep)


def test_a_waiter_that_is_cancelled_leaves_nothing_behind() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("hang")
        waiter = asyncio.create_task(bench.engine.wait(job, 100))
        await bench.settle()
        waiter.cancel()
        await bench.settle()

        assert waiter.cancelled()
        assert bench.engine._core.entries[job].waiters == ()

    run(test, hang)


def test_every_count_of_an_undisturbed_job_is_exact() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("sleep", {"for_s": 8}, priority="high")
        await bench.settle()
        job = bench.submit("sleep", {"for_s": 2}, priority="high")
        assert bench.metric(MetricName.QUEUE_DEPTH, priority="high") == 1
        await bench.at(3)
        assert bench.metric(MetricName.QUEUE_OLDEST_AGE, priority="high") == 3
        assert bench.metric(MetricName.RUNNING, operation="sleep") == 1
        await bench.ended(job)

        assert bench.metric(MetricName.SUBMITTED, operation="sleep", priority="high") == 2
        assert (
            bench.metric(MetricName.FINISHED, operation="sleep", outcome="completed", reason="")
            == 2
        )
        assert bench.metric(MetricName.ATTEMPTS, operation="sleep", outcome="completed") == 2
        labels = {"operation": "sleep", "priority": "high"}
        assert bench.metric(MetricName.WAIT, "_count", **labels) == 2
        assert bench.metric(MetricName.WAIT, "_sum", **labels) == 8
        labels = {"operation": "sleep", "outcome": "completed"}
        assert bench.metric(MetricName.RUN, "_sum", **labels) == 10
        assert bench.metric(MetricName.WORKER_SLOTS) == 1
        assert bench.metric(MetricName.RETAINED_JOBS) == 2

    run(test, sleep, concurrency=1)


def test_the_trace_has_the_job_its_wait_and_its_attempt() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 2})
        record = await bench.ended(job)
        (whole,) = bench.spans("job sleep", job)
        (wait,) = bench.spans("job.wait", job)
        (attempt,) = bench.spans("job.attempt", job)

        assert whole.context is not None
        assert record.trace_id == f"{whole.context.trace_id:032x}"
        for part in (wait, attempt):
            assert part.parent is not None
            assert part.parent.span_id == whole.context.span_id
        assert attempt.context is not None
        assert record.attempts[0].span_id == f"{attempt.context.span_id:016x}"
        assert attempt.end_time is not None
        assert attempt.start_time is not None
        assert attempt.end_time - attempt.start_time == 2e9
        spans, _ = bench.engine.trace(job)
        assert {each.name for each in spans} == {"job sleep", "job.wait", "job.attempt"}

    run(test, sleep)


def test_the_feed_tells_the_states_of_all_jobs_in_order() -> None:
    import msgspec  # noqa: PLC0415  # only here

    async def test(bench: Bench) -> None:
        first, second = bench.submit("sleep"), bench.submit("sleep", tags={"a": "b"})
        await bench.ended(second)
        told = [msgspec.json.decode(each.data) for each in bench.engine.feed().entries()]

        assert [(each["job_id"], each["state"]) for each in told] == [
            (first, "queued"),
            (second, "queued"),
            (first, "running"),
            (second, "running"),
            (first, "completed"),
            (second, "completed"),
        ]
        assert told[1]["tags"] == {"a": "b"}
        assert not bench.engine.feed().ended

    run(test, sleep)

"""The dual call: a job that is queued when its first stream attaches, or expires."""

from telemetry.names import MetricName
from tests.engine.harness import Bench, run, seconds
from tests.engine.operations import hang, sleep


def test_a_deferred_job_begins_with_its_first_stream() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", start="on_stream", attach_timeout_s=30)
        await bench.at(20)
        assert bench.state(job) == "queued"
        assert bench.moments(job) == ["deferred"]
        bench.engine.attached(job)
        record = await bench.ended(job)

        assert record.state == "completed"
        assert seconds(record.started_at) == 20
        assert bench.states(job) == ["queued", "queued", "running", "completed"]
        assert bench.moments(job) == ["deferred", "queued", "started", "completed"]

    run(test, sleep)


def test_a_deferred_job_that_nobody_attaches_to_expires() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", start="on_stream", attach_timeout_s=30)
        record = await bench.ended(job)

        assert bench.now == 30
        assert bench.state(job) == "failed/expired"
        assert record.failure is not None
        assert record.failure.message == "no stream attached within attach_timeout_s = 30 s"
        assert bench.metric(MetricName.TIMEOUTS, operation="sleep", kind="attach") == 1
        assert bench.moment(job, "expired")["job.timeout.kind"] == "attach"

    run(test, sleep)


def test_without_a_word_it_waits_a_minute_for_its_stream() -> None:
    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit("sleep", start="on_stream"))

        assert bench.now == 60

    run(test, sleep)


def test_the_attach_timeout_is_over_once_a_stream_has_attached() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        job = bench.submit("sleep", start="on_stream", attach_timeout_s=5)
        await bench.at(4)
        bench.engine.attached(job)
        await bench.at(50)

        assert bench.state(job) == "queued"

    run(test, hang, sleep, concurrency=1)


def test_a_second_stream_changes_nothing() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 3}, start="on_stream")
        bench.engine.attached(job)
        bench.engine.attached(job)
        await bench.settle()
        bench.engine.attached(job)
        await bench.ended(job)
        bench.engine.attached(job)

        assert bench.states(job) == ["queued", "queued", "running", "completed"]

    run(test, sleep)


def test_a_deferred_job_whose_deadline_passes_expires() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", start="on_stream", attach_timeout_s=30, deadline_s=8)
        await bench.ended(job)

        assert bench.now == 8
        assert bench.state(job) == "failed/expired"
        assert bench.metric(MetricName.TIMEOUTS, operation="sleep", kind="deadline") == 1

    run(test, sleep)


def test_the_queue_timeout_of_a_deferred_job_counts_from_its_queueing() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        job = bench.submit("sleep", start="on_stream", queue_timeout_s=5)
        await bench.at(10)
        bench.engine.attached(job)
        await bench.ended(job)

        assert bench.now == 15
        assert bench.metric(MetricName.TIMEOUTS, operation="sleep", kind="queue") == 1

    run(test, hang, sleep, concurrency=1)


def test_a_stream_that_attaches_during_a_drain_starts_nothing() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("sleep", {"for_s": 5})
        job = bench.submit("sleep", start="on_stream")
        await bench.settle()
        bench.engine._core.draining = True  # the moment before a drain has cancelled it
        bench.engine.attached(job)
        await bench.settle()

        assert bench.states(job) == ["queued"]
        bench.engine._core.draining = False
        bench.engine.cancel(job)

    run(test, sleep)

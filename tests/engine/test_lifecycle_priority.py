"""Which of the waiting jobs goes first."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from app.jobs.queue import BOOST_S
from telemetry.names import MetricName, Priority
from tests.engine.harness import Bench, run, seconds
from tests.engine.operations import flaky, hang, sleep


def _starts(bench: Bench, jobs: list[str]) -> list[str]:
    """The jobs in the order of their first start."""
    return sorted(jobs, key=lambda job: seconds(bench.record(job).started_at))


def test_the_highest_priority_goes_first_and_the_oldest_within_one() -> None:
    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit("sleep"))
        bench.submit("sleep", {"for_s": 1})
        await bench.settle()
        jobs = {
            f"{priority}{number}": bench.submit("sleep", {"for_s": 1}, priority=priority)
            for number in (1, 2)
            for priority in ("low", "critical", "normal", "high")
        }
        expected = [f"{each}{n}" for each in ("critical", "high", "normal", "low") for n in (1, 2)]
        assert [bench.record(jobs[each]).queue_position for each in expected] == [*range(8)]
        for job in jobs.values():
            await bench.ended(job)

        assert _starts(bench, [*jobs.values()]) == [jobs[each] for each in expected]

    run(test, sleep, concurrency=1)


def test_a_waiting_job_ages_past_newer_ones_of_a_higher_priority() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("sleep", {"for_s": 61})
        await bench.settle()
        low = bench.submit("sleep", {"for_s": 1}, priority="low")
        await bench.at(60.5)
        normal = bench.submit("sleep", {"for_s": 1}, priority="normal")
        assert bench.record(low).queue_position == 0
        await bench.ended(normal)

        assert seconds(bench.record(low).started_at) == 61
        assert seconds(bench.record(normal).started_at) == 62

    run(test, sleep, concurrency=1)


def test_nothing_starves_under_an_endless_stream_of_critical_jobs() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("sleep", {"for_s": 100})
        await bench.settle()
        low = bench.submit("sleep", priority="low")
        bound = BOOST_S[Priority.CRITICAL] - BOOST_S[Priority.LOW]
        while bench.state(low) == "queued":
            bench.submit("sleep", {"for_s": 100}, priority="critical")
            await asyncio.sleep(100)

        assert bound <= seconds(bench.record(low).started_at) <= bound + 200

    run(test, sleep, concurrency=1)


def test_a_job_that_is_retried_takes_its_place_by_the_time_of_its_retry() -> None:
    async def test(bench: Bench) -> None:
        retried = bench.submit("flaky", {"times": 1}, retry={"max_attempts": 2, "jitter": "none"})
        await bench.settle()
        bench.submit("sleep", {"for_s": 5})
        waited_longer = bench.submit("sleep", {"for_s": 5})
        await bench.ended(retried)

        assert seconds(bench.record(waited_longer).started_at) == 5
        assert seconds(bench.record(retried).attempts[1].started_at) == 10

    run(test, sleep, flaky, concurrency=1)


def test_depth_and_oldest_age_are_told_by_priority() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        await bench.settle()
        bench.submit("hang", priority="low")
        await bench.at(10)
        bench.submit("hang", priority="low")
        bench.submit("hang", priority="critical")
        await bench.at(15)

        def read(name: MetricName) -> list[float]:
            return [bench.metric(name, priority=each.value) for each in Priority]

        assert read(MetricName.QUEUE_DEPTH) == [2, 0, 0, 1]
        assert read(MetricName.QUEUE_OLDEST_AGE) == [15, 0, 0, 5]

    run(test, hang, concurrency=1)


@given(
    st.lists(st.tuples(st.sampled_from([*Priority]), st.integers(0, 200)), min_size=1, max_size=12)
)
@settings(max_examples=12, deadline=None)
def test_jobs_start_by_the_time_queued_minus_the_boost(
    plan: list[tuple[Priority, int]],
) -> None:
    async def test(bench: Bench) -> None:
        blocker = bench.submit("sleep", {"for_s": sum(pause for _, pause in plan) + 1})
        await bench.settle()
        keys: dict[str, tuple[float, int]] = {}
        for number, (priority, pause) in enumerate(plan):
            await asyncio.sleep(pause)
            job = bench.submit("sleep", {"for_s": 1}, priority=priority.value)
            keys[job] = (bench.now - BOOST_S[priority], number)
        await bench.ended(blocker)
        for job in keys:
            await bench.ended(job)

        assert _starts(bench, [*keys]) == sorted(keys, key=lambda job: keys[job])

    run(test, sleep, concurrency=1)

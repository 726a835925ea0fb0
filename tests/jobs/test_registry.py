from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs import job as jobs
from app.jobs.errors import InvalidCursor, InvalidFilter, JobNotFound, NotFinished
from app.jobs.job import AttemptError, Failure, Job
from app.jobs.registry import JobFilter, JobRegistry
from telemetry.names import TERMINAL, CancelOrigin, Outcome, Reason, State

MakeJob = Callable[..., Job]
ERROR = AttemptError(type="ValueError", message="no")


def filled(make_job: MakeJob, count: int, **fields: Any) -> JobRegistry:
    registry = JobRegistry()
    for number in range(count):
        registry.add(make_job(job_id=f"j{number}", now_ns=number, **fields))
    return registry


ALL = JobFilter()


def ids(registry: JobRegistry, chosen: JobFilter = ALL, limit: int = 100) -> list[str]:
    """All pages, one after the other."""
    found: list[str] = []
    cursor = None
    while True:
        page = registry.find(chosen, cursor, limit)
        found += [job.id for job in page.jobs]
        cursor = page.next
        if cursor is None:
            assert page.total == len(found)
            return found


def advance(job: Job, by: int) -> None:
    """Take some legal step."""
    if job.state is State.QUEUED and job.queued_ns is None:
        jobs.queue(job, now_ns=1, now_mono=1.0)
    elif job.finished:
        return
    elif by == 0:
        jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=2)
    elif job.state is State.QUEUED:
        jobs.start(job, now_ns=2)
    elif job.state is State.RETRYING:
        jobs.due(job)
    elif job.state is State.CANCELLING:
        jobs.end_attempt(job, outcome=Outcome.CANCELLED, now_ns=3)
        jobs.stop(job, now_ns=3)
    else:
        jobs.end_attempt(job, outcome=Outcome.ERROR, error=ERROR, now_ns=3)
        if by == 1:
            jobs.schedule_retry(job, next_retry_ns=4)
        else:
            failure = Failure(reason=Reason.ERROR, type="ValueError", message="no")
            jobs.fail(job, failure, now_ns=3)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.booleans()), max_size=60),
)
def test_the_counts_are_exact_whatever_happens(
    make_job: MakeJob, steps: list[tuple[int, int, bool]]
) -> None:
    registry = JobRegistry()
    for number in range(5):
        registry.add(
            make_job(job_id=f"j{number}", operation=f"op{number % 2}", on_stream=number % 3 == 0)
        )
    for which, by, forget in steps:
        job_id = f"j{which}"
        if job_id not in registry:
            continue
        job = registry.get(job_id)
        advance(job, by)
        if forget and job.finished:
            registry.forget(job_id)

    held = list(registry)
    for state in State:
        mine = [job for job in held if job.state is state]
        assert registry.count(state) == len(mine)
        assert registry.by_operation(state) == Counter(job.operation for job in mine)
        assert registry.count(state, operation="op1") == sum(j.operation == "op1" for j in mine)
    assert registry.count() == len(registry) == len(held)
    assert registry.deferred() == sum(job.deferred for job in held)


def test_a_job_is_found_by_its_id(make_job: MakeJob) -> None:
    registry = filled(make_job, 3)

    assert registry.get("j1").id == "j1"
    assert "j1" in registry
    with pytest.raises(JobNotFound, match="'j9'"):
        registry.get("j9")


def test_an_id_is_taken_once(make_job: MakeJob) -> None:
    registry = filled(make_job, 1)

    with pytest.raises(ValueError, match="already a job j0"):
        registry.add(make_job(job_id="j0"))


def test_only_a_finished_job_can_be_forgotten(make_job: MakeJob) -> None:
    registry = filled(make_job, 1)
    job = registry.get("j0")

    with pytest.raises(NotFinished, match="still queued"):
        registry.forget("j0")
    jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=9)

    assert registry.forget("j0") is job
    assert len(registry) == registry.count() == 0
    with pytest.raises(JobNotFound):
        registry.forget("j0")


def test_what_happens_to_a_forgotten_job_is_not_counted(make_job: MakeJob) -> None:
    registry = filled(make_job, 1)
    job = registry.get("j0")
    jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=9)
    registry.forget("j0")

    job.on_change(job)

    assert registry.count() == 0


def test_jobs_are_listed_newest_first(make_job: MakeJob) -> None:
    registry = filled(make_job, 4)

    assert ids(registry) == ["j3", "j2", "j1", "j0"]
    assert [job.id for job in registry] == ["j3", "j2", "j1", "j0"]


@given(count=st.integers(0, 12), limit=st.integers(1, 6))
def test_the_pages_together_are_the_list(make_job: MakeJob, count: int, limit: int) -> None:
    registry = filled(make_job, count)

    assert ids(registry, limit=limit) == [f"j{n}" for n in reversed(range(count))]


def test_jobs_that_come_and_go_meanwhile_do_not_move_the_pages(make_job: MakeJob) -> None:
    registry = filled(make_job, 6)
    page = registry.find(limit=2)
    for job_id in ("j4", "j3"):
        jobs.cancel(registry.get(job_id), origin=CancelOrigin.CLIENT, now_ns=9)
        registry.forget(job_id)
    registry.add(make_job(job_id="new"))

    following = registry.find(cursor=page.next, limit=2)

    assert [job.id for job in following.jobs] == ["j2", "j1"]
    assert following.total == 5


def test_filters_select_and_all_must_hold(make_job: MakeJob) -> None:
    registry = JobRegistry()
    registry.add(make_job(State.RUNNING, job_id="a", now_ns=10, tags={"team": "red", "x": "1"}))
    registry.add(make_job(State.QUEUED, job_id="b", now_ns=20, tags={"team": "blue"}))
    registry.add(make_job(State.RUNNING, job_id="c", now_ns=30, operation="other"))

    assert ids(registry, JobFilter(states=frozenset({State.RUNNING}))) == ["c", "a"]
    assert ids(registry, JobFilter(states=frozenset(TERMINAL))) == []
    assert ids(registry, JobFilter(operation="op")) == ["b", "a"]
    assert ids(registry, JobFilter(operation="op", states=frozenset({State.QUEUED}))) == ["b"]
    assert ids(registry, JobFilter(tag=("team",))) == ["b", "a"]
    assert ids(registry, JobFilter(tag=("team:red",))) == ["a"]
    assert ids(registry, JobFilter(tag=("team", "x:1"))) == ["a"]
    assert ids(registry, JobFilter(tag=("team:",))) == []
    assert ids(registry, JobFilter(since=20)) == ["c", "b"]
    assert ids(registry, JobFilter(until=20)) == ["a"]
    assert ids(registry, JobFilter(since=20, until=30)) == ["b"]
    assert ids(registry, JobFilter(text="OTHER")) == ["c"]
    assert ids(registry, JobFilter(text="m:Red")) == ["a"]
    assert ids(registry, JobFilter(text="nothing")) == []


def test_a_tag_value_may_have_colons(make_job: MakeJob) -> None:
    registry = filled(make_job, 1, tags={"url": "http://x"})

    assert ids(registry, JobFilter(tag=("url:http://x",))) == ["j0"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "\ud800",
        "a" * 10_000,
        "====",
        "YmVmb3JlOjA",
        "YmVmb3JlOjE=",
        "YmVmb3Jl\nOjE",
        "YmVmb3JlOjk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
    ],
)
def test_a_cursor_that_is_not_ours_is_refused(make_job: MakeJob, cursor: str) -> None:
    registry = filled(make_job, 2)

    with pytest.raises(InvalidCursor):
        registry.find(cursor=cursor)


@given(st.text())
def test_any_text_is_a_cursor_of_ours_or_refused(make_job: MakeJob, cursor: str) -> None:
    registry = filled(make_job, 2)

    with suppress(InvalidCursor):
        registry.find(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_limit(make_job: MakeJob, limit: int) -> None:
    with pytest.raises(InvalidFilter, match="1 to 1000"):
        filled(make_job, 1).find(limit=limit)

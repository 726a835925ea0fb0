"""The `state` event in bytes is what an encoder makes of its fields."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine import states
from app.jobs import job as jobs
from app.jobs.model import Failure, Job
from app.jobs.policy import Policy
from app.jobs.submission import Submission
from telemetry.clock import rfc3339
from telemetry.names import Priority, Reason, State

pytestmark = pytest.mark.backend("memory")

AT = "2026-01-02T03:04:05.678901Z"

sequences = st.integers(1, 2**40)
tags = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=3)


@st.composite
def any_job(draw: st.DrawFn) -> Job:
    """A job in any state, however it came there."""
    submission = Submission.model_construct(
        operation=draw(st.sampled_from(["render", "a.b:c-d"])), tags=draw(tags)
    )
    policy = Policy(priority=draw(st.sampled_from(Priority)))
    job = jobs.submit(
        submission, job_id=draw(st.text(max_size=8)), policy=policy, now_ns=0, now_mono=0.0
    )
    job.state = draw(st.sampled_from(State))
    job.attempt = draw(st.integers(0, 10**6))
    job.next_retry_ns = draw(st.none() | st.integers(0, 2**61))
    if job.state is State.FAILED:
        job.failure = Failure(reason=draw(st.sampled_from(Reason)), type="T", message="m")
    return job


@given(any_job(), sequences)
def test_a_story_tells_it(job: Job, sequence: int) -> None:
    told = list(json.loads(states.in_story(job, sequence, AT)).items())

    assert told == [("seq", sequence), ("at", AT), *_state(job), *_attempt(job)]


@given(any_job(), sequences)
def test_the_feed_tells_it_with_whose_it_is(job: Job, sequence: int) -> None:
    told = list(json.loads(states.in_feed(job, sequence, AT)).items())

    assert told == [
        ("seq", sequence),
        ("at", AT),
        ("job_id", job.id),
        ("operation", job.operation),
        *_state(job),
        ("priority", job.policy.priority),
        *_attempt(job),
        ("tags", job.tags),
    ]


def _state(job: Job) -> list[tuple[str, Any]]:
    return [("state", job.state), ("reason", job.reason)]


def _attempt(job: Job) -> list[tuple[str, Any]]:
    due = None if job.next_retry_ns is None else rfc3339(job.next_retry_ns)
    return [("attempt", job.attempt), ("next_retry_at", due)]

"""Jobs for tests: made the way the engine makes them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from app.jobs import job as jobs
from app.jobs.job import AttemptError, Failure, Job
from app.jobs.policy import Policy
from app.jobs.submission import Submission
from telemetry.names import CancelOrigin, Outcome, Reason, State

MakeJob = Callable[..., Job]

# An example's time says more about the machine's load than about the code: no deadline.
settings.register_profile("jobs", deadline=None)
settings.load_profile("jobs")


@pytest.fixture(scope="session")
def make_job() -> MakeJob:
    """Makes a job in any state, by the steps that lead there."""

    def make(
        state: State = State.QUEUED,
        *,
        job_id: str = "j1",
        policy: Policy | None = None,
        now_ns: int = 0,
        on_stream: bool = False,
        **submitted: Any,
    ) -> Job:
        start = "on_stream" if on_stream else "on_submit"
        submission = Submission.model_validate({"operation": "op", "start": start, **submitted})
        job = jobs.submit(
            submission, job_id=job_id, policy=policy or Policy(), now_ns=now_ns, now_mono=0.0
        )
        if not on_stream:
            _lead(job, state)
        return job

    return make


def _lead(job: Job, state: State) -> None:
    jobs.queue(job, now_ns=1, now_mono=1.0)
    if state is State.QUEUED:
        return
    if state is State.CANCELLED:
        jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=2)
        return
    jobs.start(job, now_ns=2)
    if state is State.RUNNING:
        return
    if state is State.CANCELLING:
        jobs.cancel(job, origin=CancelOrigin.CLIENT, now_ns=3)
        return
    if state is State.COMPLETED:
        jobs.end_attempt(job, outcome=Outcome.COMPLETED, now_ns=3)
        jobs.succeed(job, result=b'{"n":1}', now_ns=3)
        return
    error = AttemptError(type="ValueError", message="no")
    jobs.end_attempt(job, outcome=Outcome.ERROR, error=error, now_ns=3)
    if state is State.RETRYING:
        jobs.schedule_retry(job, next_retry_ns=10)
    else:
        failure = Failure(reason=Reason.ERROR, type=error.type, message=error.message)
        jobs.fail(job, failure, now_ns=3)

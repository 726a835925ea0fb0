import re
from collections.abc import Callable

import pytest

from app.jobs import job as jobs
from app.jobs.job import Job, Progress
from app.jobs.policy import Policy
from app.jobs.record import JobRecord, record_of
from telemetry.names import CancelOrigin, Outcome, Priority, State

MakeJob = Callable[..., Job]

FIELDS = [
    "id",
    "operation",
    "params",
    "state",
    "reason",
    "priority",
    "tags",
    "metadata",
    "created_at",
    "started_at",
    "finished_at",
    "queue_position",
    "attempt",
    "attempts",
    "next_retry_at",
    "progress",
    "result",
    "failure",
    "cancel",
    "trace_id",
    "retry_of",
    "links",
]


@pytest.mark.parametrize("state", State)
def test_the_record_of_a_job_in_any_state_is_valid_and_has_its_fields_in_order(
    make_job: MakeJob, state: State
) -> None:
    record = record_of(make_job(state), queue_position=3, links={"self": "/v1/jobs/j1"})

    written = record.model_dump_json()

    assert JobRecord.model_validate_json(written, strict=True).model_dump_json() == written
    assert list(record.model_dump()) == FIELDS
    assert (record.state, record.queue_position) == (state, 3)
    assert record.links == {"self": "/v1/jobs/j1"}


def test_a_new_job_has_nothing_to_tell_yet(make_job: MakeJob) -> None:
    job = make_job(
        params={"n": 1},
        tags={"a": "b"},
        metadata={"m": None},
        policy=Policy(priority=Priority.HIGH),
    )

    record = record_of(job).model_dump(mode="json")

    assert record == {
        "id": "j1",
        "operation": "op",
        "params": {"n": 1},
        "state": "queued",
        "reason": None,
        "priority": "high",
        "tags": {"a": "b"},
        "metadata": {"m": None},
        "created_at": "1970-01-01T00:00:00.000000Z",
        "started_at": None,
        "finished_at": None,
        "queue_position": None,
        "attempt": 0,
        "attempts": [],
        "next_retry_at": None,
        "progress": None,
        "result": None,
        "failure": None,
        "cancel": None,
        "trace_id": None,
        "retry_of": None,
        "links": {},
    }


def test_a_failed_attempt_is_told_with_its_error(make_job: MakeJob) -> None:
    record = record_of(make_job(State.RETRYING)).model_dump(mode="json")

    assert record["attempts"] == [
        {
            "number": 1,
            "started_at": "1970-01-01T00:00:00.000000Z",
            "finished_at": "1970-01-01T00:00:00.000000Z",
            "outcome": "error",
            "error": {"type": "ValueError", "message": "no"},
            "span_id": None,
        }
    ]
    assert record["next_retry_at"] is not None


def test_a_result_a_failure_and_progress_are_told(make_job: MakeJob) -> None:
    completed, failed = make_job(State.COMPLETED), make_job(State.FAILED)
    completed.progress = Progress(done=1, total=2, text="half")

    assert record_of(completed).result == {"n": 1}
    assert record_of(completed).model_dump()["progress"] == {"done": 1, "total": 2, "text": "half"}
    assert record_of(failed).model_dump(mode="json")["failure"] == {
        "reason": "error",
        "type": "ValueError",
        "message": "no",
    }
    assert record_of(failed).reason == "error"


def test_an_abandoned_cancellation_says_so(make_job: MakeJob) -> None:
    job = make_job(State.RUNNING)
    jobs.cancel(job, origin=CancelOrigin.SHUTDOWN, now_ns=1_000_000_000)
    jobs.end_attempt(job, outcome=Outcome.CANCELLED, now_ns=2_000_000_000)
    jobs.stop(job, now_ns=2_000_000_000, abandoned=True)

    assert record_of(job).model_dump(mode="json")["cancel"] == {
        "origin": "shutdown",
        "requested_at": "1970-01-01T00:00:01.000000Z",
        "abandoned": True,
    }


def test_every_field_is_described_in_the_schema_and_always_there() -> None:
    schema = JobRecord.model_json_schema()

    for form in [schema, *schema["$defs"].values()]:
        for name, field in form.get("properties", {}).items():
            assert field.get("description"), name
        assert set(form.get("required", [])) == set(form.get("properties", {}))
    assert not re.search(r"\bdefault\b", str(schema["properties"]))

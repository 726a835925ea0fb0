"""Jobs are submitted, validated, refused, read, listed, repeated and forgotten."""

import re
from typing import Any

import pytest

from tests.clients.server import until
from tests.conformance.service import Service, refused

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
RECORD = {
    *("id", "operation", "params", "state", "reason", "priority", "tags", "metadata"),
    *("created_at", "started_at", "finished_at", "queue_position", "attempt", "attempts"),
    *("next_retry_at", "progress", "result", "failure", "cancel", "trace_id", "retry_of", "links"),
}


def test_a_submission_is_answered_with_its_record_and_where_to_find_it(service: Service) -> None:
    answer = service.post({"operation": "add", "params": {"a": 1}, "tags": {"k": "v"}})
    record = answer.json()

    assert answer.status_code == 202
    assert answer.headers["location"] == record["links"]["self"] == f"/v1/jobs/{record['id']}"
    assert record.keys() >= RECORD
    assert {"self", "stream", "narration", "trace"} <= record["links"].keys()
    assert (record["operation"], record["tags"]) == ("add", {"k": "v"})
    assert TIME.fullmatch(record["created_at"])


def test_a_finished_record_has_its_result_its_attempt_and_its_times(service: Service) -> None:
    record = service.ended(
        service.submit("add", {"a": 2}, metadata={"deep": [1, {"b": None}]})["id"]
    )

    assert (record["state"], record["reason"], record["result"]) == ("completed", None, 3)
    assert record["params"] == {"a": 2}
    assert record["metadata"] == {"deep": [1, {"b": None}]}
    (attempt,) = record["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["error"]) == (1, "completed", None)
    times = [
        *(record["created_at"], attempt["started_at"]),
        *(attempt["finished_at"], record["finished_at"]),
    ]
    assert times == sorted(times)
    assert all(TIME.fullmatch(each) for each in times)


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "add"},
        {"operation": "add", "params": {"a": "one"}},
        {"operation": "add", "params": {"a": 1, "c": 2}},
        {"operation": "add", "params": {"a": 1}, "surprise": 1},
        {"operation": "add", "params": {"a": 1}, "priority": "urgent"},
        {"operation": "add", "params": {"a": 1}, "timeout_s": -1},
        {"operation": "add", "params": {"a": 1}, "deadline_s": 1e308},
        {"operation": "add", "params": {"a": 1}, "retry": {"max_attempts": 0}},
        {"params": {}},
        [],
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(service: Service, body: Any) -> None:
    before = service.get("/v1/jobs").json()["total"]

    refused(service.post(body), 422)
    assert service.get("/v1/jobs").json()["total"] == before


def test_an_operation_that_is_not_there_is_refused(service: Service) -> None:
    assert refused(service.post({"operation": "none"}), 404)


def test_a_body_that_is_no_json_is_refused(service: Service) -> None:
    headers = {"content-type": "application/json"}
    refused(service.api().post("/v1/jobs", content=b"{", headers=headers), 400)
    plain = {"content-type": "text/plain"}
    refused(service.api().post("/v1/jobs", content=b"{}", headers=plain), 415)


@pytest.mark.parametrize("path", ["", "/stream", "/narration", "/trace"])
def test_a_job_that_is_not_there_is_not_found(service: Service, path: str) -> None:
    refused(service.get(f"/v1/jobs/00000000-0000-4000-8000-000000000000{path}"), 404)


def test_jobs_are_listed_newest_first_in_pages_by_filters(service: Service) -> None:
    jobs = [
        service.submit("add", {"a": n}, tags={"list": "l", "n": str(n)})["id"] for n in range(5)
    ]
    for job in jobs:
        service.ended(job)
    page = service.get("/v1/jobs", tag="list:l", limit=2).json()
    listed = [each["id"] for each in page["jobs"]]
    while page["next"]:
        service.submit("add", {"a": 0}, tags={"other": "o"})  # a new one moves no page
        page = service.get("/v1/jobs", tag="list:l", limit=2, cursor=page["next"]).json()
        listed += [each["id"] for each in page["jobs"]]

    assert listed == jobs[::-1]
    assert page["total"] == 5
    assert service.found(tag="n:3") == [jobs[3]]
    assert service.found(tag="list", state="completed", operation="add") == jobs[::-1]
    assert service.found(tag="list", state="failed") == []
    third = service.record(jobs[3])["created_at"]
    assert service.found(tag="list", since=third) == [jobs[4], jobs[3]]
    assert service.found(tag="list", until=third) == jobs[2::-1]
    refused(service.get("/v1/jobs", cursor="nonsense"), 422)
    refused(service.get("/v1/jobs", state="nonsense"), 422)


def test_a_wait_ends_with_the_job_or_with_its_time(service: Service, gate: Any) -> None:
    job = service.submit("gated", {"gate": str(gate)})["id"]

    assert service.record(job, wait=0.1)["state"] in {"queued", "running"}
    gate.touch()
    assert service.record(job, wait=20)["state"] == "completed"


def test_a_key_gives_the_first_job_and_refuses_another_body(service: Service) -> None:
    headers = {"idempotency-key": "once"}
    body = {"operation": "add", "params": {"a": 1}}
    first, second = (service.post(body, headers=headers) for _ in range(2))

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    other = {"operation": "add", "params": {"a": 2}}
    refused(service.post(other, headers=headers), 422)
    refused(service.post({"operation": "none"}, headers={"idempotency-key": "bad"}), 404)
    again = service.post(body, headers={"idempotency-key": "bad"})
    assert again.status_code == 202


def test_a_finished_job_can_be_run_again_with_changes(service: Service, gate: Any) -> None:
    old = service.submit("add", {"a": 1, "b": 5}, tags={"t": "u"})["id"]
    service.ended(old)
    answer = service.api().post(f"/v1/jobs/{old}/retry", json={"params": {"a": 2}})
    record = service.ended(answer.json()["id"])

    assert answer.status_code == 202
    assert (record["retry_of"], record["result"], record["tags"]) == (old, 7, {"t": "u"})
    running = service.submit("gated", {"gate": str(gate)})["id"]
    refused(service.api().post(f"/v1/jobs/{running}/retry"), 409)
    gate.touch()
    service.ended(running)


def test_a_finished_job_can_be_forgotten_and_an_unfinished_one_cannot(
    service: Service, gate: Any
) -> None:
    job = service.submit("gated", {"gate": str(gate)})["id"]

    refused(service.api().delete(f"/v1/jobs/{job}"), 409)
    gate.touch()
    service.ended(job)
    assert service.api().delete(f"/v1/jobs/{job}").status_code == 204
    refused(service.get(f"/v1/jobs/{job}"), 404)
    refused(service.api().delete(f"/v1/jobs/{job}"), 404)
    assert job not in service.found(limit=1000)


def test_operations_are_described_by_their_schemas(service: Service) -> None:
    answer = service.get("/v1/operations").json()
    described = {each["name"]: each for each in answer["operations"]}

    assert described["add"]["description"] == "Add two numbers."
    schema = described["add"]["schema"]
    assert schema["required"] == ["a"]


def test_finished_jobs_beyond_the_limits_are_forgotten_oldest_first(own: Any) -> None:
    with own(retention_jobs=3) as service:
        jobs = [service.submit("add", {"a": n})["id"] for n in range(5)]
        until(lambda: len(service.found()) == 3, what="the end of two jobs")
        left = service.found()
        for job in left:
            service.ended(job)
        assert set(left) <= set(jobs)


def test_a_full_queue_is_said_with_when_to_come_again(own: Any, gate: Any) -> None:
    with own(concurrency=1, queue_limit=2) as service:
        running = service.submit("gated", {"gate": str(gate)})["id"]
        service.reaches(running, "running")
        waiting = [service.submit("add", {"a": 1})["id"] for _ in range(2)]
        answer = service.post({"operation": "add", "params": {"a": 1}})

        refused(answer, 429)
        assert int(answer.headers["retry-after"]) >= 1
        gate.touch()
        for job in (running, *waiting):
            assert service.ended(job)["state"] == "completed"

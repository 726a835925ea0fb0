"""The life of a job: it waits, runs, is tried again, runs out of time, is cancelled."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.server import until
from tests.conformance.service import Service, refused

AT_ONCE = {"max_attempts": 3, "base_delay_s": 0.01}


def test_states_are_told_in_the_order_of_the_table(service: Service) -> None:
    job = service.submit("flaky", {"times": 1}, retry=AT_ONCE)["id"]

    assert service.ended(job)["state"] == "completed"
    assert service.states(job) == [
        *("queued", "running", "retrying", "queued", "running", "completed")
    ]


def test_a_deferred_job_is_started_by_its_first_stream(service: Service) -> None:
    job = service.submit("add", {"a": 1}, start="on_stream")

    assert (job["state"], job["queue_position"]) == ("queued", None)
    service.get(f"/v1/jobs/{job['id']}/narration")
    service.story(job["id"], follow="false")
    assert service.record(job["id"], wait=0.1)["state"] == "queued"
    assert service.story(job["id"])[-1].body["result"] == 2


def test_a_deferred_job_expires_when_nobody_comes(service: Service) -> None:
    record = service.ended(service.submit("hang", start="on_stream", attach_timeout_s=0.1)["id"])

    assert (record["state"], record["reason"]) == ("failed", "expired")
    assert record["attempts"] == []


def test_the_most_urgent_job_goes_first_and_the_oldest_within_a_priority(
    service: Service, gate: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    first = service.submit("alone", {"gate": str(gate), "log": str(log), "name": "first"})["id"]
    service.reaches(first, "running")
    names = ["low", "normal", "high", "critical", "normal", "critical"]
    jobs = [
        service.submit(
            "alone",
            {"gate": str(gate), "log": str(log), "name": f"{name} {number}"},
            priority=name,
        )["id"]
        for number, name in enumerate(names)
    ]
    gate.touch()
    for job in jobs:
        service.ended(job)

    assert log.read_text().splitlines() == [
        *("first", "critical 3", "critical 5", "high 2", "normal 1", "normal 4", "low 0")
    ]


def test_jobs_of_one_key_run_one_at_a_time(service: Service, gate: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    gate.touch()
    jobs = [
        service.submit("keyed", {"gate": str(gate), "log": str(log)}, concurrency_key="k")["id"]
        for _ in range(4)
    ]
    for job in jobs:
        service.ended(job)

    assert log.read_text().splitlines() == ["begin", "end"] * 4


# --- limits of time -------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["hang", "hang_in_a_thread", "hang_in_a_process"])
def test_an_attempt_that_runs_too_long_is_stopped(service: Service, operation: str) -> None:
    record = service.ended(service.submit(operation, timeout_s=0.1)["id"])

    assert (record["state"], record["reason"]) == ("failed", "timeout")
    assert [each["outcome"] for each in record["attempts"]] == ["timeout"]


def test_a_timed_out_attempt_is_tried_again(service: Service) -> None:
    retry = {"max_attempts": 2, "base_delay_s": 0.01}
    record = service.ended(service.submit("hang", timeout_s=0.1, retry=retry)["id"])

    assert [each["outcome"] for each in record["attempts"]] == ["timeout", "timeout"]


def test_a_job_that_waits_too_long_in_the_queue_expires(
    service: Service, gate: Path, tmp_path: Path
) -> None:
    params = {"gate": str(gate), "log": str(tmp_path / "log"), "name": "x"}
    first = service.submit("alone", params)["id"]
    service.reaches(first, "running")
    record = service.ended(service.submit("alone", params, queue_timeout_s=0.2)["id"])
    gate.touch()

    assert (record["state"], record["reason"]) == ("failed", "expired")
    assert service.ended(first)["state"] == "completed"


def test_a_deadline_ends_a_job_that_runs_one_that_waits_and_one_that_is_to_be_tried_again(
    service: Service,
) -> None:
    running = service.submit("hang", deadline_s=0.2)["id"]
    deferred = service.submit("hang", start="on_stream", deadline_s=0.2)["id"]
    retrying = service.submit(
        "flaky", {"times": 9}, deadline_s=0.5, retry={"max_attempts": 9, "base_delay_s": 60}
    )["id"]
    reasons = [service.ended(job)["reason"] for job in (running, deferred, retrying)]

    assert reasons == ["timeout", "expired", "timeout"]


# --- tried again ----------------------------------------------------------------------------------


def test_every_attempt_is_kept_with_its_error(service: Service) -> None:
    record = service.ended(service.submit("flaky", {"times": 9}, retry=AT_ONCE)["id"])

    assert (record["state"], record["reason"]) == ("failed", "error")
    assert [each["error"] for each in record["attempts"]] == [
        {"type": "ValueError", "message": f"attempt {number} failed"} for number in (1, 2, 3)
    ]
    assert record["failure"] == {
        "reason": "error",
        "type": "ValueError",
        "message": "attempt 3 failed",
    }


def test_a_job_that_is_to_be_tried_again_says_when(service: Service) -> None:
    retry = {"max_attempts": 2, "base_delay_s": 60, "jitter": "none"}
    job = service.submit("flaky", {"times": 1}, retry=retry)["id"]
    record = service.reaches(job, "retrying")

    assert record["next_retry_at"] > record["created_at"]
    assert service.cancel(job).json()["state"] == "cancelled"


def test_a_handler_may_ask_for_another_time_and_spends_no_attempt(service: Service) -> None:
    record = service.ended(service.submit("later", {"times": 2})["id"])

    assert (record["state"], record["result"]) == ("completed", 3)
    assert [each["outcome"] for each in record["attempts"]] == [
        *("retry_later", "retry_later", "completed")
    ]


def test_a_handler_may_refuse_for_good(service: Service) -> None:
    record = service.ended(service.submit("refuse", retry=AT_ONCE)["id"])

    assert (record["state"], record["reason"]) == ("failed", "rejected")
    assert [each["outcome"] for each in record["attempts"]] == ["rejected"]
    assert "this will never work" in record["failure"]["message"]


def test_a_checkpoint_reaches_the_next_attempt(service: Service) -> None:
    record = service.ended(service.submit("checkpointed", retry=AT_ONCE)["id"])

    assert (record["attempt"], record["result"]) == (2, {"page": 3})


# --- cancelled ------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["hang", "hang_in_a_thread", "hang_in_a_process"])
def test_a_running_job_is_cancelled_once_it_has_stopped(service: Service, operation: str) -> None:
    job = service.submit(operation)["id"]
    service.reaches(job, "running")
    answer = service.cancel(job)
    record = service.ended(job)

    assert answer.status_code == 202
    assert answer.json()["state"] in {"cancelling", "cancelled"}
    assert (record["state"], record["cancel"]["origin"]) == ("cancelled", "client")
    assert not record["cancel"]["abandoned"]
    assert [each["outcome"] for each in record["attempts"]] == ["cancelled"]
    assert service.states(job) == ["queued", "running", "cancelling", "cancelled"]


@pytest.mark.parametrize("how", ["deferred", "queued", "retrying"])
def test_a_waiting_job_is_cancelled_at_once(
    service: Service, how: str, gate: Path, tmp_path: Path
) -> None:
    params = {"gate": str(gate), "log": str(tmp_path / "log"), "name": "x"}
    other = service.submit("alone", params)["id"] if how == "queued" else None
    if other:
        service.reaches(other, "running")
    kinds: dict[str, dict[str, Any]] = {
        "deferred": {"operation": "hang", "start": "on_stream"},
        "queued": {"operation": "alone", "params": params},
        "retrying": {
            "operation": "flaky",
            "params": {"times": 1},
            "retry": {"max_attempts": 2, "base_delay_s": 60},
        },
    }
    job = service.submit(**kinds[how])["id"]
    service.reaches(job, "retrying" if how == "retrying" else "queued")

    assert service.cancel(job).json()["state"] == "cancelled"
    assert service.ended(job)["state"] == "cancelled"
    gate.touch()
    if other:
        service.ended(other)


def test_a_cancel_may_be_repeated_until_it_has_come_to_its_end(
    service: Service, gate: Path
) -> None:
    job = service.submit("deaf", {"gate": str(gate)})["id"]
    service.reaches(job, "running")
    answers = [service.cancel(job) for _ in range(2)]
    gate.touch()
    record = service.ended(job)

    assert [each.status_code for each in answers] == [202, 202]
    assert (record["state"], record["result"]) == ("cancelled", None)
    refused(service.cancel(job), 409)


def test_a_handler_that_will_not_stop_is_abandoned(service: Service, gate: Path) -> None:
    job = service.submit("deaf", {"gate": str(gate)})["id"]
    service.reaches(job, "running")
    service.cancel(job)
    record = service.ended(job)
    gate.touch()

    assert (record["state"], record["cancel"]["abandoned"]) == ("cancelled", True)


def test_a_job_is_cancelled_when_its_last_watcher_has_left_if_that_was_asked_for(
    service: Service,
) -> None:
    asked, other = (
        service.submit("hang", cancel_when_unwatched=each)["id"] for each in (True, False)
    )
    for job in (asked, other):
        with service.following(job) as heard:
            heard.next()
    record = service.ended(asked)

    assert (record["state"], record["cancel"]["origin"]) == ("cancelled", "unwatched")
    assert service.record(other)["state"] == "running"
    service.cancel(other)
    until(lambda: service.record(other)["state"] == "cancelled")

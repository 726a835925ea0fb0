"""The server as a whole: its feed, its numbers, its end, and what is there after it."""

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.clients.server import until
from tests.clients.wire import stream
from tests.conformance.service import Service, refused

Own = Callable[..., AbstractContextManager[Service]]

AGAIN = {"max_attempts": 2, "base_delay_s": 0.01}


def test_the_feed_tells_each_change_of_state_of_all_jobs(service: Service) -> None:
    with stream(service.api(), "/v1/stream") as heard:
        job = service.submit("add", {"a": 1}, tags={"feed": "f"})["id"]
        told = [
            frame.body for frame in heard.until('"completed"') if frame.body.get("job_id") == job
        ]

    assert [each["state"] for each in told] == ["queued", "running", "completed"]
    assert told[0]["tags"] == {"feed": "f"}


def test_there_are_metrics_of_what_has_happened(service: Service) -> None:
    service.ended(service.submit("add", {"a": 1})["id"])
    text = service.get("/metrics").text

    for name in ("jobs_submitted_total", "jobs_finished_total", "jobs_running", "streams_open"):
        assert f"narrator_{name}" in text, name


def test_health_is_told(service: Service) -> None:
    assert service.get("/livez").status_code == service.get("/readyz").status_code == 200


def test_a_drain_ends_what_runs_and_tells_the_streams(own: Own, gate: Path) -> None:
    with own(drain_s=20) as service:
        running = service.submit("gated", {"gate": str(gate)})["id"]
        service.reaches(running, "running")
        with service.following(running) as heard:
            heard.until("before 0")
            service.server.process.send_signal(signal.SIGTERM)
            assert heard.rest()[-1].event == "draining"
        until(lambda: service.get("/readyz").status_code == 503, what="a drain")
        refused(service.post({"operation": "add", "params": {"a": 1}}), 503)
        with service.following(running) as heard:
            gate.touch()
            assert heard.rest()[-1].body["marker"] == "[DONE]"
        assert service.server.process.wait(20) == 0
        if service.durable:
            service.restart()
            assert service.record(running)["state"] == "completed"


@pytest.mark.parametrize("kill", [False, True])
def test_what_a_durable_service_has_told_is_true_after_it_began_again(
    own: Own, kill: bool, gate: Path, tmp_path: Path
) -> None:
    with own() as service:
        if not service.durable:
            pytest.skip("its jobs go with it")
        done = service.submit("talk", tags={"a": "b"})["id"]
        record, story = service.ended(done), service.story(done)
        deferred = service.submit("add", {"a": 1}, start="on_stream")
        params = {"gate": str(gate), "log": str(tmp_path / "log"), "name": "n"}
        cut = service.submit("alone", params, retry=AGAIN)["id"]
        service.reaches(cut, "running")
        queued = service.submit("alone", params)["id"]
        lost = service.submit("hang")["id"]
        service.reaches(lost, "running")
        with service.following(cut) as heard:
            seen = heard.until("running")
        key = {"idempotency-key": "k"}
        body = {"operation": "add", "params": {"a": 1}}
        first = service.post(body, headers=key).json()["id"]
        service.restart(kill=kill)

        assert service.record(done) == record
        assert service.story(done) == story
        assert service.record(deferred["id"]) == deferred
        assert service.post(body, headers=key).json()["id"] == first
        ended = service.ended(lost)
        assert (ended["state"], ended["reason"]) == ("failed", "lost")
        gate.touch()
        with service.following(cut, headers={"last-event-id": str(seen[-1].id)}) as heard:
            rest = heard.rest()
        assert rest[0].body["seq"] == seen[-1].body["seq"] + 1
        assert rest[-1].body["marker"] == "[DONE]"
        outcomes = [each["outcome"] for each in service.record(cut)["attempts"]]
        assert outcomes == ["lost", "completed"]
        assert service.ended(queued)["state"] == "completed"
        assert service.story(deferred["id"])[-1].body["result"] == 2
        assert service.found(tag="a:b") == [done]

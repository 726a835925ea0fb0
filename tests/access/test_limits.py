"""What one tenant may have at most, and that another's share is left alone."""

import asyncio
from pathlib import Path

import httpx

from tests.access.closed import THEIRS, Caller, Closed, run


def refused(answer: httpx.Response, kind: str, setting: str, limit: float) -> None:
    """It is a 429 that says which limit was reached, and when to come again."""
    assert answer.status_code == 429, answer.text
    problem = answer.json()
    assert problem["type"] == f"urn:job-narrator:problem:{kind}"
    assert problem["legal"] == {setting: limit}
    assert setting in problem["detail"]
    assert int(answer.headers["retry-after"]) >= 1


async def posted(caller: Caller, operation: str = "forever") -> httpx.Response:
    """The answer to a submission."""
    return await caller.call("POST", "/v1/jobs", json={"operation": operation})


def counted(server: Closed, reason: str) -> float | None:
    """How many submissions were refused for that reason."""
    metrics = server.narrator.metrics
    assert metrics is not None
    name = "narrator_submissions_refused_total"
    return metrics.registry.get_sample_value(name, {"reason": reason})


def test_who_submits_too_fast_is_told_and_others_are_not(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        attacker, again, other = server.caller(THEIRS), server.caller(THEIRS), server.caller()
        assert [(await posted(attacker)).status_code for _ in range(2)] == [202] * 2
        for caller in (attacker, again):  # keys of one tenant share its rate
            refused(await posted(caller), "tenant-rate", "NARRATOR_TENANT_RATE", 0.01)
        assert (await posted(other)).status_code == 202
        assert counted(server, "tenant-rate") == 2

    run(tmp_path, attack, tenant_rate=0.01, tenant_burst=2)


def test_a_retry_is_a_submission_too(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        caller = server.caller()
        job_id = await caller.ended()
        told = await caller.call("POST", f"/v1/jobs/{job_id}/retry")
        refused(told, "tenant-rate", "NARRATOR_TENANT_RATE", 0.01)

    run(tmp_path, attack, tenant_rate=0.01, tenant_burst=1)


def test_no_more_jobs_of_a_tenant_wait_than_may(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        attacker, other = server.caller(THEIRS), server.caller()
        await attacker.submit("forever")
        await asyncio.sleep(0.05)  # it has the one slot
        await attacker.submit("forever", start="on_stream")
        await attacker.submit("forever")
        full = await posted(attacker)
        refused(full, "tenant-queue-full", "NARRATOR_TENANT_QUEUED", 2)
        assert (await posted(other)).status_code == 202
        assert counted(server, "tenant-queue-full") == 1

    run(tmp_path, attack, concurrency=1, tenant_queued=2)


def test_no_more_jobs_of_a_tenant_run_than_may_and_the_rest_wait(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        attacker, other = server.caller(THEIRS), server.caller()
        jobs = [await attacker.submit("forever") for _ in range(5)]
        await other.ended()
        states = [(await attacker.get(f"/v1/jobs/{each}"))["state"] for each in jobs]
        assert states == ["running", "running", "queued", "queued", "queued"]
        await attacker.call("POST", f"/v1/jobs/{jobs[0]}/cancel")
        await attacker.get(f"/v1/jobs/{jobs[0]}", wait=10)
        await asyncio.sleep(0.05)
        assert (await attacker.get(f"/v1/jobs/{jobs[2]}"))["state"] == "running"
        assert (await attacker.get(f"/v1/jobs/{jobs[3]}"))["state"] == "queued"

    run(tmp_path, attack, concurrency=4, tenant_running=2)


def test_no_more_streams_of_a_tenant_are_open_than_may_be(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        attacker, other = server.caller(THEIRS), server.caller()
        job_id = await attacker.submit("forever")
        paths = (f"/v1/jobs/{job_id}/stream", "/v1/stream")
        asked = [asyncio.create_task(attacker.call("GET", paths[at % 2])) for at in range(10)]
        done: set[asyncio.Task[httpx.Response]] = set()
        while len(done) < 8:
            done, _ = await asyncio.wait(asked, return_when="FIRST_COMPLETED", timeout=0.05)
            done = {each for each in asked if each.done()}
        for each in done:
            refused(each.result(), "tenant-streams", "NARRATOR_TENANT_STREAMS", 2)
        for query in ("", "?follow=false", "?offset=now&live=sse", "?offset=now&live=long-poll"):
            told = await attacker.call("GET", paths[0] + query)
            refused(told, "tenant-streams", "NARRATOR_TENANT_STREAMS", 2)
        assert (await attacker.call("HEAD", paths[0])).status_code == 200
        assert (await attacker.call("GET", f"{paths[0]}?offset=-1")).status_code == 200
        told = await other.call("GET", "/v1/stream?follow=false")
        assert told.status_code == 200
        assert (await attacker.get("/v1/overview"))["streams"] == 2
        assert (await other.get("/v1/overview"))["streams"] == 0
        server.narrator.engine.streams.drain()
        await asyncio.gather(*asked)
        assert (await attacker.call("GET", "/v1/stream?follow=false")).status_code == 200

    run(tmp_path, attack, tenant_streams=2)

"""What one tenant can learn or do of another's, where no job's id is named: lists, keys, feeds."""

import asyncio
import base64
import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.keys_file import Scope
from app.jobs.errors import JobNotFound
from tests.access.closed import OURS, THEIRS, WAIT_S, Closed, run


def feed_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events' data of a stream that is over."""
    assert answer.status_code == 200, answer.text
    lines = answer.text.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def test_lists_totals_and_filters_are_of_ones_own_jobs(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        owner, attacker = server.caller(), server.caller(THEIRS, [Scope.ADMIN])
        await owner.ended("say", params={"text": "find-me"}, tags={"team": "x"})
        mine = await attacker.ended(tags={"team": "x"})
        for query in (
            {},
            {"state": "completed"},
            {"text": "find-me"},
            {"tag": "team"},
            {"tag": "team:x"},
            {"operation": "say"},
            {"since": "2020-01-01T00:00:00Z"},
            {"limit": 1},
        ):
            page = await attacker.get("/v1/jobs", **query)
            there = [] if {"text", "operation"} & set(query) else [mine]
            assert [each["id"] for each in page["jobs"]] == there
            assert (page["total"], page["next"]) == (len(there), None)

    run(tmp_path, attack)


def test_a_cursor_says_nothing_of_others_and_is_of_no_use_to_them(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        owner, attacker = server.caller(), server.caller(THEIRS)
        for _ in range(3):
            await owner.submit()
            await attacker.submit()
        mine = (await attacker.get("/v1/jobs", limit=2))["next"]
        theirs = (await owner.get("/v1/jobs", limit=2))["next"]
        assert (await attacker.get("/v1/jobs", limit=2, cursor=mine))["next"] is None
        raw = base64.urlsafe_b64decode(mine)
        forged = [theirs, mine[:-1], mine + "A", mine.swapcase(), "", "é" * 32]
        forged += [
            base64.urlsafe_b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).decode()
            for at in range(len(raw))
        ]
        for cursor in forged:
            told = await attacker.call("GET", "/v1/jobs", params={"cursor": cursor})
            assert told.status_code == 422
            assert told.json()["type"].endswith("invalid-cursor")
        assert b"before" not in raw

    run(tmp_path, attack)


def test_numbers_and_places_in_the_queue_are_of_ones_own_jobs(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        owner, attacker = server.caller(), server.caller(THEIRS)
        empty = await attacker.get("/v1/overview")
        for start in ("on_submit", "on_submit", "on_stream"):
            await owner.submit("forever", start=start)
        await asyncio.sleep(0)
        seen = await attacker.get("/v1/overview")
        assert {**seen, "at": 0} == {**empty, "at": 0}
        mine = await attacker.submit("forever")
        assert (await attacker.get(f"/v1/jobs/{mine}"))["queue_position"] == 0
        told = await attacker.get(f"/v1/jobs/{mine}/narration")
        queued = [each["data"] for each in told["events"] if each["event"] == "narration"]
        assert "1" not in queued[0]["text"]
        assert (await owner.get("/v1/overview"))["deferred"] == 1

    run(tmp_path, attack, concurrency=1)


def test_an_idempotency_key_is_its_tenants(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        owner, attacker = server.caller(), server.caller(THEIRS)
        same = {"headers": {"idempotency-key": "k"}, "json": {"operation": "add"}}
        other = {"headers": {"idempotency-key": "k"}, "json": {"operation": "forever"}}
        mine = (await owner.call("POST", "/v1/jobs", **same)).json()["id"]
        theirs = await attacker.call("POST", "/v1/jobs", **other)
        assert theirs.status_code == 202
        assert theirs.json()["id"] != mine
        assert (await owner.call("POST", "/v1/jobs", **same)).json()["id"] == mine
        old = await attacker.ended()
        again = {"headers": {"idempotency-key": "r"}}
        theirs = await attacker.call("POST", f"/v1/jobs/{old}/retry", **again)
        assert (await owner.call("POST", f"/v1/jobs/{old}/retry", **again)).status_code == 404
        assert (await owner.call("POST", f"/v1/jobs/{mine}/retry", **again)).status_code != 422
        repeated = await attacker.call("POST", f"/v1/jobs/{old}/retry", **again)
        assert repeated.json()["id"] == theirs.json()["id"]

    run(tmp_path, attack)


def test_a_concurrency_key_holds_back_no_other_tenant(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        owner, attacker = server.caller(), server.caller(THEIRS)
        await attacker.submit("forever", concurrency_key="k")
        await owner.ended(concurrency_key="k")

    run(tmp_path, attack)


def test_the_feed_and_its_ids_are_of_ones_own_jobs(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        owner, attacker = server.caller(), server.caller(THEIRS)
        theirs = await owner.ended()
        assert feed_of(await attacker.call("GET", "/v1/stream?follow=false")) == []
        mine = await attacker.ended()
        told = feed_of(await attacker.call("GET", "/v1/stream?follow=false"))
        assert {each["job_id"] for each in told} == {mine}
        assert [each["seq"] for each in told] == [*range(1, len(told) + 1)]
        answer = await owner.call("GET", "/v1/stream?follow=false")
        ids = [line[4:] for line in answer.text.splitlines() if line.startswith("id: ")]
        assert {each["job_id"] for each in feed_of(answer)} == {theirs}
        for headers in ({"last-event-id": ids[0]}, {"last-event-id": "00000000.1"}):
            again = await attacker.call("GET", "/v1/stream?follow=false", headers=headers)
            assert [each for each in feed_of(again) if "job_id" in each] == told

    run(tmp_path, attack)


def test_another_tenants_calls_in_process_find_nothing(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        job_id = await server.caller().ended()
        theirs = server.narrator.for_tenant(THEIRS)
        with pytest.raises(JobNotFound) as told:
            await theirs.result(job_id)
        assert "default" not in str(told.value)
        made = await theirs.submit("add")
        assert (await theirs.result(made.id, timeout_s=WAIT_S)).result == 2
        with pytest.raises(JobNotFound):
            await server.narrator.for_tenant(OURS).result(made.id)
        with pytest.raises(ValueError, match="tenant must be"):
            server.narrator.for_tenant("Not a name")

    run(tmp_path, attack)


def test_what_one_key_of_a_tenant_makes_another_of_it_reads(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        job_id = await server.caller().ended()
        reader = server.caller(scopes=[Scope.READ])
        assert (await reader.get(f"/v1/jobs/{job_id}"))["id"] == job_id
        assert (await reader.call("DELETE", f"/v1/jobs/{job_id}")).status_code == 403

    run(tmp_path, attack)


def test_a_token_opens_the_stream_it_is_for_and_nothing_else(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        owner, attacker = server.caller(scopes=[Scope.SUBMIT, Scope.READ]), server.caller(THEIRS)
        job_id, other = await owner.ended(), await owner.ended()
        theirs = await attacker.ended()
        made = await owner.call("POST", f"/v1/jobs/{job_id}/stream-token")
        assert made.status_code == 201
        assert made.headers["cache-control"] == "no-store"
        token, link = made.json()["token"], made.json()["stream"]
        feed = (await owner.call("POST", "/v1/stream-token")).json()["token"]
        for method in ("GET", "HEAD"):
            assert (await server.http.request(method, link)).status_code == 200
        read = await server.http.get(f"{link}&offset=-1")
        assert read.headers["cache-control"].startswith("private")
        assert (await server.http.get(f"/v1/stream?follow=false&token={feed}")).status_code == 200

        async def refused(path: str, status: int = 401, **options: Any) -> None:
            assert (await server.http.get(path, **options)).status_code == status, path

        for named in (other, theirs, str(uuid.uuid4())):
            await refused(f"/v1/jobs/{named}/stream?token={token}")
        await refused(f"/v1/jobs/{job_id}/stream?token={feed}")
        await refused(f"/v1/stream?token={token}")
        await refused(f"/v1/jobs/{job_id}/stream?token={token}&token={token}")
        await refused(f"/v1/jobs/{job_id}/stream?token=")
        await refused(link, headers={"authorization": "Bearer wrong"})
        for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/narration", "/v1/jobs", "/metrics"):
            await refused(f"{path}?token={token}", 422)
        await refused(f"/v1/jobs/{job_id}", headers={"authorization": f"Bearer {token}"})
        server.keys.write_text("")
        server.look()
        await refused(link)

    run(tmp_path, attack)


def test_no_token_is_made_for_anothers_job(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        job_id = await server.caller().ended()
        told = await server.caller(THEIRS).call("POST", f"/v1/jobs/{job_id}/stream-token")
        assert told.status_code == 404

    run(tmp_path, attack)


def test_an_open_stream_ends_when_its_key_does(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        owner = server.caller()
        job_id = await owner.submit("forever")
        answers = [
            asyncio.create_task(owner.call("GET", path))
            for path in (f"/v1/jobs/{job_id}/stream", "/v1/stream")
        ]
        while (await owner.get("/v1/overview"))["streams"] < 2:  # noqa: ASYNC110 — no event
            await asyncio.sleep(0)
        server.keys.write_text("")
        for answer in await asyncio.gather(*answers):
            assert answer.text.rstrip().splitlines()[-2] == "event: draining"
            assert "access_ended" in answer.text

    run(tmp_path, attack)

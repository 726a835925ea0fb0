"""Every route, attacked: by strangers, by keys that may not, by the other tenant.

A route that is not in `routes_table` fails the first test; one that is there is attacked by all.
"""

import asyncio
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

import httpx
import pytest
from fastapi import FastAPI

from app.access.keys_file import Scope
from app.http.access import READ
from app.http.routes import GuardedRoute, get_route, protect
from tests.access.closed import ALL, OURS, THEIRS, Caller, Closed, bearer, run
from tests.access.routes_table import CLOSED, NEEDS, OF_A_JOB, with_heads

NAMES: Final = {"name": "main.js"}


def path_of(template: str, job_id: str) -> str:
    """The path of a call on that job."""
    return template.format(job_id=job_id, **NAMES)


def url(path: str) -> str:
    """The address of a call; a stream that would not end is asked for what there is."""
    return f"{path}?follow=false" if path.endswith("/stream") else path


async def answer(
    server: Closed, call: tuple[str, str], job_id: str, headers: dict[str, str]
) -> httpx.Response:
    """What the call on that job is answered."""
    method, template = call
    body = {"operation": "add"} if call == ("POST", "/v1/jobs") else None
    return await server.http.request(
        method, url(path_of(template, job_id)), headers=headers, json=body
    )


def test_the_table_names_every_route_there_is(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        routes = server.narrator.application.router.routes
        there_are = {
            (method, each.path)
            for each in routes
            if isinstance(each, GuardedRoute)
            for method in each.methods or ()
        }

        assert there_are == set(with_heads(sorted(NEEDS)))
        assert all(isinstance(each, GuardedRoute) for each in routes)

    run(tmp_path, attack)


def test_the_document_says_what_opens_each_call_and_the_table_knows_all_of_them(
    tmp_path: Path,
) -> None:
    async def attack(server: Closed) -> None:
        document = await server.caller(scopes=[Scope.ADMIN]).get("/openapi.json")
        for path, calls in document["paths"].items():
            for method, call in calls.items():
                scope = NEEDS[method.upper(), path]
                token: list[dict[str, list[str]]] = (
                    [{"token": []}] if path.endswith("/stream") else []
                )
                assert call["security"] == ([{"key": [scope]}, *token] if scope else [])
                assert ("401" in call["responses"]) == (scope is not None)

        assert set(document["components"]["securitySchemes"]) == {"key", "token"}

    run(tmp_path, attack)


def test_a_route_that_does_not_say_what_it_needs_cannot_be_added(tmp_path: Path) -> None:
    app = FastAPI(openapi_url=None)

    async def secret() -> Any:
        """Tell everything."""

    with pytest.raises(TypeError, match="guard"):
        get_route(app, "/secret", secret)  # type: ignore[call-arg]  # that is what is tried
    app.add_api_route("/secret", secret)

    async def attack(server: Closed) -> None:
        with pytest.raises(TypeError, match="which scope"):
            protect(app, server.narrator._access)

    run(tmp_path, attack)


@pytest.mark.parametrize("call", with_heads(CLOSED), ids=" ".join)
def test_a_stranger_is_told_to_bring_a_key_and_nothing_else(
    call: tuple[str, str], tmp_path: Path
) -> None:
    async def attack(server: Closed) -> None:
        owner = server.caller(scopes=[Scope.ADMIN])
        job_id = await owner.ended()
        before = await owner.get("/v1/jobs")
        key, old = owner.key, server.key(expires_at=datetime(2020, 1, 1, tzinfo=UTC))
        assert key[15] == "_"
        tries: list[tuple[dict[str, str], bool]] = [
            ({}, False),
            (bearer(""), True),
            (bearer("x"), True),
            (bearer(key[:-1] + ("A" if key[-1] != "A" else "B")), True),
            (bearer(key[:3] + "zzzzzzzzzzzz" + key[15:]), True),
            (bearer(key + "="), True),
            (bearer(key.upper()), True),
            (bearer(f"{key} {key}"), True),
            (bearer(f"{key},{key}"), True),
            (bearer(key + "\x00"), True),
            (bearer(old), True),
            ({"authorization": f"Basic {key}"}, True),
            ({"authorization": f"Bearer{key}"}, True),
            ({"authorization": key}, True),
            ({"cookie": f"key={key}; authorization=Bearer {key}"}, False),
            ({"x-api-key": key, "proxy-authorization": f"Bearer {key}"}, False),
        ]
        for headers, tried in tries:
            for named in (job_id, str(uuid.uuid4())):
                told = await answer(server, call, named, headers)
                challenge = 'Bearer realm="narrator"' + (', error="invalid_token"' if tried else "")
                assert told.status_code == 401, (headers, told.text)
                assert told.headers["www-authenticate"] == challenge
                assert key not in told.text
                if call[0] != "HEAD":
                    assert told.json()["type"] == "urn:job-narrator:problem:unauthorized"
        both = [("authorization", f"Bearer {key}")] * 2
        path = url(path_of(call[1], job_id))
        assert (await server.http.request(call[0], path, headers=both)).status_code == 401
        assert await owner.get("/v1/jobs") == before

    run(tmp_path, attack)


@pytest.mark.parametrize("call", with_heads(CLOSED), ids=" ".join)
def test_a_key_without_the_scope_is_told_which_it_lacks_whatever_it_asks_for(
    call: tuple[str, str], tmp_path: Path
) -> None:
    method, template = call
    needed = NEEDS["GET" if method == "HEAD" else method, template]
    assert needed is not None

    async def attack(server: Closed) -> None:
        owner = server.caller()
        mine = await owner.ended()
        theirs = await server.caller(THEIRS).ended()
        weak = server.key(OURS, [each for each in ALL if each is not needed])
        answers = [
            await answer(server, call, job_id, bearer(weak))
            for job_id in (mine, theirs, str(uuid.uuid4()))
        ]

        assert [each.status_code for each in answers] == [403] * 3
        assert "insufficient_scope" in answers[0].headers["www-authenticate"]
        if method != "HEAD":
            assert {each.json()["scope"] for each in answers} == {needed}
            assert repr(needed.value) in answers[0].json()["detail"]
        assert (await owner.get("/v1/jobs"))["total"] == 1

    run(tmp_path, attack)


@pytest.mark.parametrize("call", with_heads(CLOSED), ids=" ".join)
def test_a_key_with_the_scope_alone_is_let_in(call: tuple[str, str], tmp_path: Path) -> None:
    needed = NEEDS["GET" if call[0] == "HEAD" else call[0], call[1]]
    assert needed is not None

    async def attack(server: Closed) -> None:
        job_id = await server.caller().ended()
        told = await answer(server, call, job_id, bearer(server.key(OURS, [needed])))

        assert told.status_code not in {401, 403, 404}, told.text

    run(tmp_path, attack)


def same_but_the_id(told: httpx.Response, job_id: str) -> tuple[int, list[Any], str]:
    """An answer without the id that was asked for."""
    assert len(job_id) == 36
    return told.status_code, told.headers.multi_items(), told.text.replace(job_id, "ID")


@pytest.mark.parametrize("state", ["ended", "running", "queued", "deferred"])
@pytest.mark.parametrize("call", with_heads(OF_A_JOB), ids=" ".join)
def test_anothers_job_is_as_one_that_is_not_there(
    call: tuple[str, str], state: str, tmp_path: Path
) -> None:
    async def attack(server: Closed) -> None:
        owner, attacker = server.caller(), server.caller(THEIRS, [Scope.ADMIN])
        job_id = await in_state(owner, state)
        before = await owner.get(f"/v1/jobs/{job_id}")
        story = await owner.get(f"/v1/jobs/{job_id}/narration")
        nowhere = str(uuid.uuid4())
        for headers in ({}, {"last-event-id": f"{job_id[:8]}.1"}, {"if-none-match": "*"}):
            for query in ("", "wait=0", "offset=-1", "offset=now&live=long-poll&timeout=0"):
                told, unknown = [
                    same_but_the_id(
                        await attacker.call(
                            call[0], path_of(call[1], named), headers=headers, params=query
                        ),
                        named,
                    )
                    for named in (job_id, nowhere)
                ]
                assert told == unknown
                assert told[0] in {404, 422}, told  # 422: a parameter that this call has not
        assert await owner.get(f"/v1/jobs/{job_id}") == before
        assert await owner.get(f"/v1/jobs/{job_id}/narration") == story

    run(tmp_path, attack, concurrency=1)


async def in_state(owner: Caller, state: str) -> str:
    """A job of the owner's, in that state; there is one slot."""
    if state == "ended":
        return await owner.ended()
    if state == "deferred":
        return await owner.submit("forever", start="on_stream")
    first = await owner.submit("forever")
    while (await owner.get(f"/v1/jobs/{first}"))["state"] != "running":  # noqa: ASYNC110 — no event
        await asyncio.sleep(0)  # a call in process lets nothing else happen
    return first if state == "running" else await owner.submit("forever")


@pytest.mark.parametrize("call", with_heads(OF_A_JOB), ids=" ".join)
def test_anothers_job_takes_the_same_way_through_the_code_as_one_that_is_not_there(
    call: tuple[str, str], tmp_path: Path
) -> None:
    async def attack(server: Closed) -> None:
        job_id = await server.caller().ended()
        attacker = server.caller(THEIRS)
        ways = []
        for named in (str(uuid.uuid4()), job_id, str(uuid.uuid4())):
            with Way() as way:
                told = await attacker.call(call[0], path_of(call[1], named))
            assert told.status_code == 404
            ways.append(way.calls)

        assert "app/jobs/registry.py owned" in ways[0]
        assert ways[0] == ways[1] == ways[2]

    run(tmp_path, attack)


class Way:
    """The functions of ours that are called while the block runs, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __enter__(self) -> Self:
        sys.setprofile(self._saw)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _saw(self, frame: FrameType, event: str, _: object) -> None:
        _, ours, path = frame.f_code.co_filename.rpartition("/app/")
        if event == "call" and ours and not path.startswith("engine/housekeeping"):
            self.calls.append(f"app/{path} {frame.f_code.co_name}")


def test_open_routes_tell_a_stranger_nothing_of_anybody(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        job_id = await server.caller().ended("say", params={"text": "a-secret"})
        for (method, template), scope in NEEDS.items():
            if scope is not None:
                continue
            told = await server.http.request(method, path_of(template, job_id))
            other = await server.http.request(method, path_of(template, str(uuid.uuid4())))
            assert told.status_code == 200
            assert told.text == other.text
            assert OURS not in told.text
            assert "a-secret" not in told.text
        ready = (await server.http.get("/readyz")).json()
        assert ready == {"status": "ready", "checks": {}, "warnings": []}
        assert (await server.caller().get("/readyz"))["checks"]["accepting"] is True

    run(tmp_path, attack)


def test_what_is_opened_or_switched_off_by_a_setting_is(tmp_path: Path) -> None:
    async def opened(server: Closed) -> None:
        for path in ("/metrics", "/docs", "/openapi.json"):
            assert (await server.http.get(path)).status_code == 200

    async def off(server: Closed) -> None:
        admin = server.caller(scopes=[Scope.ADMIN])
        for path in ("/docs", "/openapi.json"):
            assert (await server.http.get(path)).status_code == 404
            assert (await admin.call("GET", path)).status_code == 404

    run(tmp_path, opened, metrics_access="open", docs_access="open")
    run(tmp_path, off, docs_access="off")


def test_the_guard_of_a_route_is_its_own(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        guards = {
            each.path: each.guard
            for each in server.narrator.application.router.routes
            if isinstance(each, GuardedRoute) and "GET" in (each.methods or ())
        }

        assert guards["/v1/jobs"] == READ
        assert [path for path, guard in guards.items() if guard.by_token] == [
            "/v1/jobs/{job_id}/stream",
            "/v1/stream",
        ]

    run(tmp_path, attack)

"""Each HTTP request is measured once, by its route and what was answered."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app import operation
from app.http.measuring import RequestTimes
from telemetry.metrics import Metrics
from tests.telemetry.served import samples

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Run = Callable[[Awaitable[None]], None]


@operation
async def endless() -> None:
    """Run until stopped."""
    await asyncio.Event().wait()


def counted(exposition: str) -> dict[tuple[str, ...], float]:
    """Requests by method, route and status."""
    family = "narrator_http_answer_seconds_count"
    return {
        tuple(key.split('"')[1::2]): value
        for key, value in samples(exposition).items()
        if key.startswith(family)
    }


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/v1/jobs", {}, ("GET", "/v1/jobs", "200")),
        ("GET", "/v1/jobs?bad=1", {}, ("GET", "/v1/jobs", "422")),
        ("GET", "/v1/jobs/some-id", {}, ("GET", "/v1/jobs/{job_id}", "404")),
        ("HEAD", "/v1/operations", {}, ("HEAD", "/v1/operations", "200")),
        ("GET", "/wp-login.php", {}, ("GET", "none", "404")),
        ("GET", "/v1/jobs", {"host": "evil.example"}, ("GET", "none", "421")),
        ("PROPFIND", "/v1/nothing", {}, ("other", "none", "404")),
    ],
)
def test_a_request_counts_under_its_route(
    serve: Serve, run: Run, *, method: str, path: str, headers: dict[str, str], expected: Any
) -> None:
    async def test() -> None:
        async with serve((endless,)) as served:
            await served.client.request(method, path, headers=headers)

            assert counted((await served.client.get("/metrics")).text) == {expected: 1}

    run(test())


def test_a_stream_is_measured_when_it_begins(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve((endless,)) as served:
            job = await served.submit("endless")
            path = f"/v1/jobs/{job['id']}/stream"
            async with served.client.stream("GET", path):
                open_now = counted((await served.client.get("/metrics")).text)

            assert open_now["GET", "/v1/jobs/{job_id}/stream", "200"] == 1

    run(test())


@pytest.mark.parametrize(("begun", "status"), [(False, "500"), (True, "200")])
def test_a_failure_counts_as_what_the_client_saw(run: Run, begun: bool, status: str) -> None:
    metrics = Metrics()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("broken")

    async def test() -> None:
        transport = httpx.ASGITransport(RequestTimes(application, metrics=metrics))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            with pytest.raises(RuntimeError, match="broken"):
                await client.get("/")

    run(test())

    assert counted(metrics.render("")[0].decode()) == {("GET", "none", status): 1}


def test_what_is_not_http_is_not_measured(run: Run) -> None:
    metrics = Metrics()
    passed: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def nothing() -> Message:
        return {}

    async def nowhere(message: Message) -> None:
        """Send nothing."""

    run(RequestTimes(application, metrics=metrics)({"type": "lifespan"}, nothing, nowhere))

    assert passed == ["lifespan"]
    assert counted(metrics.render("")[0].decode()) == {}

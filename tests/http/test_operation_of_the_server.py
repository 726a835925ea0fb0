"""Operations, probes, metrics, the OpenAPI document, drain, and the server's own spans."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx_sse import aconnect_sse
from opentelemetry.trace import SpanKind

from app import operation

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Run = Callable[[Awaitable[None]], None]


@operation("render")
async def render(scene: str, frames: int = 24) -> str:
    """Render a scene.

    Frame by frame.
    """
    return f"{scene} {frames}"


@operation("patient")
async def patient(seconds: float = 0.3) -> None:
    """Take a while."""
    await asyncio.sleep(seconds)


OPERATIONS = (render, patient)


def test_operations_are_listed_with_their_schema(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            listed = (await served.client.get("/v1/operations")).json()["operations"]
            found = next(each for each in listed if each["name"] == "render")

            assert [each["name"] for each in listed] == ["patient", "render"]
            assert found["schema"]["required"] == ["scene"]
            assert found["schema"]["properties"]["frames"]["default"] == 24
            assert found["summary"] == "Render a scene."
            assert found["kind"] == "coroutine"

    run(test())


def test_the_probes_and_the_metrics_answer(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            live = await served.client.get("/livez")
            ready = await served.client.get("/readyz")
            metrics = await served.client.get("/metrics")
            openmetrics = await served.client.get(
                "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
            )

            assert (live.status_code, ready.status_code) == (200, 200)
            assert ready.json()["status"] == "ready"
            assert metrics.headers["content-type"].startswith("text/plain")
            assert "narrator_queue_depth" in metrics.text
            assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
            assert openmetrics.text.endswith("# EOF\n")

    run(test())


def test_the_overview_says_what_waits_and_runs(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, concurrency=1) as served:
            long = {"seconds": 600}
            first = await served.submit("patient", params=long)
            await served.until(first["id"], "running")
            await served.submit("patient", params=long, priority="high")
            await served.submit("patient", params=long, start="on_stream")

            found = (await served.client.get("/v1/overview")).json()

            assert (found["slots"], found["running"]["patient"], found["deferred"]) == (1, 1, 1)
            assert [*found["queue"]] == ["critical", "high", "normal", "low"]
            assert [each["depth"] for each in found["queue"].values()] == [0, 1, 0, 0]
            assert found["queue"]["high"]["oldest_age_s"] > 0
            assert found["states"]["queued"] == 2
            assert (found["streams"], found["draining"]) == (0, False)

    run(test())


def test_metrics_that_are_off_are_said_to_be(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, metrics=False) as served:
            answer = await served.client.get("/metrics")
            document = (await served.client.get("/openapi.json")).json()

            assert answer.status_code == 404
            assert answer.json()["type"].endswith("metrics-off")
            assert "NARRATOR_METRICS" in answer.json()["detail"]
            assert "404" in document["paths"]["/metrics"]["get"]["responses"]

    run(test())


def test_a_draining_server_is_not_ready_and_refuses_jobs_but_answers(
    serve: Serve, run: Run
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, drain_s=10) as served:
            job = await served.submit("patient")
            await served.until(job["id"], "running")
            draining = asyncio.create_task(served.narrator.drain())
            await asyncio.sleep(0)  # its first step
            ready = await served.client.get("/readyz")
            refused = await served.client.post(
                "/v1/jobs", json={"operation": "render", "params": {"scene": "x"}}
            )
            live = await served.client.get("/livez")
            await draining

            assert (ready.status_code, ready.json()["checks"]["accepting"]) == (503, False)
            assert refused.status_code == 503
            assert refused.json()["type"].endswith("draining")
            assert int(refused.headers["retry-after"]) >= 1
            assert live.status_code == 200
            record = (await served.client.get(job["links"]["self"])).json()
            assert record["state"] == "completed"

    run(test())


def test_a_stream_that_was_open_is_told_of_the_drain_and_closed(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, drain_s=10) as served:
            job = await served.submit("patient")
            async with aconnect_sse(served.client, "GET", job["links"]["stream"]) as source:
                names = []
                draining = None
                async for event in source.aiter_sse():
                    names.append(event.event)
                    if draining is None:
                        draining = asyncio.create_task(served.narrator.drain())
            assert draining is not None
            await draining

            assert names[-1] == "draining"
            assert event.id == "" or not event.id.startswith("draining")
            assert json.loads(event.data)["retry_ms"] > 0

    run(test())


def test_one_server_span_is_made_for_a_request_and_none_for_probes(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("patient", params={"seconds": 0})
            await served.client.get(job["links"]["stream"])
            for path in ("/metrics", "/livez", "/readyz"):
                await served.client.get(path)

            def named() -> list[str]:
                return [span.name for span in served.spans.get_finished_spans()]

            assert named().count("POST /v1/jobs") == 1
            assert named().count("GET /v1/jobs/{job_id}/stream") == 1
            assert [name for name in named() if "http" in name] == []
            assert [name for name in named() if name.endswith(("/metrics", "z"))] == []
            for span in served.spans.get_finished_spans():
                if span.name == "POST /v1/jobs":
                    assert span.kind is SpanKind.SERVER
                    assert span.attributes["http.route"] == "/v1/jobs"
                    assert span.attributes["http.status_code"] == 202

    run(test())


def test_a_foreign_host_is_a_421_everywhere(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            for path in ("/v1/jobs", "/livez", "/metrics", "/docs", "/nowhere"):
                answer = await served.client.get(path, headers={"Host": "evil.example"})
                assert answer.status_code == 421

    run(test())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1", 404),
        ("GET", "/v1/jobs/", 404),
        ("GET", "//v1/jobs", 404),
        ("GET", "/v1/jobs/a/b", 404),
        ("PATCH", "/v1/jobs", 405),
        ("POST", "/v1/stream", 405),
        ("OPTIONS", "/v1/jobs", 405),
        ("DELETE", "/v1/operations", 405),
    ],
)
def test_a_wrong_path_or_method_is_a_problem(
    serve: Serve, run: Run, method: str, path: str, status: int
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            answer = await served.client.request(method, f"{served.url}{path}")

            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert (status == 405) == ("allow" in answer.headers)

    run(test())


def test_the_openapi_document_has_every_call_with_its_bodies(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            document = (await served.client.get("/openapi.json")).json()
            docs = await served.client.get("/docs")
            submit = document["paths"]["/v1/jobs"]["post"]

            assert docs.status_code == 200
            assert submit["requestBody"]["content"]["application/json"]["schema"] == {
                "$ref": "#/components/schemas/Submission"
            }
            assert {"202", "400", "413", "415", "421", "422", "429", "503"} <= set(
                submit["responses"]
            )
            assert "HTTPValidationError" not in document["components"]["schemas"]

    run(test())


def test_every_reference_of_the_openapi_document_leads_somewhere(serve: Serve, run: Run) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(each) for each in node.values()))
        if isinstance(node, list):
            return set().union(*(references(each) for each in node))
        return set()

    async def test() -> None:
        async with serve(OPERATIONS) as served:
            document = (await served.client.get("/openapi.json")).json()
            known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}

            assert references(document) <= known

    run(test())

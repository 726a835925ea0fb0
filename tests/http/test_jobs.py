"""Jobs over HTTP: submit, read, list, cancel, retry, forget."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from app import operation

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Run = Callable[[Awaitable[None]], None]


@operation("add")
async def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@operation("forever")
async def forever() -> None:
    """Wait for a cancellation."""
    await asyncio.Event().wait()


OPERATIONS = (add, forever)


async def refused(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    return problem


def test_a_submitted_job_is_accepted_with_its_address_and_links(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            answer = await served.client.post(
                "/v1/jobs",
                json={"operation": "add", "params": {"a": 2}, "tags": {"team": "blue"}},
            )
            record = answer.json()

            assert answer.status_code == 202
            assert answer.headers["location"] == f"/v1/jobs/{record['id']}"
            assert record["state"] in {"queued", "running"}
            assert record["params"] == {"a": 2}
            assert record["tags"] == {"team": "blue"}
            for link in ("stream", "narration", "trace"):
                assert record["links"][link] == f"/v1/jobs/{record['id']}/{link}"

    run(test())


def test_a_job_can_be_waited_for(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("add", params={"a": 2, "b": 3})
            record = await served.ended(job["id"])

            assert (record["state"], record["result"]) == ("completed", 5)
            assert [each["outcome"] for each in record["attempts"]] == ["completed"]

    run(test())


def test_a_wait_that_runs_out_is_a_200(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("forever")
            answer = await served.client.get(f"/v1/jobs/{job['id']}?wait=0.05")

            assert (answer.status_code, answer.json()["state"]) == (200, "running")

    run(test())


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "1e308", "soon", "", "3601"])
def test_an_absurd_wait_is_a_422(serve: Serve, run: Run, wait: str) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            await refused(await served.client.get("/v1/jobs/x", params={"wait": wait}), 422)

    run(test())


def test_wrong_params_are_refused_by_name_and_nothing_is_queued(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            answer = await served.client.post(
                "/v1/jobs", json={"operation": "add", "params": {"a": "many"}}
            )
            problem = await refused(answer, 422)

            assert [each["loc"] for each in problem["errors"]] == [["body", "params", "a"]]
            assert (await served.client.get("/v1/jobs")).json()["total"] == 0

    run(test())


def test_an_unknown_operation_is_a_404_that_names_the_known(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            answer = await served.client.post("/v1/jobs", json={"operation": "ad"})

            assert (await refused(answer, 404))["legal"] == ["add", "forever"]

    run(test())


@pytest.mark.parametrize(
    "fields",
    [
        {"unknown": 1},
        {"timeout_s": -1},
        {"timeout_s": 1e308},
        {"timeout_s": 86_401},
        {"timeout_s": "5"},
        {"priority": "urgent"},
        {"retry": {"max_attempts": 0}},
        {"retry": {"max_attempts": 101}},
        {"retry": {"max_attempts": 10**30}},
        {"tags": {"a": 1}},
        {"start": "later"},
    ],
)
def test_an_illegal_field_is_a_422(serve: Serve, run: Run, fields: dict[str, Any]) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            body = {"operation": "add", "params": {"a": 1}, **fields}
            problem = await refused(await served.client.post("/v1/jobs", json=body), 422)

            assert problem["errors"][0]["loc"][1] == next(iter(fields))

    run(test())


def test_the_same_key_and_body_give_the_same_job(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            headers = {"Idempotency-Key": "one", "content-type": "application/json"}
            first = await served.client.post(
                "/v1/jobs", content=b'{"operation": "add", "params": {"a": 1}}', headers=headers
            )
            again = await served.client.post(
                "/v1/jobs", content=b'{"params":{"a":1},"operation":"add"}', headers=headers
            )

            assert (first.status_code, again.status_code) == (202, 202)
            assert first.json()["id"] == again.json()["id"]
            assert (await served.client.get("/v1/jobs")).json()["total"] == 1

    run(test())


def test_the_same_key_with_another_body_is_a_422(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            headers = {"Idempotency-Key": "one"}
            body = {"operation": "add", "params": {"a": 1}}
            await served.client.post("/v1/jobs", json=body, headers=headers)
            body["params"] = {"a": 2}
            answer = await served.client.post("/v1/jobs", json=body, headers=headers)

            problem = await refused(answer, 422)
            assert problem["type"].endswith("idempotency-conflict")

    run(test())


def test_a_refusal_is_not_remembered(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            headers = {"Idempotency-Key": "one"}
            wrong = {"operation": "add", "params": {}}
            await refused(await served.client.post("/v1/jobs", json=wrong, headers=headers), 422)
            right = {"operation": "add", "params": {"a": 2}}
            answer = await served.client.post("/v1/jobs", json=right, headers=headers)

            assert answer.status_code == 202

    run(test())


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "caf\xe9"])
def test_an_illegal_key_is_a_422(serve: Serve, run: Run, key: str) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            answer = await served.client.post(
                "/v1/jobs",
                json={"operation": "add", "params": {"a": 1}},
                headers=[(b"Idempotency-Key", key.encode("latin-1"))],
            )
            await refused(answer, 422)

    run(test())


def test_jobs_are_listed_newest_first_in_pages(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            ids = [(await served.submit("add", params={"a": n}))["id"] for n in range(5)]
            listed: list[str] = []
            query: dict[str, Any] = {"limit": 2}
            while True:
                page = (await served.client.get("/v1/jobs", params=query)).json()
                assert page["total"] == 5
                listed += [job["id"] for job in page["jobs"]]
                if page["next"] is None:
                    break
                query["cursor"] = page["next"]

            assert listed == ids[::-1]

    run(test())


def test_jobs_are_found_by_state_operation_tag_and_time(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            done = await served.submit("add", params={"a": 1}, tags={"team": "blue"})
            await served.ended(done["id"])
            busy = await served.submit("forever", tags={"team": "red"})
            await served.until(busy["id"], "running")

            async def found(**query: Any) -> list[str]:
                page = (await served.client.get("/v1/jobs", params=query)).json()
                return [job["id"] for job in page["jobs"]]

            assert await found(state="completed") == [done["id"]]
            assert await found(state=["completed", "running"]) == [busy["id"], done["id"]]
            assert await found(operation="forever") == [busy["id"]]
            assert await found(tag="team:red") == [busy["id"]]
            assert await found(tag="team") == [busy["id"], done["id"]]
            assert await found(since=busy["created_at"]) == [busy["id"]]
            assert await found(until=busy["created_at"]) == [done["id"]]
            assert await found(operation="none") == []

    run(test())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "done"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "9" * 5000),
        ("cursor", "mine"),
        ("cursor", "é\x00"),
        ("since", "yesterday"),
        ("since", "2026-01-01T00:00:00"),
        ("until", "99999-01-01T00:00:00Z"),
        ("colour", "red"),
    ],
)
def test_an_illegal_filter_is_a_422(serve: Serve, run: Run, name: str, value: str) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            await refused(await served.client.get("/v1/jobs", params={name: value}), 422)

    run(test())


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1970-01-01T00:00:00Z"]
)
def test_the_ends_of_time_are_legal(serve: Serve, run: Run, time: str) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            answer = await served.client.get("/v1/jobs", params={"since": time, "until": time})

            assert (answer.status_code, answer.json()["total"]) == (200, 0)

    run(test())


def test_an_unknown_job_is_a_404_on_every_call(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            for job_id in ("nothing", "../etc/passwd", "%00", "a" * 5000, "\u202e", "%2e%2e"):
                path = f"/v1/jobs/{job_id}"
                for method, rest in [
                    ("GET", ""),
                    ("DELETE", ""),
                    ("GET", "/stream"),
                    ("GET", "/narration"),
                    ("GET", "/trace"),
                    ("POST", "/cancel"),
                    ("POST", "/retry"),
                ]:
                    await refused(await served.client.request(method, path + rest), 404)

    run(test())


def test_a_running_job_is_cancelled_and_asking_again_is_legal_until_it_has_ended(
    serve: Serve, run: Run
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("forever")
            await served.until(job["id"], "running")
            path = f"/v1/jobs/{job['id']}/cancel"
            answer = await served.client.post(path)
            record = await served.ended(job["id"])

            assert answer.status_code == 202
            assert record["state"] == "cancelled"
            assert record["cancel"]["origin"] == "client"
            problem = await refused(await served.client.post(path), 409)
            assert problem["type"].endswith("already-finished")

    run(test())


def test_a_finished_job_is_run_again_as_a_new_one_with_changes_merged(
    serve: Serve, run: Run
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            old = await served.submit("add", params={"a": 1, "b": 10}, tags={"x": "1"})
            await served.ended(old["id"])
            answer = await served.client.post(
                f"/v1/jobs/{old['id']}/retry", json={"params": {"a": 5}, "tags": {"y": "2"}}
            )
            new = answer.json()

            assert answer.status_code == 202
            assert answer.headers["location"] == f"/v1/jobs/{new['id']}"
            assert new["retry_of"] == old["id"]
            assert new["params"] == {"a": 5, "b": 10}
            assert new["tags"] == {"y": "2"}
            assert (await served.ended(new["id"]))["result"] == 15

    run(test())


def test_a_retry_without_a_body_repeats_the_job(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            old = await served.submit("add", params={"a": 1})
            await served.ended(old["id"])
            new = (await served.client.post(f"/v1/jobs/{old['id']}/retry")).json()

            assert (await served.ended(new["id"]))["result"] == 2

    run(test())


def test_a_retry_with_illegal_changes_is_a_422(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            old = await served.submit("add", params={"a": 1})
            await served.ended(old["id"])
            illegal: list[Any] = [
                {"params": {"c": 1}},
                {"colour": "red"},
                {"operation": 5},
                [],
                "x",
            ]
            for changes in illegal:
                answer = await served.client.post(f"/v1/jobs/{old['id']}/retry", json=changes)
                await refused(answer, 422)

    run(test())


def test_an_unfinished_job_can_be_neither_retried_nor_forgotten(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("forever")
            path = f"/v1/jobs/{job['id']}"

            await refused(await served.client.post(f"{path}/retry"), 409)
            await refused(await served.client.delete(path), 409)

    run(test())


def test_a_finished_job_can_be_forgotten(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("add", params={"a": 1})
            await served.ended(job["id"])
            path = f"/v1/jobs/{job['id']}"
            answer = await served.client.delete(path)

            assert (answer.status_code, answer.content) == (204, b"")
            await refused(await served.client.get(path), 404)

    run(test())


def test_a_full_queue_is_a_429_that_says_when_to_come_back(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, concurrency=1, queue_limit=1) as served:
            first = await served.submit("forever")
            await served.until(first["id"], "running")
            await served.submit("forever")
            answer = await served.client.post("/v1/jobs", json={"operation": "forever"})

            assert (await refused(answer, 429))["type"].endswith("queue-full")
            assert int(answer.headers["retry-after"]) >= 1

    run(test())


def test_a_body_must_be_small_and_json(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, max_body_bytes=100) as served:
            post = served.client.post

            await refused(await post("/v1/jobs", json={"operation": "x" * 100}), 413)
            await refused(await post("/v1/jobs", content=b"{}"), 415)
            await refused(await post("/v1/jobs", data={"operation": "add"}), 415)
            await refused(await post("/v1/jobs/x/cancel", content=b"{}"), 415)
            await refused(await post("/v1/jobs"), 422)

    run(test())


def test_every_get_has_a_head_with_the_same_status(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("forever", start="on_stream")
            at = f"/v1/jobs/{job['id']}"
            paths = ["/v1/jobs", "/v1/operations", "/v1/stream", "/metrics", "/livez", "/readyz"]
            for path in [*paths, at, f"{at}/stream", f"{at}/narration", f"{at}/trace"]:
                answer = await served.client.head(path)
                assert (path, answer.status_code, answer.content) == (path, 200, b"")

            record = (await served.client.get(at)).json()
            assert (record["state"], record["queue_position"]) == ("queued", None)

    run(test())


def test_links_begin_where_the_application_is_mounted(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            app = served.narrator.application

            async def mounted(scope: Any, receive: Any, send: Any) -> None:
                await app({**scope, "root_path": "/narrator"}, receive, send)

            transport = httpx.ASGITransport(mounted)
            base = "http://127.0.0.1"
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                answer = await client.post(
                    "/narrator/v1/jobs", json={"operation": "add", "params": {"a": 1}}
                )
                at = f"/narrator/v1/jobs/{answer.json()['id']}"

                assert answer.headers["location"] == at
                assert answer.json()["links"]["stream"] == f"{at}/stream"
                assert (await client.get(at)).json()["id"] == answer.json()["id"]
                page = (await client.get("/narrator/v1/jobs")).json()
                assert page["jobs"][0]["links"]["trace"] == f"{at}/trace"

    run(test())


def test_the_callers_span_is_the_parent_of_the_jobs(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
            answer = await served.client.post(
                "/v1/jobs",
                json={"operation": "add", "params": {"a": 1}},
                headers={"traceparent": f"00-{trace_id}-{span_id}-01"},
            )
            job = await served.ended(answer.json()["id"])
            (span,) = [each for each in served.spans.get_finished_spans() if each.name == "job add"]

            assert job["trace_id"] == trace_id
            assert f"{span.parent.span_id:016x}" == span_id

    run(test())


@pytest.mark.parametrize(
    "traceparent",
    ["", "00-0-0-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "é" * 100],
)
def test_a_malformed_traceparent_is_ignored(serve: Serve, run: Run, traceparent: str) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            answer = await served.client.post(
                "/v1/jobs",
                json={"operation": "add", "params": {"a": 1}},
                headers=[(b"traceparent", traceparent.encode())],
            )

            assert answer.status_code == 202

    run(test())

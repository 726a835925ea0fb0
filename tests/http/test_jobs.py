"""Jobs over HTTP: read, wait for, cancel, retry, forget."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.operations import OPERATIONS, Run, Serve, refused


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


def test_a_retry_with_the_same_key_is_the_same_new_job_after_a_restart_too(
    serve: Serve, run: Run, tmp_path: Path
) -> None:
    async def test() -> None:
        headers = {"Idempotency-Key": "one"}
        async with serve(OPERATIONS, store=tmp_path / "jobs.db") as served:
            old = await served.submit("add", params={"a": 1})
            await served.ended(old["id"])
            path = f"/v1/jobs/{old['id']}/retry"
            first = await served.client.post(path, headers=headers)
            again = await served.client.post(path, headers=headers, json={})
            assert first.status_code == again.status_code == 202
            assert first.headers["location"] == again.headers["location"]
            new = await served.ended(first.json()["id"])
        async with serve(OPERATIONS, store=tmp_path / "jobs.db") as served:
            told = await served.client.post(path, headers=headers)
            assert (told.status_code, told.json()["id"]) == (202, new["id"])
            changed = {"params": {"a": 2}}
            problem = await refused(
                await served.client.post(path, headers=headers, json=changed), 422
            )
            assert problem["type"].endswith("idempotency-conflict")
            assert (await served.client.get("/v1/jobs")).json()["total"] == 2

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

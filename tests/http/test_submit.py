"""Submitting jobs over HTTP: what is accepted, what is refused, whose trace it is in."""

from typing import Any

import pytest

from tests.http.operations import OPERATIONS, Run, Serve, refused


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

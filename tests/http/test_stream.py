"""The stream, the story so far and the trace, over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse

from app import operation
from narration import narrate

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Run = Callable[[Awaitable[None]], None]


@operation("greet")
async def greet(name: str = "you") -> str:
    """Say hello."""
    narrate("greet", "Hello {name}", name=name, cute="Hiya {name}")
    return f"hello {name}"


@operation("forever")
async def forever() -> None:
    """Wait for a cancellation."""
    await asyncio.Event().wait()


OPERATIONS = (greet, forever)


async def events(client: httpx.AsyncClient, path: str, **query: Any) -> list[ServerSentEvent]:
    """All events of a stream that ends."""
    async with aconnect_sse(client, "GET", path, params=query) as source:
        return [event async for event in source.aiter_sse()]


async def following(source: EventSource) -> AsyncIterator[ServerSentEvent]:
    async for event in source.aiter_sse():
        yield event


def test_a_story_is_streamed_from_its_beginning_to_its_end(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            told = await events(served.client, job["links"]["stream"])
            data = [json.loads(event.data) for event in told]

            assert [each["seq"] for each in data] == list(range(1, len(told) + 1))
            assert [event.id.rpartition(".")[2] for event in told] == [
                str(each["seq"]) for each in data
            ]
            assert "Hello you" in [each.get("text") for each in data]
            assert (told[-1].event, data[-1]["marker"]) == ("end", "[DONE]")
            assert data[-1]["result"] == "hello you"

    run(test())


def test_the_response_is_kept_from_buffers_caches_and_compressors(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            answer = await served.client.get(job["links"]["stream"])

            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["x-accel-buffering"] == "no"
            assert "no-store" in answer.headers["cache-control"]
            assert "content-encoding" not in answer.headers

    run(test())


def test_a_client_that_has_read_all_of_it_gets_a_204(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            last = (await events(served.client, job["links"]["stream"]))[-1].id
            headers = {"Last-Event-ID": last}
            answer = await served.client.get(job["links"]["stream"], headers=headers)

            assert (answer.status_code, answer.content) == (204, b"")

    run(test())


def test_an_id_that_means_nothing_gives_the_whole_story_after_a_gap(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            whole = await events(served.client, job["links"]["stream"])
            for hostile in ("x", "1", "deadbeef.1", "9" * 3000, "'; drop", "\xff\xfe"):
                answer = await served.client.get(
                    job["links"]["stream"],
                    headers=[(b"Last-Event-ID", hostile.encode("latin-1"))],
                )
                assert answer.status_code == 200
                assert answer.text.count("event: gap") == 1
                assert answer.text.count("\nid: ") + answer.text.startswith("id: ") == len(whole)

    run(test())


@pytest.mark.parametrize(
    ("name", "value", "legal"),
    [
        ("mode", "loud", ["human", "cute", "story"]),
        ("format", "xml", ["json", "text", "ndjson"]),
        ("level", "all", ["trace", "debug", "info", "warn", "error", "fatal"]),
        ("follow", "maybe", ["true", "false"]),
        ("from", "-1", None),
        ("from", "9" * 5000, None),
        ("tail", "some", None),
        ("mod", "cute", None),
    ],
)
def test_an_illegal_query_is_a_422_that_names_the_legal_values(
    serve: Serve, run: Run, name: str, value: str, legal: list[str] | None
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            for path in (job["links"]["stream"], "/v1/stream"):
                answer = await served.client.get(path, params={name: value})
                problem = answer.json()

                assert answer.status_code == 422
                assert problem["errors"][0]["loc"] == ["query", name]
                if legal is not None:
                    assert problem["legal"] == {name: legal}

    run(test())


def test_a_deferred_job_starts_with_its_first_following_stream(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet", start="on_stream")
            stream = job["links"]["stream"]
            await served.client.get(stream, params={"follow": "false"})
            await served.client.get(job["links"]["narration"])
            await served.client.head(stream)
            still = (await served.client.get(job["links"]["self"])).json()
            told = await events(served.client, stream)

            assert (still["state"], still["queue_position"]) == ("queued", None)
            assert told[-1].event == "end"

    run(test())


def test_the_last_watcher_that_leaves_cancels_only_if_that_was_asked_for(
    serve: Serve, run: Run
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, unwatched_grace_s=0) as served:
            kept = await served.submit("forever")
            left = await served.submit("forever", cancel_when_unwatched=True)
            for job in (kept, left):
                async with aconnect_sse(served.client, "GET", job["links"]["stream"]) as source:
                    await anext(following(source))

            assert (await served.ended(left["id"]))["cancel"]["origin"] == "unwatched"
            record = (await served.client.get(kept["links"]["self"])).json()
            assert record["state"] == "running"

    run(test())


def test_all_jobs_state_changes_are_streamed(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            await served.ended(job["id"])
            told = await events(served.client, "/v1/stream", follow="false")
            data = [json.loads(event.data) for event in told]

            assert {event.event for event in told} == {"state"}
            assert [each["state"] for each in data if each["job_id"] == job["id"]] == [
                "queued",
                "running",
                "completed",
            ]

    run(test())


def test_the_story_so_far_is_one_document(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            streamed = await events(served.client, job["links"]["stream"])
            story = (await served.client.get(job["links"]["narration"])).json()

            assert story["first"] == 1
            assert story["next"] == len(streamed) + 1
            assert [(each["id"], each["event"]) for each in story["events"]] == [
                (event.id, event.event) for event in streamed
            ]
            assert [each["data"] for each in story["events"]] == [
                json.loads(event.data) for event in streamed
            ]

    run(test())


@pytest.mark.parametrize(
    ("query", "headers"),
    [({"format": "ndjson"}, {}), ({}, {"Accept": "application/x-ndjson"})],
)
def test_the_story_so_far_is_lines_where_that_is_asked_for(
    serve: Serve, run: Run, query: dict[str, str], headers: dict[str, str]
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            await served.ended(job["id"])
            path = job["links"]["narration"]
            document = (await served.client.get(path)).json()
            answer = await served.client.get(path, params=query, headers=headers)

            assert answer.headers["content-type"].startswith("application/x-ndjson")
            assert [json.loads(line) for line in answer.text.splitlines()] == document["events"]

    run(test())


def test_the_trace_is_a_tree_or_a_file(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            await served.ended(job["id"])
            path = job["links"]["trace"]
            tree = (await served.client.get(path)).json()
            otlp = await served.client.get(path, params={"format": "otlp"})
            jaeger = await served.client.get(path, params={"format": "jaeger"})

            assert tree["trace_id"] == job["trace_id"]
            (root,) = tree["spans"]
            assert root["name"] == "job greet"
            assert {child["name"] for child in root["children"]} == {"job.wait", "job.attempt"}
            assert otlp.json()["resourceSpans"]
            assert jaeger.json()["data"][0]["traceID"] == job["trace_id"]
            assert "attachment" in otlp.headers["content-disposition"]

    run(test())


def test_a_running_span_is_in_the_trace(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("forever")
            await served.until(job["id"], "running")
            (root,) = (await served.client.get(job["links"]["trace"])).json()["spans"]

            assert (root["name"], root["end"]) == ("job forever", None)

    run(test())


def test_an_unknown_form_of_a_trace_is_a_422(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("greet")
            answer = await served.client.get(job["links"]["trace"], params={"format": "zipkin"})

            assert answer.status_code == 422
            assert answer.json()["legal"] == {"format": ["tree", "otlp", "jaeger"]}

    run(test())

"""A story read as a Durable Stream, over HTTP."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse

from app import JobContext, operation

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Run = Callable[[Awaitable[None]], None]


@operation("say")
async def say(words: int, *, job: JobContext) -> None:
    """Put out so many words."""
    for number in range(words):
        job.output(number)


@operation("forever")
async def forever() -> None:
    """Wait for a cancellation."""
    await asyncio.Event().wait()


OPERATIONS = (say, forever)


async def read(served: Any, job: dict[str, Any], offset: str = "-1", **more: Any) -> httpx.Response:
    query, headers = {"offset": offset, **more}, more.pop("headers", None)
    query.pop("headers", None)
    answer: httpx.Response = await served.client.get(
        job["links"]["stream"], params=query, headers=headers
    )
    return answer


async def a_finished_job(served: Any, words: int = 3) -> dict[str, Any]:
    job: dict[str, Any] = await served.submit("say", params={"words": words})
    await served.ended(job["id"])
    return job


async def a_running_job(served: Any, **fields: Any) -> dict[str, Any]:
    job: dict[str, Any] = await served.submit("forever", **fields)
    await served.until(job["id"], "running")
    return job


async def cancel(served: Any, job: dict[str, Any]) -> None:
    assert (await served.client.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 202


async def is_waiting(served: Any) -> None:
    """Until a stream is open."""
    while not served.narrator.engine.streams.count:  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(0.001)


def test_a_finished_story_is_one_closed_segment(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_finished_job(served)
            answer = await read(served, job)
            story = (await served.client.get(job["links"]["narration"])).json()

            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"
            assert answer.json() == [
                {"event": each["event"], **each["data"]} for each in story["events"]
            ]
            assert answer.headers["stream-up-to-date"] == "true"
            assert answer.headers["stream-closed"] == "true"
            assert answer.headers["cache-control"].startswith("public, max-age=60")
            assert answer.headers["x-content-type-options"] == "nosniff"

    run(test())


def test_what_follows_the_end_is_empty_and_closed(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_finished_job(served)
            last = (await read(served, job)).headers["stream-next-offset"]
            caught_up, polled = (
                await read(served, job, last),
                await read(served, job, last, live="long-poll"),
            )

            assert (caught_up.status_code, caught_up.json()) == (200, [])
            assert (polled.status_code, polled.content) == (204, b"")
            for answer in (caught_up, polled):
                assert answer.headers["stream-closed"] == "true"
                assert answer.headers["stream-next-offset"] == last
                assert "stream-cursor" not in answer.headers

    run(test())


def test_a_long_story_is_read_in_segments_of_which_the_last_is_closed(
    serve: Serve, run: Run
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, log_limit=5000) as served:
            job = await a_finished_job(served, words=2500)
            offset, seen, ends = "-1", list[int](), list[bool]()
            while not ends or not ends[-1]:
                answer = await read(served, job, offset)
                offset = answer.headers["stream-next-offset"]
                seen += [each["seq"] for each in answer.json()]
                ends.append("stream-closed" in answer.headers)

            assert seen == list(range(1, len(seen) + 1))
            assert ends == [False, False, True]

    run(test())


def test_head_tells_the_tail_and_is_kept_by_nobody(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            done, running = await a_finished_job(served), await a_running_job(served)
            path = "{}?offset=-1"
            closed = await served.client.head(path.format(done["links"]["stream"]))
            is_open = await served.client.head(path.format(running["links"]["stream"]))

            tail = (await read(served, done)).headers["stream-next-offset"]
            assert closed.headers["stream-next-offset"] == tail
            assert closed.headers["stream-closed"] == "true"
            assert "stream-closed" not in is_open.headers
            assert is_open.headers["content-type"] == "application/json"
            assert is_open.headers["cache-control"] == "no-store"

    run(test())


def test_a_segment_that_the_client_has_is_not_sent_again(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_finished_job(served)
            tag = (await read(served, job)).headers["etag"]
            same = await read(served, job, headers={"if-none-match": f'"x", W/{tag}'})
            other = await read(served, job, headers={"if-none-match": '"x"'})

            assert (same.status_code, same.content) == (304, b"")
            assert same.headers["etag"] == tag
            assert other.status_code == 200

    run(test())


def test_what_may_still_grow_is_kept_for_a_moment_only(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_running_job(served)
            partial, now = await read(served, job), await read(served, job, "now")

            assert partial.headers["cache-control"] == "public, max-age=10"
            assert "stream-closed" not in partial.headers
            assert now.headers["cache-control"] == "no-store"
            assert "etag" not in now.headers

    run(test())


def test_who_asks_with_credentials_gets_what_no_shared_cache_keeps(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_finished_job(served)
            for headers in ({"authorization": "Bearer x"}, {"cookie": "a=b"}):
                answer = await read(served, job, headers=headers)
                assert answer.headers["cache-control"].startswith("private, ")

    run(test())


def test_a_long_poll_is_answered_when_something_is_told(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_running_job(served)
            tail = (await read(served, job)).headers["stream-next-offset"]
            polling = asyncio.create_task(read(served, job, tail, live="long-poll"))
            await is_waiting(served)
            await cancel(served, job)
            answer = await polling

            assert answer.status_code == 200
            assert answer.json()[0]["event"] in {"state", "narration"}
            assert {"stream-cursor", "stream-closed"} & {*answer.headers}
            assert served.narrator.engine.streams.count == 0

    run(test())


def test_a_long_poll_whose_time_is_over_says_where_it_is(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_running_job(served)
            tail = (await read(served, job)).headers["stream-next-offset"]
            answer = await read(served, job, tail, live="long-poll", timeout="0.01")
            cursor = answer.headers["stream-cursor"]
            again = await read(served, job, tail, live="long-poll", timeout="0.01", cursor=cursor)

            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["stream-next-offset"] == tail
            assert answer.headers["stream-up-to-date"] == "true"
            assert answer.headers["cache-control"] == "public, max-age=2"
            assert int(again.headers["stream-cursor"]) > int(cursor)

    run(test())


def test_a_client_that_leaves_its_long_poll_is_not_waited_for(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_running_job(served)
            polling = asyncio.create_task(read(served, job, "now", live="long-poll"))
            await is_waiting(served)
            polling.cancel()
            while served.narrator.engine.streams.count:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.001)

    run(test())


def test_a_drain_answers_a_long_poll(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_running_job(served)
            polling = asyncio.create_task(read(served, job, "now", live="long-poll"))
            await is_waiting(served)
            served.narrator.engine.streams.drain()
            answer = await polling

            assert answer.status_code == 204

    run(test())


def test_a_job_that_is_deleted_under_a_long_poll_is_gone(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_running_job(served)
            polling = asyncio.create_task(read(served, job, "now", live="long-poll"))
            await is_waiting(served)
            served.narrator.engine.log(job["id"]).forget()
            answer = await polling

            assert answer.status_code == 410
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["cache-control"] == "no-store"

    run(test())


def test_events_are_read_live_to_the_end(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_running_job(served)
            query = {"offset": "-1", "live": "sse"}
            items, control = list[dict[str, Any]](), dict[str, Any]()
            tail = (await read(served, job)).headers["stream-next-offset"]
            stream = job["links"]["stream"]
            async with aconnect_sse(served.client, "GET", stream, params=query) as source:
                async for event in source.aiter_sse():
                    if event.event == "data":
                        items += json.loads(event.data)
                        continue
                    control = json.loads(event.data)
                    if control["streamNextOffset"] == tail:
                        await cancel(served, job)

            assert [each["seq"] for each in items] == list(range(1, len(items) + 1))
            assert (items[-1]["event"], items[-1]["marker"]) == ("end", "[CANCELLED]")
            assert control["streamClosed"] is True
            assert (
                control["streamNextOffset"]
                == (await read(served, job)).headers["stream-next-offset"]
            )

    run(test())


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_live_read_starts_a_job_that_waits_for_its_watcher(
    serve: Serve, run: Run, live: str
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await served.submit("say", params={"words": 1}, start="on_stream")
            tail = (await read(served, job)).headers["stream-next-offset"]
            assert (await served.client.get(job["links"]["self"])).json()["state"] == "queued"
            answer = await read(served, job, tail, live=live)

            assert answer.status_code == 200
            assert (await served.ended(job["id"]))["state"] == "completed"

    run(test())


def test_a_long_poll_that_is_not_repeated_leaves_its_job_unwatched(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, unwatched_grace_s=0.05) as served:
            job = await a_running_job(served, cancel_when_unwatched=True)
            await read(served, job, "now", live="long-poll", timeout="0.01")

            assert (await served.ended(job["id"]))["state"] == "cancelled"

    run(test())


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"offset": ""}, "not an offset"),
        ({"offset": "a,b"}, "not an offset"),
        ({"offset": ["-1", "-1"]}, "one offset"),
        ({"live": "sse"}, "one offset"),
        ({"offset": "-1", "live": "true"}, "long-poll, sse"),
        ({"offset": "-1", "tail": "3"}, "tail has no meaning"),
        ({"offset": "-1", "live": "long-poll", "timeout": "nan"}, "number of seconds"),
        ({"offset": "-1", "live": "long-poll", "timeout": "1e9"}, "number of seconds"),
    ],
)
def test_what_is_no_read_is_a_400_that_says_why(
    serve: Serve, run: Run, query: dict[str, Any], says: str
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_finished_job(served)
            answer = await served.client.get(job["links"]["stream"], params=query)

            assert answer.status_code == 400
            assert says in answer.json()["detail"]

    run(test())


def test_what_means_nothing_here_is_ignored(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            job = await a_finished_job(served)
            answer = await read(served, job, unknown="x")

            assert answer.status_code == 200

    run(test())


def test_an_offset_of_what_is_no_longer_kept_is_gone_and_the_beginning_tells_it(
    serve: Serve, run: Run
) -> None:
    async def test() -> None:
        async with serve(OPERATIONS, log_limit=16) as served:
            early = await a_running_job(served)
            first = await read(served, early)
            offset = first.headers["stream-next-offset"]
            job = await a_finished_job(served, words=50)
            begun = (await read(served, job)).json()
            other = await read(served, job, offset)

            assert begun[0]["event"] == "gap"
            assert begun[1]["seq"] == begun[0]["to"] + 1
            assert other.status_code == 410
            assert "offset=-1" in other.json()["detail"]

    run(test())


def test_a_job_that_is_not_there_is_a_404(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve(OPERATIONS) as served:
            answer = await served.client.get("/v1/jobs/nobody/stream?offset=-1")

            assert answer.status_code == 404
            assert answer.headers["x-content-type-options"] == "nosniff"

    run(test())

"""The library's composition: stories told and streamed by any application."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from starlette.requests import Request
from starlette.responses import Response

import narration as narration_package
from narration import narrate
from narration.hub import Limits, Narration, OpenStory, StoryUnderWayError
from narration.log import LockedLog, NarrationLog
from narration.scope import current_scope
from tests.narration.serving import bounded, until

AT = "2026-01-01T00:00:00.000000Z"


def told(narration: Narration, job_id: str) -> OpenStory:
    found = narration.find(job_id)
    assert found is not None
    return found


def events(opened: OpenStory) -> list[tuple[str, dict[str, Any]]]:
    return [(entry.name, json.loads(entry.data)) for entry in opened.log.entries()]


def texts(opened: OpenStory) -> list[str]:
    return [data["text"] for name, data in events(opened) if name == "narration"]


def request(query: str = "", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(
        {"type": "http", "method": "GET", "query_string": query.encode(), "headers": raw}
    )


def problem(response: Response) -> dict[str, Any]:
    assert response.media_type == "application/problem+json"
    found: dict[str, Any] = json.loads(bytes(response.body))
    return found


def test_a_story_is_told_from_its_start_to_its_end() -> None:
    narration = Narration(TracerProvider())
    with narration.story("import-1", actor="importer"):
        narrate("read", "Reading {path}", path="a.csv")
        trace.get_current_span().add_event("checked")

    opened = told(narration, "import-1")
    names = [name for name, _ in events(opened)]

    assert names == ["state", "narration", "narration", "state", "end"]
    assert texts(opened) == ["Reading a.csv", "checked"]
    assert [data["state"] for name, data in events(opened) if name == "state"] == [
        "running",
        "completed",
    ]
    assert events(opened)[-1][1]["marker"] == "[DONE]"
    assert [record.name for record in opened.spans.records()] == ["importer"]


def test_without_a_provider_what_is_narrated_is_told_all_the_same() -> None:
    narration = Narration()
    with narration.story("s"):
        narrate("read", "Reading")

    assert texts(told(narration, "s")) == ["Reading"]


def test_an_unsampled_story_is_told_whole() -> None:
    narration = Narration(TracerProvider(sampler=ALWAYS_OFF))
    with narration.story("s"):
        trace.get_current_span().add_event("seen")

    assert texts(told(narration, "s")) == ["seen"]


def test_a_story_that_raises_ends_as_failed_with_its_secrets_masked() -> None:
    narration = Narration(TracerProvider())
    with pytest.raises(ValueError, match="hunter2"), narration.story("s"):
        raise ValueError("password=hunter2 was refused")

    name, end = events(told(narration, "s"))[-1]

    assert (name, end["state"], end["reason"]) == ("end", "failed", "error")
    assert end["marker"].startswith("[ERROR] password=")
    assert "hunter2" not in b"".join(e.data for e in told(narration, "s").log.entries()).decode()
    assert end["failure"]["type"] == "ValueError"


def test_an_error_without_a_message_is_named_by_its_type_in_the_marker() -> None:
    narration = Narration()
    with pytest.raises(KeyboardInterrupt), narration.story("s"):
        raise KeyboardInterrupt

    assert events(told(narration, "s"))[-1][1]["marker"] == "[ERROR] KeyboardInterrupt"


def test_a_story_that_is_cancelled_ends_as_cancelled() -> None:
    narration = Narration(TracerProvider())

    async def work() -> None:
        with narration.story("s"):
            await asyncio.sleep(60)

    async def test() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    bounded(test())
    end = events(told(narration, "s"))[-1][1]

    assert (end["state"], end["marker"], end["failure"]) == ("cancelled", "[CANCELLED]", None)


def test_what_is_said_outside_of_a_story_is_in_none() -> None:
    narration = Narration(TracerProvider())
    narrate("read", "before")
    with narration.story("s"):
        assert current_scope() is not None
    narrate("read", "after")

    assert current_scope() is None
    assert texts(told(narration, "s")) == []


def test_stories_of_concurrent_tasks_do_not_mix() -> None:
    narration = Narration(TracerProvider())

    async def tell(name: str) -> None:
        with narration.story(name):
            for _ in range(5):
                narrate("say", "from {name}", name=name)
                await asyncio.sleep(0)

    async def test() -> None:
        await asyncio.gather(*(tell(f"s{number}") for number in range(4)))

    bounded(test())

    for number in range(4):
        assert texts(told(narration, f"s{number}")) == [f"from s{number}"] * 5


def test_an_id_tells_one_story_at_a_time() -> None:
    narration = Narration()
    with narration.story("s"):
        with pytest.raises(StoryUnderWayError, match="'s' is still being told"):
            narration._begin("s")
        first = told(narration, "s")
    with narration.story("s"):
        second = told(narration, "s")

    assert first.log.forgotten
    assert first.log.epoch != second.log.epoch


def test_only_the_newest_stories_are_kept_and_one_that_is_told_outlives_those_that_ended() -> None:
    narration = Narration(limits=Limits(stories=2))
    with narration.story("long"):
        for number in range(4):
            with narration.story(f"short-{number}"):
                narrate("say", "x")
        assert narration.find("long") is not None
        forgotten = narration.find("short-2")

    assert forgotten is None
    assert narration.find("short-3") is not None


def test_a_story_under_way_makes_room_only_where_none_has_ended() -> None:
    narration = Narration(limits=Limits(stories=1))
    with narration.story("older"):
        older = told(narration, "older")
        with narration.story("newer"):
            narrate("say", "x")

    assert older.log.forgotten
    assert narration.find("older") is None
    assert texts(told(narration, "newer")) == ["x"]


def test_inside_a_loop_the_loop_stores_and_elsewhere_a_lock_does() -> None:
    narration = Narration()
    before = narration.open_story("before")

    async def test() -> None:
        assert type(narration.open_story("inside").log) is NarrationLog

    bounded(test())
    after = narration.open_story("after", epoch="mine")  # that loop is closed

    assert type(before.log) is LockedLog
    assert type(after.log) is LockedLog
    assert after.log.epoch == "mine"


def test_a_story_that_no_loop_has_ever_seen_wakes_nobody() -> None:
    narration = Narration()
    woken: list[None] = []
    with narration.story("s"):
        told(narration, "s").log.watch(lambda: woken.append(None))
        narrate("say", "x")

    assert woken == []
    assert texts(told(narration, "s")) == ["x"]


def test_the_package_gives_the_composition_when_it_is_asked_for_and_nothing_unknown() -> None:
    assert narration_package.Narration is Narration
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = narration_package.nothing


def test_what_only_narrates_loads_no_web_framework() -> None:
    code = "import narration, sys; print([m for m in sys.modules if m in %r])"
    heavy = ["starlette", "fastapi", "uvicorn", "sse_starlette"]
    ran = subprocess.run(
        [sys.executable, "-c", code % heavy],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert ran.stdout.strip() == "[]"


def test_a_closed_loop_gives_way_to_the_next() -> None:
    narration = Narration()

    async def test() -> None:
        with narration.story("s"):
            narrate("say", "x")

    bounded(test())
    bounded(test())

    assert texts(told(narration, "s")) == ["x"]


async def _body(response: Response) -> bytes:
    """What `response` sends to a client that stays."""
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    await response({"type": "http", "method": "GET"}, receive, send)
    return b"".join(sent)


def test_a_story_told_in_a_thread_is_streamed_live_whether_or_not_the_loop_came_first() -> None:
    async def test(*, loop_first: bool) -> None:
        narration = Narration(TracerProvider())
        if loop_first:
            narration.bind()
        begun, go_on = threading.Event(), threading.Event()

        def work() -> None:
            with narration.story("s"):
                narrate("say", "first")
                begun.set()
                go_on.wait(30)
                narrate("say", "second")

        thread = threading.Thread(target=work)
        thread.start()
        await asyncio.to_thread(begun.wait, 30)
        reading = asyncio.create_task(_body(narration.respond("s", request())))
        await until(lambda: narration.streams.count == 1)
        go_on.set()
        body = await reading
        thread.join()

        assert body.count(b"event: narration") == 2
        assert body.index(b"first") < body.index(b"second") < body.index(b"event: end")

    bounded(test(loop_first=True))
    bounded(test(loop_first=False))


def test_a_thread_that_replaces_a_story_has_the_loop_forget_the_old_one() -> None:
    narration = Narration()

    def again() -> None:
        with narration.story("s"):
            narrate("say", "new")

    async def test() -> None:
        with narration.story("s"):
            narrate("say", "old")
        old = told(narration, "s")
        old.log.watch(lambda: None)
        asyncio.get_running_loop().set_debug(True)  # a loop in debug mode refuses other threads
        await asyncio.to_thread(again)
        await asyncio.sleep(0)

        assert old.log.forgotten
        assert texts(told(narration, "s")) == ["new"]

    bounded(test())


def test_a_story_that_is_not_there_is_a_404_and_a_query_that_means_nothing_a_422() -> None:
    narration = Narration()
    with narration.story("s"):
        narrate("say", "x")

    missing = narration.respond("other", request())
    wrong = narration.respond("s", request("mode=silly"))

    assert (missing.status_code, problem(missing)["status"]) == (404, 404)
    assert (wrong.status_code, problem(wrong)["status"]) == (422, 422)
    assert "human, cute, story" in problem(wrong)["detail"]


def test_a_client_that_has_seen_all_gets_204() -> None:
    narration = Narration()
    with narration.story("s"):
        narrate("say", "x")
    log = told(narration, "s").log
    last = log.event_id(log.next - 1)

    assert narration.respond("s", request(last_event_id=last)).status_code == 204
    assert narration.respond("s", request(f"last_event_id={last}")).status_code == 204

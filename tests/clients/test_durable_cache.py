"""A cache between the server and a crowd: nginx as STREAM.md sets it up."""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.clients.proxies import RunningProxy, nginx
from tests.clients.proxy import bounded
from tests.clients.server import ServerProcess, serving

READERS: Final = int(os.environ.get("NARRATOR_TEST_READERS", "2000"))
STEPS: Final = 3


@dataclass(slots=True, kw_only=True)
class CrowdReader:
    """One reader on one connection: catches up, then polls, to the end."""

    port: int
    path: str
    timeout_s: float
    items: list[dict[str, Any]] = field(default_factory=list)
    offset: str = "-1"
    cursor: str = ""
    up_to_date: bool = False

    async def read(self, ready: asyncio.Barrier) -> None:
        """Read the whole story."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.closing(writer):
            await ready.wait()
            closed = False
            while not closed:
                writer.write(self._request())
                head, body = await _answer(reader)
                self.items += json.loads(body or b"[]")
                self.offset = head["stream-next-offset"]
                self.cursor = head.get("stream-cursor", self.cursor)
                self.up_to_date = "stream-up-to-date" in head
                closed = head.get("stream-closed") == "true"

    def _request(self) -> bytes:
        query = f"offset={self.offset}"
        if self.up_to_date:
            query += f"&live=long-poll&timeout={self.timeout_s}"
        if self.cursor:
            query += f"&cursor={self.cursor}"
        return f"GET {self.path}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    assert lines[0].split()[1] in {"200", "204"}, lines[0]
    head = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    return head, await reader.readexactly(int(head.get("content-length", "0")))


@contextlib.asynccontextmanager
async def crowd(
    port: int, path: str, count: int, *, timeout_s: float = 20
) -> AsyncIterator[list[CrowdReader]]:
    """So many readers; they begin together, and have read all when the block ends."""
    readers = [CrowdReader(port=port, path=path, timeout_s=timeout_s) for _ in range(count)]
    ready = asyncio.Barrier(count)
    async with asyncio.TaskGroup() as tasks:
        for each in readers:
            tasks.create_task(each.read(ready))
        yield readers


def answered(server: ServerProcess) -> float:
    """How many reads of a stream the server has answered, by its own metrics."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in server.client.get("/metrics").text.splitlines()
        if line.startswith("narrator_http_answer_seconds_count") and "/stream" in line
    )


def asked_upstream(proxy: RunningProxy) -> Counter[str]:
    """How often nginx has asked the server for each target."""
    return Counter(target for target, upstream in proxy.asked() if upstream)


def test_two_thousand_readers_of_a_live_story_are_one_read_for_each_segment(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "steps"
    folder.mkdir()

    async def test() -> None:
        with serving() as server, nginx(server.port, tmp_path) as proxy:
            job = server.submit("steps", params={"folder": str(folder), "count": STEPS})
            server.reaches(job["id"], "running")
            path = job["links"]["stream"]
            async with crowd(proxy.port, path, READERS) as readers:
                for step in range(STEPS):
                    (folder / str(step)).touch()
                    while not all(  # noqa: ASYNC110 - 2,000 readers share no event
                        _has(each, f"step {step}") for each in readers
                    ):
                        await asyncio.sleep(0.05)

            story = server.client.get(job["links"]["narration"]).json()["events"]
            whole = [{"event": each["event"], **each["data"]} for each in story]
            assert all(each.items == whole for each in readers)

            upstream = asked_upstream(proxy)
            targets = {target for target, _ in proxy.asked()}
            assert set(upstream) == targets
            assert max(upstream.values()) == 1, upstream
            assert answered(server) == len(targets)
            assert len(proxy.asked()) >= READERS * STEPS

    bounded(test())


def test_a_wait_in_which_nothing_comes_is_one_read_too(tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def test() -> None:
        with serving() as server, nginx(server.port, tmp_path) as proxy:
            job = server.submit("gated", params={"gate": str(gate)})
            server.reaches(job["id"], "running")
            async with crowd(proxy.port, job["links"]["stream"], 300, timeout_s=0.5) as readers:
                while len(asked_upstream(proxy)) < 4:  # noqa: ASYNC110 - nginx's log tells it
                    await asyncio.sleep(0.05)
                gate.touch()

            assert all(each.items[-1]["event"] == "end" for each in readers)
            # It is kept for two seconds: on a machine that is busy some may come too late for it.
            assert sum(asked_upstream(proxy).values()) <= len(proxy.asked()) / 50

    bounded(test())


def test_who_comes_later_reads_what_the_cache_has(tmp_path: Path) -> None:
    async def test() -> None:
        with serving() as server, nginx(server.port, tmp_path) as proxy:
            job = server.submit("count", params={"to": 1500})
            server.ended(job["id"])
            for _ in range(3):
                async with crowd(proxy.port, job["links"]["stream"], 50) as readers:
                    pass
                assert all(each.items[-1]["event"] == "end" for each in readers)

            assert len(asked_upstream(proxy)) == 2
            assert set(asked_upstream(proxy).values()) == {1}

    bounded(test())


def test_streams_of_events_pass_the_cache_as_they_come(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with serving() as server, nginx(server.port, tmp_path) as proxy:
        job = server.submit("gated", params={"gate": str(gate)})
        for query in ("", "?offset=-1&live=sse"):
            address = f"{proxy.url}{job['links']['stream']}{query}"
            with (
                httpx.stream("GET", address, timeout=20) as first,
                httpx.stream("GET", address, timeout=20) as second,
            ):
                for each in (first, second):  # the second waits for nobody
                    assert any("before 0" in line for line in each.iter_lines())
        gate.touch()
        assert server.ended(job["id"])["state"] == "completed"


def _has(reader: CrowdReader, text: str) -> bool:
    return any(each.get("text") == text for each in reader.items)

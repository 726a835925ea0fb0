"""Replay, then live, over connections that break anywhere: nothing lost, nothing twice."""

import asyncio
import random
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from app.cli.server import raise_file_limit
from tests.clients.proxy import bounded, proxying
from tests.clients.server import ServerProcess
from tests.clients.wire import Frame, Parser

EVENTS = 600
READERS = 8


async def follow(url: str, path: str) -> list[Frame]:
    """Read to the end and come back as often as it takes, as a browser does."""
    heard: list[Frame] = []
    headers: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=url, timeout=None) as client:
        while True:
            parser = Parser()
            try:
                async with client.stream("GET", path, headers=headers) as response:
                    if response.status_code == 204:
                        return heard
                    async for chunk in response.aiter_raw():
                        for frame in parser.feed(chunk):
                            heard.append(frame)
                            assert frame.id is not None, frame
                            headers = {"Last-Event-ID": frame.id}
            except httpx.TransportError:
                pass


@pytest.mark.parametrize("seed", range(2))
def test_readers_whose_connections_break_at_random_get_all_of_it_once(
    server: ServerProcess, seed: int
) -> None:
    chance = random.Random(seed)

    async def test() -> None:
        # Every fifth connection lives; the rest are cut somewhere, in the head of the answer too.
        async with proxying(
            server.port,
            cut=lambda number: None if number % 5 == 4 else chance.randrange(1, 60_000),
        ) as proxy:
            job = server.submit("count", params={"to": EVENTS, "pause_s": 0.01})
            path = job["links"]["stream"]
            stories = await asyncio.gather(*(follow(proxy.url, path) for _ in range(READERS)))

            assert len(proxy.requests) > 2 * READERS
            for heard in stories:
                told = [frame.body["seq"] for frame in heard]
                assert told == list(range(1, len(told) + 1))
                assert heard[-1].event == "end"
                assert len(told) > EVENTS

    bounded(test())


CONNECTIONS = 1000


def test_a_thousand_that_connect_at_once_all_get_the_whole_story(
    server: ServerProcess, gate: Path
) -> None:
    raise_file_limit()  # of this process: it holds the other ends
    job = server.submit("gated", params={"gate": str(gate), "before": 5, "after": 5})
    place = urlsplit(server.url)
    request = (
        f"GET {job['links']['stream']} HTTP/1.1\r\nHost: {place.netloc}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    before = 0

    async def read() -> bytes:
        nonlocal before
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            writer.write(request)
            received = await reader.readuntil(b"before 4")
            before += 1
            if before == CONNECTIONS:  # all of them are attached while the job runs
                gate.touch()  # noqa: ASYNC240 — a small file
            return received + await reader.read()
        finally:
            writer.close()

    async def test() -> None:
        stories = await asyncio.gather(*(read() for _ in range(CONNECTIONS)))

        assert {story.split(b"\r\n", 1)[0] for story in stories} == {b"HTTP/1.1 200 OK"}
        assert {story.count(b"\nid: ") for story in stories} == {stories[0].count(b"\nid: ")}
        assert all(b"after 4" in story and b'"marker":"[DONE]"' in story for story in stories)

    bounded(test())

"""Narration in a plain FastAPI application, with no job server: the README's example, run."""

import asyncio
import json

import httpx
import httpx_sse

from tests.narration.serving import bounded, serving
from tests.plain_http import PLAIN

EXAMPLE = """
import asyncio
from fastapi import FastAPI, Request, Response
from opentelemetry.sdk.trace import TracerProvider
from narration import Narration, narrate

narration = Narration(TracerProvider())
app = FastAPI()

@app.post("/imports/{name}")
async def start(name: str, rows: int = 3) -> None:
    with narration.story(name, actor="importer"):
        for row in range(rows):
            narrate("read", "Row {row} of {name}", row=row, name=name, cute="Yum, row {row}")
            await asyncio.sleep(0.01)

@app.get("/imports/{name}/stream")
def stream(name: str, request: Request) -> Response:
    return narration.respond(name, request)
"""


def test_the_example_streams_a_story_while_it_is_told() -> None:
    assert len(EXAMPLE.strip().splitlines()) < 20

    names: dict[str, object] = {}
    exec(compile(EXAMPLE, "example", "exec"), names)

    async def test() -> None:
        async with (
            serving(names["app"]) as address,
            httpx.AsyncClient(timeout=30, verify=PLAIN) as client,
        ):
            work = asyncio.create_task(client.post(f"{address}/imports/a", params={"rows": 20}))
            events = await _events(client, f"{address}/imports/a/stream")
            assert (await work).status_code == 200
            again = await client.get(f"{address}/imports/a/stream?format=text&mode=cute&from=20")
            missing = await client.get(f"{address}/imports/b/stream")

        assert [event.event for event in events] == [
            "state",
            *["narration"] * 20,
            "state",
            "end",
        ]
        assert json.loads(events[1].data)["text"] == "Row 0 of a"
        assert [line for line in again.text.splitlines() if line.startswith("data:")] == [
            "data: [importer  ] read           : Yum, row 18",
            "data: [importer  ] read           : Yum, row 19",
            "data: [DONE]",
        ]
        assert missing.status_code == 404

    bounded(test())


async def _events(client: httpx.AsyncClient, address: str) -> list[httpx_sse.ServerSentEvent]:
    """The whole stream, once there is one."""
    while True:
        async with httpx_sse.aconnect_sse(client, "GET", address) as source:
            if source.response.status_code == 200:
                return [event async for event in source.aiter_sse()]
        await asyncio.sleep(0.005)

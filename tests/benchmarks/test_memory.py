"""What the server holds for each stream, waiting job and finished job: its resident memory."""

import json
import time
from collections.abc import Callable

import pytest

from telemetry.names import MetricName
from tests.benchmarks.engines import ROOM
from tests.benchmarks.measuring import Measure
from tests.benchmarks.recording import Record, Size
from tests.benchmarks.servers import WAIT_S, Narrator, Tool

COUNTS = {"memory-stream": 2000, "memory-queued": 2000, "memory-finished": 500}
"""In one round; as many come before the first: what the server makes once is not counted."""

SETTLED_S = 2.5
"""A server that has changed nothing for so long has made compact what it keeps."""

Grow = Callable[[Narrator, Tool, int], None]


def streams(narrator: Narrator, client: Tool, count: int) -> None:
    """Open so many more streams of one job that says nothing."""
    job_id = narrator.submit("block")
    paths = [f"/v1/jobs/{job_id}/stream"]
    assert not client.ask(do="open", port=narrator.port, paths=paths, each=count)["missing"]


def queued(narrator: Narrator, client: Tool, count: int) -> None:
    """Submit so many more jobs behind one that does not end."""
    if not narrator.client.get("/v1/jobs?state=running&limit=1").json()["total"]:
        narrator.submit("block")
    post(narrator, client, "noop", count)


def finished(narrator: Narrator, client: Tool, count: int) -> None:
    """Run so many more jobs of ten messages to their end."""
    before = narrator.client.get("/v1/jobs?state=completed&limit=1").json()["total"]
    post(narrator, client, "ten_events", count)
    narrator.until("completed", before + count)
    newest = narrator.client.get("/v1/jobs?limit=1").json()["jobs"][0]["id"]
    spans = narrator.client.get(f"/v1/jobs/{newest}/trace").text
    assert spans.count('"step"') == 10  # its trace is still served
    settle(narrator)


def settle(narrator: Narrator) -> None:
    """Wait until what is kept of finished jobs does not become smaller any more."""
    kept, since = retained(narrator), time.monotonic()
    end = since + WAIT_S
    while time.monotonic() < min(since + SETTLED_S, end):
        time.sleep(0.1)
        now = retained(narrator)
        if now != kept:
            kept, since = now, time.monotonic()


def retained(narrator: Narrator) -> str:
    """The server's own estimate of what finished jobs take."""
    exposition = narrator.client.get("/metrics").text
    return exposition.partition(f"\n{MetricName.RETAINED_BYTES} ")[2].partition("\n")[0]


def post(narrator: Narrator, client: Tool, operation: str, count: int) -> None:
    """Submit so many."""
    told = client.ask(
        do="post",
        port=narrator.port,
        body=json.dumps({"operation": operation}),
        requests=count,
        connections=8,
    )
    assert (told["answered"], told["refused"]) == (count, 0)


@pytest.mark.parametrize(
    ("key", "grow"),
    [("memory-stream", streams), ("memory-queued", queued), ("memory-finished", finished)],
)
def test_memory_of_each(record: Record, size: Size, client: Tool, key: str, grow: Grow) -> None:
    limits = {"queue_limit": ROOM, "retention_jobs": ROOM, "retention_bytes": 1 << 40}
    with Narrator(concurrency=1, **limits) as narrator:
        count = size.of(COUNTS[key], 20)
        grow(narrator, client, count)
        measure = kilobytes(narrator, client, grow, count)
        record.value(key, measure, rounds=size.of(3, 1))


def kilobytes(narrator: Narrator, client: Tool, grow: Grow, count: int) -> Measure:
    """Kilobytes (1,000 bytes) of each of `count` more."""

    def measure() -> float:
        before = narrator.memory()
        grow(narrator, client, count)
        return (narrator.memory() - before) / count / 1000

    return measure

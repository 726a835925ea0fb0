"""What the server holds for each stream, waiting job and finished job: its resident memory."""

import json
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.conftest import Record, Size
from tests.benchmarks.engines import ROOM
from tests.benchmarks.measuring import Measure, alone
from tests.benchmarks.servers import Narrator, Tool

WARM = 300
"""Of the same, before: what the server makes once is not counted."""

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
    ("key", "grow", "slots"),
    [
        ("memory-stream", streams, 32),
        ("memory-queued", queued, 1),
        ("memory-finished", finished, 8),
    ],
)
def test_memory_of_each(
    benchmark: BenchmarkFixture, record: Record, size: Size, key: str, grow: Grow, slots: int
) -> None:
    limits = {"queue_limit": ROOM, "retention_jobs": ROOM, "retention_bytes": 1 << 40}
    with Narrator(concurrency=slots, **limits) as narrator, Tool("client") as client:
        grow(narrator, client, size.of(WARM, 10))
        values = alone(
            benchmark,
            kilobytes(narrator, client, grow, size.of(2000, 50)),
            rounds=size.of(3, 1),
        )

    record.value(key, values)


def kilobytes(narrator: Narrator, client: Tool, grow: Grow, count: int) -> Measure:
    """Kilobytes (1,000 bytes) of each of `count` more."""

    def measure() -> float:
        before = narrator.memory()
        grow(narrator, client, count)
        return (narrator.memory() - before) / count / 1000

    return measure

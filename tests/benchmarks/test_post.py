"""How many jobs a second are taken over HTTP: jobs that only wait, so that none is run."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.conftest import Record, Size
from tests.benchmarks.engines import ROOM
from tests.benchmarks.measuring import Measure, in_turn
from tests.benchmarks.servers import Endpoint, Narrator, Server, Tool

CONNECTIONS = 16
BODY = json.dumps(
    {
        "operation": "noop",
        "start": "on_stream",
        "attach_timeout_s": 3600,
        "priority": "high",
        "tags": {"team": "blue"},
    }
)


@pytest.fixture(scope="module")
def client() -> Iterator[Tool]:
    """The load generator."""
    with Tool("client") as started:
        yield started


@pytest.fixture(scope="module")
def narrator() -> Iterator[Narrator]:
    """A server that takes as many jobs as come."""
    with Narrator(queue_limit=ROOM) as started:
        yield started


@pytest.mark.parametrize(("key", "traced"), [("post", True), ("post-bare", False)])
def test_jobs_taken_per_second(
    benchmark: BenchmarkFixture,
    record: Record,
    size: Size,
    client: Tool,
    narrator: Narrator,
    key: str,
    traced: bool,
) -> None:
    requests = size.of(1500, 50)
    used: dict[str, list[float]] = {"narrator": [], "endpoint": []}
    with ExitStack() as stack:
        endpoint = stack.enter_context(Endpoint(traced=traced))
        found = in_turn(
            benchmark,
            posts(client, narrator, requests, used["narrator"]),
            posts(client, endpoint, requests, used["endpoint"]),
            rounds=size.of(9, 1),
        )

    spent = {f"{name}_cpu_us": sum(each) / len(each) * 1e6 for name, each in used.items()}
    record.pair(key, found, **spent)


def posts(client: Tool, server: Server, requests: int, used_s: list[float]) -> Measure:
    """Answers a second; the CPU seconds of one request are added to `used_s`."""

    def measure() -> float:
        before = server.cpu_s()
        told = client.ask(
            do="post", port=server.port, body=BODY, requests=requests, connections=CONNECTIONS
        )
        used_s.append((server.cpu_s() - before) / requests)
        assert told["answered"] == requests, told
        assert not told["refused"], told
        return requests / float(told["took_s"])

    return measure

"""How many jobs a second are taken over HTTP: jobs that only wait, so that none is run."""

import json
from collections.abc import Iterator
from statistics import median

import pytest

from tests.benchmarks.engines import ROOM
from tests.benchmarks.measuring import Measure
from tests.benchmarks.recording import Record, Size
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
def narrator() -> Iterator[Narrator]:
    """A server that takes as many jobs as come."""
    with Narrator(queue_limit=ROOM) as started:
        yield started


@pytest.mark.parametrize(("key", "traced"), [("post", True), ("post-bare", False)])
def test_jobs_taken_per_second(
    record: Record, size: Size, client: Tool, narrator: Narrator, key: str, *, traced: bool
) -> None:
    requests = size.of(1500, 50)
    narrator_s: list[float] = []
    endpoint_s: list[float] = []
    with Endpoint(traced=traced) as endpoint:
        record.pair(
            key,
            posts(client, narrator, requests, narrator_s),
            posts(client, endpoint, requests, endpoint_s),
            rounds=size.of(9, 1),
        )

    record.beside(cpu_s_of_ours=median(narrator_s), cpu_s_of_the_reference=median(endpoint_s))


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

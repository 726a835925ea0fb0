"""The clients of the Durable Streams protocol, as they come: npm's and PyPI's."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from durable_streams import stream

from tests.clients.proxy import bounded, proxying
from tests.clients.server import WAIT_S, ServerProcess, serving

HERE = Path(__file__).parent
Reading = Iterator[dict[str, Any]]
Read = Callable[..., Reading]

MODES = ("long-poll", "sse")


@pytest.fixture
def read() -> Iterator[Read]:
    """Starts `durable.mjs` on an address and gives what it prints."""
    node = shutil.which("node")
    assert node is not None, "Node.js is not installed: on Debian, apt-get install nodejs npm"
    package = HERE / "node_modules" / "@durable-streams" / "client"
    assert package.is_dir(), f"the client is not installed: npm ci --prefix {HERE.name}"
    started: list[subprocess.Popen[str]] = []

    def run(address: str, mode: str, offset: str = "-1", *more: str) -> Reading:
        process = subprocess.Popen(
            # The bound: it kills itself where nobody else does.
            ["timeout", str(int(WAIT_S)), node, HERE / "durable.mjs", address, mode, offset, *more],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return (json.loads(line) for line in process.stdout)

    yield run
    for process in started:
        process.terminate()
        process.communicate()


def address_of(server: ServerProcess, job: dict[str, Any]) -> str:
    """What its clients are given: they put their own offset in the place of this one."""
    return f"{server.url}{job['links']['stream']}?offset=-1"


def kept(server: ServerProcess, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The story as the server keeps it, each event as an item."""
    story = server.client.get(job["links"]["narration"]).json()
    return [{"event": each["event"], **each["data"]} for each in story["events"]]


@pytest.mark.node
@pytest.mark.parametrize("mode", MODES)
def test_npms_client_reads_live_and_stops_at_the_end(
    server: ServerProcess, read: Read, gate: Path, mode: str
) -> None:
    job = server.submit("gated", params={"gate": str(gate), "after": 50})
    items: list[dict[str, Any]] = []
    last: dict[str, Any] = {}

    for last in read(address_of(server, job), mode):
        items += last.get("items", [])
        if any(each.get("text") == "before 0" for each in items):
            gate.touch()

    assert last == {"closed": True}
    assert items == kept(server, job)


@pytest.mark.node
def test_npms_client_goes_on_from_the_offset_that_it_had(server: ServerProcess, read: Read) -> None:
    job = server.submit("count", params={"to": 1500})
    server.ended(job["id"])
    first = list(read(address_of(server, job), "long-poll", "-1", "1"))
    middle = first[0]["offset"]
    rest = list(read(address_of(server, job), "long-poll", middle))

    items = [item for batch in (*first, *rest) for item in batch.get("items", [])]
    assert items == kept(server, job)
    assert first[-1] == {"closed": False}
    assert rest[-1] == {"closed": True}


@pytest.mark.node
def test_npms_client_comes_back_when_its_events_are_cut_off(
    server: ServerProcess, read: Read, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate), "before": 100, "after": 100})
    server.reaches(job["id"], "running")
    items: list[dict[str, Any]] = []
    last: dict[str, Any] = {}

    async def run() -> None:
        # The first answer is the catch-up, whole; the second is cut after some events.
        async with proxying(
            server.port, cut=lambda number: 4_000 if number == 1 else None
        ) as proxy:
            job_at = f"{proxy.url}{job['links']['stream']}?offset=-1"

            def all_of_it() -> None:
                nonlocal last
                for last in read(job_at, "sse"):
                    items.extend(last.get("items", []))
                    gate.touch()

            await asyncio.to_thread(all_of_it)

    bounded(run())
    assert last == {"closed": True}
    assert items == kept(server, job)


@pytest.mark.node
def test_npms_client_is_told_what_is_gone(server: ServerProcess, read: Read) -> None:
    job = server.submit("talk")
    server.ended(job["id"])
    of_another = "another_0000000000000001"

    assert list(read(address_of(server, job), "none", of_another)) == [{"error": 410}]


@pytest.mark.parametrize("mode", MODES)
def test_pypis_client_reads_live_to_the_end(
    server: ServerProcess, gate: Path, mode: Literal["long-poll", "sse"]
) -> None:
    job = server.submit("gated", params={"gate": str(gate), "after": 50})
    items: list[dict[str, Any]] = []

    with stream(address_of(server, job), offset="-1", live=mode) as reading:
        for item in reading.iter_json():
            items.append(item)
            if item.get("text") == "before 0":
                gate.touch()
            if item["event"] == "end":  # its version 0.1 knows no Stream-Closed
                break

    assert items == kept(server, job)


def test_pypis_client_goes_on_from_the_offset_that_it_had(
    server: ServerProcess, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate), "before": 3, "after": 3})
    server.reaches(job["id"], "running")

    def caught_up(offset: str) -> tuple[list[dict[str, Any]], str]:
        with stream(address_of(server, job), offset=offset, live=False) as reading:
            return list(reading.iter_json()), str(reading.offset)

    before, offset = caught_up("-1")
    gate.touch()
    server.ended(job["id"])
    after, _ = caught_up(offset)

    assert before
    assert after
    assert before + after == kept(server, job)


@pytest.mark.node
def test_npms_client_follows_a_job_to_the_end_of_a_draining_server(read: Read, gate: Path) -> None:
    with serving(drain_s=WAIT_S) as server:
        job = server.submit("gated", params={"gate": str(gate), "before": 3, "after": 3})
        items: list[dict[str, Any]] = []

        for seen in read(address_of(server, job), "long-poll"):
            items += seen.get("items", [])
            if any(each.get("text") == "before 2" for each in items) and not gate.exists():
                server.process.terminate()
                gate.touch()

    assert [each["seq"] for each in items] == list(range(1, len(items) + 1))
    assert items[-1]["event"] == "end"

"""Who tells, keeps or reads badly gets no more than his bound, and what he took comes back.

A real server with little room, looked at through its own metrics. Memory is compared with itself:
how much a process holds says more about its allocator than about us.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.cli.server import raise_file_limit
from tests.clients.proxy import bounded
from tests.clients.server import ServerProcess, serving, until

OPERATIONS = Path(__file__).with_name("operations.py")
LOG_LIMIT = 1000
MESSAGE_BYTES = 65_536
RETAINED = 1000
MIB = 1 << 20
SIZE = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the server holds, by its metrics."""

    resident: float
    descriptors: float
    streams: float
    retained_jobs: float
    retained_bytes: float


def held(server: ServerProcess) -> Held:
    """As it is now."""
    lines = server.client.get("/metrics").text.splitlines()
    values = {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }
    return Held(
        resident=values["narrator_process_resident_memory_bytes"],
        descriptors=values["narrator_process_open_fds"],
        streams=values["narrator_streams_open"],
        retained_jobs=values["narrator_jobs_retained"],
        retained_bytes=values["narrator_retained_bytes"],
    )


def warmed(server: ServerProcess) -> Held:
    """What it holds once it has done a little of everything."""
    for _ in range(20):
        server.ended(server.submit("tells", params={"count": LOG_LIMIT})["id"])
    return held(server)


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server that keeps little of one job."""
    with serving(
        (OPERATIONS,), log_limit=LOG_LIMIT, max_message_bytes=MESSAGE_BYTES, heartbeat_s=0.1
    ) as running:
        yield running


def request_of(server: ServerProcess, path: str) -> bytes:
    """A GET as a client sends it that asks once."""
    place = urlsplit(server.url).netloc
    return f"GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode()


def connected(server: ServerProcess, path: str) -> socket.socket:
    """A connection on which a stream was asked for, with little room for the answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(request_of(server, path))
    return connection


# --- one job that says too much --------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "count"),
    [
        ("tells", 100_000),
        ("tells-in-a-thread", 100_000),
        pytest.param("tells", 1_000_000, marks=pytest.mark.slow),
    ],
)
def test_a_job_that_tells_more_than_anybody_keeps_costs_what_is_kept(
    server: ServerProcess, operation: str, count: int
) -> None:
    before = warmed(server)
    job = server.submit(operation, params={"count": count})
    assert server.client.get(f"/v1/jobs/{job['id']}?wait=290", timeout=300).json()["state"] == (
        "completed"
    )
    after = held(server)
    told = server.client.get(f"/v1/jobs/{job['id']}/narration").json()["events"]

    assert len(told) <= LOG_LIMIT + 1  # and the gap that says what is gone
    assert told[-1]["event"] == "end"
    assert after.retained_bytes - before.retained_bytes < LOG_LIMIT * 1000
    assert after.resident < 1.5 * before.resident


@pytest.mark.parametrize(
    "operation",
    ["narrates-much", "narrates-much-in-a-child", "logs-much", "prints-much", "fails-much"],
)
def test_a_text_of_ten_megabytes_is_cut_and_leaves_nothing(
    server: ServerProcess, operation: str
) -> None:
    def told() -> list[dict[str, Any]]:
        job_id = server.submit(operation, params={"size": SIZE})["id"]
        server.ended(job_id)
        answer = server.client.get(f"/v1/jobs/{job_id}/narration").json()
        events: list[dict[str, Any]] = answer["events"]
        return events

    for _ in range(5):
        told()
    before = held(server)
    stories = [told() for _ in range(15)]

    assert max(len(str(each["data"])) for told in stories for each in told) < 4 * MESSAGE_BYTES
    until(lambda: held(server).descriptors <= before.descriptors, what="their descriptors")
    until(lambda: held(server).resident < before.resident + 3 * SIZE, what="the memory")


@pytest.mark.parametrize("operation", ["gives-much", "puts-out-much"])
def test_data_of_ten_megabytes_is_refused_or_kept_within_the_bound_of_what_is_kept(
    operation: str,
) -> None:
    with serving((OPERATIONS,), retention_bytes=4 * MIB, max_result_bytes=MIB) as server:

        def done() -> None:
            server.ended(server.submit(operation, params={"size": SIZE})["id"])

        for _ in range(5):
            done()
        before = held(server)
        for _ in range(15):
            done()

        until(lambda: held(server).retained_bytes <= 4 * MIB, what="the bound")
        until(lambda: held(server).resident < before.resident + 3 * SIZE, what="the memory")


# --- many jobs, one after the other ----------------------------------------------------------


@pytest.mark.slow
def test_a_thousand_jobs_that_are_kept_make_room_for_a_thousand_others() -> None:
    with serving((OPERATIONS,), retention_jobs=RETAINED, queue_limit=10 * RETAINED) as server:

        def replaced() -> Held:
            ids = [
                server.submit("tells", params={"count": 20, "size": 500})["id"]
                for _ in range(RETAINED)
            ]
            for each in ids:
                server.ended(each)
            until(lambda: held(server).retained_jobs == RETAINED, what="the bound")
            return held(server)

        first = replaced()
        later = [replaced() for _ in range(2)]

        assert {each.retained_jobs for each in later} == {RETAINED}
        assert {each.descriptors for each in later} == {first.descriptors}
        assert later[-1].resident < 1.2 * first.resident


# --- readers ---------------------------------------------------------------------------------

READERS = 50


@contextlib.contextmanager
def attached(server: ServerProcess, path: str) -> Iterator[list[socket.socket]]:
    """Connections with a stream of `path` each, of which nobody has read anything."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connected(server, path)) for _ in range(READERS)]


@pytest.mark.parametrize("read", [0, 100])
def test_readers_that_read_next_to_nothing_hold_up_nobody_and_leave_nothing(
    server: ServerProcess, tmp_path: Path, read: int
) -> None:
    before = warmed(server)
    gate = tmp_path / "gate"
    job = server.submit("waits", params={"gate": str(gate)})
    with attached(server, job["links"]["stream"]) as readers:
        until(lambda: held(server).streams == READERS, what="the readers")
        heard = ["".join(each.recv(1).decode() for _ in range(read)) for each in readers]
        server.ended(server.submit("tells", params={"count": 10_000})["id"])  # others go on
        gate.touch()

        assert server.ended(job["id"])["state"] == "completed"
        assert {each[:15] for each in heard} == {"HTTP/1.1 200 OK"[:read]}
        assert held(server).resident < 2 * before.resident
    until(lambda: held(server).streams == 0, what="the end of the streams")
    until(lambda: held(server).descriptors <= before.descriptors, what="their descriptors")


def test_readers_that_come_back_in_a_storm_leave_nothing(
    server: ServerProcess, tmp_path: Path
) -> None:
    raise_file_limit()  # of this process: it holds the other ends
    before = warmed(server)
    gate = tmp_path / "gate"
    job = server.submit("waits", params={"gate": str(gate)})
    request = request_of(server, job["links"]["stream"])

    async def storm(times: int) -> None:
        for number in range(times):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request)
            if number % 2:  # every other one does not wait for an answer
                await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()

    async def storms() -> None:
        await asyncio.gather(*(storm(20) for _ in range(100)))

    bounded(storms())
    until(lambda: held(server).streams == 0, what="the end of the streams")
    until(lambda: held(server).descriptors <= before.descriptors, what="their descriptors")
    assert held(server).resident < 2 * before.resident
    gate.touch()
    assert server.ended(job["id"])["state"] == "completed"

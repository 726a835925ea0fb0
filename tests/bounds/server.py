"""A server with little room, what it holds by its own metrics, and who crowds it."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.cli.bounded import MAX_AHEAD
from tests.clients.server import ROOT, WAIT_S, ServerProcess

OPERATIONS = Path(__file__).with_name("operations.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the server holds; memory is looked at when all garbage is gone and given back."""

    resident: float
    descriptors: float
    streams: float
    retained_jobs: float
    retained_bytes: float


def metrics(server: ServerProcess) -> dict[str, float]:
    """The values of all samples, by name and labels."""
    lines = server.client.get("/metrics").text.splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }


def counted(server: ServerProcess, name: str) -> float:
    """One sample; 0 where there is none yet."""
    return metrics(server).get(name, 0)


def held(server: ServerProcess) -> Held:
    """As it is now."""
    values = metrics(server)
    return Held(
        resident=values["narrator_process_resident_memory_bytes"],
        descriptors=values["narrator_process_open_fds"],
        streams=values["narrator_streams_open"],
        retained_jobs=values["narrator_jobs_retained"],
        retained_bytes=values["narrator_retained_bytes"],
    )


def tidied(server: ServerProcess) -> Held:
    """As it is without garbage."""
    server.ended(server.submit("tidies")["id"])
    return held(server)


def blocks(server: ServerProcess) -> int:
    """Blocks that Python's allocator has given out, without garbage: what is held, exactly.

    After a peak the process may keep more from the system than that: one block that is in use holds
    the whole arena around it. It is used again.
    """
    found: int = server.ended(server.submit("tidies")["id"])["result"]
    return found


def warmed(server: ServerProcess, count: int = 1000) -> Held:
    """What it holds once it has done a little of everything."""
    for _ in range(10):
        server.ended(server.submit("tells", params={"count": count})["id"])
    return tidied(server)


@contextlib.contextmanager
def crowd(server: ServerProcess, mode: str, path: str, count: int) -> Iterator[None]:
    """So many readers of `path`, as long as the block lasts: see `tests.bounds.crowd`."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bounds.crowd", mode, str(server.port), path, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(2 * WAIT_S, process.kill)
        watch.start()
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            watch.cancel()
            process.stdin.close()
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def submit_many(server: ServerProcess, operation: str, count: int) -> None:
    """Submit `count` jobs, as fast as one connection goes."""
    body = b'{"operation":"%b"}' % operation.encode()
    one = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as connection:
        for sent in range(0, count, MAX_AHEAD):
            batch = min(MAX_AHEAD, count - sent)
            connection.sendall(one * batch)
            received = b""
            while received.count(b"HTTP/1.1 202 ") < batch:
                received += connection.recv(1 << 16)
                assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 202 ")

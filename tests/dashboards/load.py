"""A scripted load on a real server, under which every metric of ours moves."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.dashboards.generated import RULES
from tests.dashboards.handlers import STALL_S
from tests.telemetry.otlp_receiver import Mode, OtlpReceiver
from tests.telemetry.prometheus import asked, prometheus
from tests.telemetry.served import WAIT_S, Server, locked_out, serving, until

OPERATION: Final = "works"
SLOTS: Final = 4
STORE: Final = "jobs.db"
ENVIRONMENT: Final = {
    "NARRATOR_CONCURRENCY": str(SLOTS),
    "NARRATOR_LOG_LIMIT": "64",
    "NARRATOR_LOG_EVENTS": "true",
    "NARRATOR_CANCEL_GRACE_S": "0.2",
    "NARRATOR_UNWATCHED_GRACE_S": "0.05",
    "OTEL_BSP_MAX_QUEUE_SIZE": "64",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
}
"""Little room for everything, so that little load is enough."""

ROUNDS: Final = 3
"""Each after a scrape: a rate sees what grows between two."""


@contextmanager
def scraped(folder: Path, *, interval_s: float) -> Iterator[tuple[Server, OtlpReceiver, str]]:
    """A server of `handlers.py`, its collector, and the address of a Prometheus that knows it."""
    with (
        OtlpReceiver() as receiver,
        serving(
            folder,
            Path(__file__).with_name("handlers.py"),
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            NARRATOR_STORE=str(folder / STORE),
            **ENVIRONMENT,
        ) as server,
        prometheus(
            urlsplit(server.url).port or 0,
            folder,
            interval=f"{interval_s * 1000:g}ms",
            rules=RULES,
        ) as address,
    ):
        until(lambda: _knows_it(address), "the first scrape")
        yield server, receiver, address


def _knows_it(address: str) -> bool:
    try:
        return bool(asked(address, "query", query="narrator_worker_slots")["result"])
    except OSError:  # it listens before it is ready
        return False


def run(server: Server, receiver: OtlpReceiver, folder: Path) -> None:
    """Every round all that can happen to jobs and readers; at first the collector lives."""
    with following(server, "/v1/stream"):
        for number in range(ROUNDS):
            if number:
                receiver.mode = Mode.ERROR
                server.ended(submit(server, "many spans"))
            _outcomes(server)
            _limits(server)
            _cancellations(server)
            _readers(server)
            _refusals(server)
            _ambiguous(server)
            _full(server)
            _stalls(server)
        _held_up(server, receiver)
        _locked(server, folder / STORE)


def submit(server: Server, how: str, **fields: Any) -> str:
    """The id of a new job."""
    return str(server.submit(OPERATION, params={"how": how}, **fields)["id"])


def _outcomes(server: Server) -> None:
    retry = {"max_attempts": 3, "base_delay_s": 0.4, "jitter": "none"}
    jobs = [
        *(submit(server, "well", priority=priority) for priority in ("low", "high", "critical")),
        *(submit(server, how) for how in ("well", "badly", "later", "never")),
        submit(server, "badly", retry=retry),
    ]
    for job in jobs:
        server.ended(job)


def _limits(server: Server) -> None:
    jobs = [
        submit(server, "endless", timeout_s=0.1),
        submit(server, "endless", deadline_s=0.2),
        submit(server, "well", start="on_stream", attach_timeout_s=0.6),
    ]
    for job in jobs:
        server.ended(job)


def _cancellations(server: Server) -> None:
    for how in ("endless", "deaf"):
        job = submit(server, how)
        server.said(job, "note")
        server.cancel(job)
    job = submit(server, "endless", cancel_when_unwatched=True)
    with following(server, f"/v1/jobs/{job}/stream"):
        server.said(job, "note")
    server.ended(job)


def _readers(server: Server) -> None:
    """One that does not read while its job is loud; one that comes too late; one that errs."""
    job = submit(server, "loud", start="on_stream")
    path = f"/v1/jobs/{job}/stream"
    address = urlsplit(server.url)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(WAIT_S)
        slow.connect((address.hostname, address.port))
        slow.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        server.ended(job)
        _read_to_the_end(slow)
    assert "event: gap" in server.client.get(path).text
    server.client.get(path, headers={"last-event-id": "nonsense"})


def _read_to_the_end(slow: socket.socket) -> None:
    told = b""
    while b"event: end" not in told:
        piece = slow.recv(65_536)
        assert piece, "the stream was cut off"
        told = told[-16:] + piece


def _refusals(server: Server) -> None:
    for body in ({"operation": OPERATION, "params": {"no": 1}}, {"operation": "unknown"}):
        assert server.client.post("/v1/jobs", json=body).is_client_error
    assert server.client.get("/v1/jobs/unknown").status_code == 404


def _ambiguous(server: Server) -> None:
    """A request that can be read in two ways: its connection is cut."""
    address = urlsplit(server.url)
    head = f"GET / HTTP/1.1\r\nHost: {address.netloc}\r\n"
    lengths = "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=WAIT_S) as other:
        other.sendall((head + lengths).encode())
        assert b" 400 " in other.recv(4096)


def _full(server: Server) -> None:
    """All slots are taken for as long as a few scrapes, and jobs wait."""
    running = [submit(server, "endless") for _ in range(SLOTS)]
    for job in running:
        server.said(job, "note")
    expired = submit(server, "well", queue_timeout_s=0.5)
    waiting = [submit(server, "well", priority=level) for level in ("normal", "high")]
    server.ended(expired)
    for job in running:
        server.cancel(job)
    for job in waiting:
        server.ended(job)


def _stalls(server: Server) -> None:
    """The loop stands still, while a thread says more than there is room for."""
    server.ended(submit(server, "stalls"))
    time.sleep(STALL_S)  # for scrapes that it held up


def _held_up(server: Server, receiver: OtlpReceiver) -> None:
    """The collector does not answer for a second, and what ends meanwhile waits to leave."""
    receiver.mode = Mode.HANG
    for _ in range(4):
        server.ended(submit(server, "well"))
        time.sleep(0.25)  # for a scrape
    receiver.mode = Mode.ERROR


def _locked(server: Server, store: Path) -> None:
    """Somebody else has the store's file for longer than is waited for: a commit fails."""
    with locked_out(server, store):
        refused = server.client.post(
            "/v1/jobs", json={"operation": OPERATION, "params": {"how": "well"}}
        )
        assert refused.status_code == 503, refused.text
        assert refused.json()["type"].endswith("store-unavailable")
        time.sleep(1)  # for scrapes that see it


@contextmanager
def following(server: Server, path: str) -> Iterator[None]:
    """A stream that stays open until the block ends."""
    with server.client.stream("GET", path) as answer:
        assert answer.status_code == 200
        yield

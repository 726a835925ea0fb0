"""A real server in a child process, whose spans arrive at a real OTLP receiver, decoded."""

import itertools
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from telemetry import names
from tests.plain_http import PLAIN
from tests.telemetry.otlp_receiver import OtlpReceiver, Received, values_of

WAIT_S: Final = 60.0
"""Bound of everything that a test waits for; far beyond what it takes."""

HANDLERS: Final = Path(__file__).with_name("handlers.py")
ROOT: Final = Path(__file__).parents[2]
_FROM_OUTSIDE: Final = ("OTEL_", "NARRATOR_")

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str = "it") -> T:
    """What `look` gives once it gives something; it is asked again and again, within a bound."""
    end = time.monotonic() + WAIT_S
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not come within {WAIT_S} s"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Caller:
    """A span of somebody else's, in whose name a job is submitted."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @classmethod
    def new(cls, *, sampled: bool = True) -> "Caller":
        """One that nobody has seen yet."""
        return cls(secrets.token_hex(16), secrets.token_hex(8), sampled)

    @property
    def headers(self) -> dict[str, str]:
        """The W3C trace context of a request."""
        flags = "01" if self.sampled else "00"
        return {"traceparent": f"00-{self.trace_id}-{self.span_id}-{flags}"}


class Server:
    """The process, and a client for it."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=WAIT_S, verify=PLAIN)
        self._log = log

    @property
    def log(self) -> str:
        """What the server has written to stderr."""
        return self._log.read_text()

    def submit(
        self, operation: str, *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """The record of a new job."""
        body = {"operation": operation, **fields}
        answer = self.client.post("/v1/jobs", json=body, headers=dict(headers or {}))
        assert answer.status_code == 202, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def record(self, job_id: str) -> dict[str, Any]:
        """The record as it is now."""
        record: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").json()
        return record

    def in_state(self, job_id: str, state: str) -> dict[str, Any]:
        """The record once the job is in `state`."""

        def look() -> dict[str, Any] | None:
            record = self.record(job_id)
            return record if record["state"] == state else None

        return until(look, f"the state {state}")

    def ended(self, job_id: str) -> dict[str, Any]:
        """The record of a job once it has ended."""
        answer = self.client.get(f"/v1/jobs/{job_id}", params={"wait": WAIT_S / 2})
        record: dict[str, Any] = answer.json()
        assert record["finished_at"] is not None, record
        return record

    def run(self, operation: str, **fields: Any) -> dict[str, Any]:
        """The record of a job that was submitted and has ended."""
        return self.ended(str(self.submit(operation, **fields)["id"]))

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Ask for a cancellation, and wait for its end."""
        assert self.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
        return self.ended(job_id)

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """The story so far: each event's data, with its name under `event`."""
        told = self.client.get(f"/v1/jobs/{job_id}/narration").json()["events"]
        return [{"event": each["event"], **each["data"]} for each in told]

    def messages(self, job_id: str) -> list[dict[str, Any]]:
        """The narration so far."""
        return [each for each in self.events(job_id) if each["event"] == "narration"]

    def said(self, job_id: str, action: str) -> dict[str, Any]:
        """The first message of `action`, once it has been told."""

        def look() -> dict[str, Any] | None:
            return next((m for m in self.messages(job_id) if m["action"] == action), None)

        return until(look, f"the message {action}")

    def trace(self, job_id: str, **query: str) -> Any:
        """The job's spans so far."""
        answer = self.client.get(f"/v1/jobs/{job_id}/trace", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def metrics(self) -> str:
        """The exposition."""
        return self.client.get("/metrics").text

    def stop(self) -> float:
        """SIGTERM; the seconds until the process has ended."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_S)
        return time.monotonic() - began


@contextmanager
def serving(folder: Path, handlers: Path = HANDLERS, /, **environment: str) -> Iterator[Server]:
    """Serve the operations of `handlers` with `environment` until the block ends."""
    log = folder / f"server-{secrets.token_hex(4)}.log"
    outside = {k: v for k, v in os.environ.items() if not k.startswith(_FROM_OUTSIDE)}
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "serve", str(handlers), "--port", "0"],
            cwd=folder,
            env={
                **outside,
                "PYTHONPATH": str(ROOT),
                "NARRATOR_DRAIN_S": "0",
                "NARRATOR_CANCEL_GRACE_S": "1",
                "OTEL_BSP_SCHEDULE_DELAY": "20",
                "OTEL_BLRP_SCHEDULE_DELAY": "20",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert "listening on " in said, log.read_text()
            server = Server(process, said.split()[-1], log)
            with server.client:
                yield server
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(WAIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()


class Trace:
    """The spans of one trace, as they arrived."""

    def __init__(self, spans: list[Received]) -> None:
        self.spans = sorted(spans, key=lambda each: each.span.start_time_unix_nano)

    def named(self, name: str) -> list[Received]:
        """The spans of this name, by their start."""
        return [each for each in self.spans if each.span.name == name]

    def one(self, name: str) -> Received:
        """The only span of this name."""
        (found,) = self.named(name)
        return found

    def under(self, parent: str) -> list[str]:
        """What hangs under the span id `parent`: names by their start, two spaces a level."""
        below = [each for each in self.spans if each.span.parent_span_id.hex() == parent]
        return [
            line
            for each in below
            for line in (
                each.span.name,
                *(f"  {deeper}" for deeper in self.under(each.span.span_id.hex())),
            )
        ]


def trace_of(receiver: OtlpReceiver, trace_id: str, *, requests: int = 1) -> Trace:
    """The spans of a trace once those of its job and of so many POSTs have arrived.

    Spans leave in the order in which they end, and a job's own ends last.
    """

    def look() -> Trace | None:
        found = [each for each in list(receiver.spans) if each.span.trace_id.hex() == trace_id]
        job = any(each.span.name.startswith(f"{names.SPAN_JOB} ") for each in found)
        posts = sum(each.span.name.startswith("POST ") for each in found)
        return Trace(found) if job and posts >= requests else None

    return until(look, "the trace")


def events_of(received: Received) -> list[tuple[str, dict[str, Any]]]:
    """A span's events with their attributes."""
    return [(event.name, values_of(event.attributes)) for event in received.span.events]


def samples(exposition: str) -> dict[str, float]:
    """Each sample of a Prometheus exposition by its name and labels, as they are written."""
    lines = (line for line in exposition.splitlines() if line and not line.startswith("#"))
    return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines)}


def nodes_of(tree: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All nodes of a `/trace`, from the top."""
    deeper = itertools.chain.from_iterable(nodes_of(node["children"]) for node in tree)
    return [*tree, *deeper]


def text_of(value: Any) -> str:
    """`value` as JSON text, to look for what must not be in it."""
    return json.dumps(value, ensure_ascii=False)


@contextmanager
def locked_out(server: Server, store: Path) -> Iterator[None]:
    """Somebody else holds the store's file: a commit fails after the time that is waited for."""
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
    until(lambda: server.client.get("/readyz").status_code == 200, "the store")

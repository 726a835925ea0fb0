"""What a test asks of a fragile server, one call at a time; and a reader of one stream."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx

from tests.kill.frames import Frame, Frames
from tests.kill.server import FragileServer

WAIT_S: Final = 60.0
"""Bound of everything that is waited for; far beyond what it takes."""


def until(holds: Callable[[], object], what: str, within_s: float = WAIT_S) -> None:
    """Wait until `holds` gives something true; fails after `within_s` seconds."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"{what} did not come within {within_s} s"
        time.sleep(0.02)


class Calls:
    """Calls of one client."""

    def __init__(self, server: FragileServer) -> None:
        none = httpx.Limits(max_keepalive_connections=0)  # so that nothing is left to close
        self.http = httpx.Client(base_url=server.url, timeout=WAIT_S, limits=none, trust_env=False)

    def post(self, operation: str, **fields: Any) -> httpx.Response:
        """The answer to a submission."""
        return self.http.post("/v1/jobs", json={"operation": operation, **fields})

    def submit(self, operation: str, /, *, params: dict[str, Any], **fields: Any) -> str:
        """The id of a new job."""
        answer = self.post(operation, params=params, **fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def record(self, job_id: str, **query: Any) -> dict[str, Any]:
        """Its record as it is now."""
        answer = self.http.get(f"/v1/jobs/{job_id}", params=query)
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def ended(self, job_id: str) -> dict[str, Any]:
        """Its record once it has finished."""
        record = self.record(job_id, wait=WAIT_S)
        assert record["finished_at"], record
        return record

    def reaches(self, job_id: str, state: str) -> dict[str, Any]:
        """Its record once it is in `state`."""
        until(lambda: self.record(job_id)["state"] == state, f"state {state}")
        return self.record(job_id)

    def frames(self, job_id: str, last: str | None = None) -> list[Frame]:
        """Its story so far, or what comes after the id `last`."""
        headers = {"last-event-id": last} if last else {}
        address = f"/v1/jobs/{job_id}/stream"
        answer = self.http.get(address, params={"follow": "false"}, headers=headers)
        return list(Frames().feed(answer.content))

    def ready(self) -> tuple[int, bool]:
        """The status of /readyz, and its check of the store."""
        answer = self.http.get("/readyz")
        return answer.status_code, bool(answer.json()["checks"]["store"])


class Reader(threading.Thread):
    """Follows one job's stream over one connection, until it ends."""

    def __init__(self, server: FragileServer, job_id: str, last: str | None = None) -> None:
        super().__init__(daemon=True)
        self.frames: list[Frame] = []
        self.heartbeats = 0
        self._address = f"{server.url}/v1/jobs/{job_id}/stream"
        self._headers = {"last-event-id": last} if last else {}

    def run(self) -> None:
        """The thread."""
        frames = Frames()
        with (
            contextlib.suppress(httpx.TransportError),
            httpx.stream("GET", self._address, headers=self._headers, timeout=WAIT_S) as answer,
        ):
            for data in answer.iter_raw():
                self.heartbeats += data.startswith(b":")
                self.frames += frames.feed(data)

    def beats(self) -> None:
        """Wait for a heartbeat, twice: the first may have been under way already."""
        seen = self.heartbeats
        until(lambda: self.heartbeats >= seen + 2, "a heartbeat")

    @property
    def last(self) -> str:
        """The id of the last event that has one."""
        return next(frame.id for frame in reversed(self.frames) if frame.id)


@contextlib.contextmanager
def reading(server: FragileServer, job_id: str, last: str | None = None) -> Iterator[Reader]:
    """Read a stream meanwhile; something of it is there when this is entered."""
    reader = Reader(server, job_id, last)
    reader.start()
    until(lambda: reader.frames or not reader.is_alive(), "an event")
    yield reader


def numbers(frames: list[Frame]) -> list[int]:
    """The sequences of those frames that have one."""
    return [int(frame.id.partition(".")[2]) for frame in frames if frame.id]

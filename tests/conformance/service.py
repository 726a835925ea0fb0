"""A job server as a client sees it, whatever keeps its jobs and runs them.

A test asks for an address each time that it calls, since there may be several, and restarts it
only where what it knows outlives it.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.clients.server import OPERATIONS as CLIENTS
from tests.clients.server import WAIT_S, ServerProcess, serving, until
from tests.clients.wire import Frame, Heard, read, stream

OPERATIONS = Path(__file__).with_name("operations.py")
BACKENDS = ("memory", "sqlite")


class Service:
    """Started by `started`."""

    def __init__(self, backend: str, folder: Path, settings: dict[str, Any]) -> None:
        self.durable = backend != "memory"
        self._settings = {
            **({"store": folder / "jobs.db"} if self.durable else {}),
            "cancel_grace_s": 1,
            "heartbeat_s": 0.5,
            "unwatched_grace_s": 0.2,
            "concurrency": 30,
            **settings,
        }
        self._life = contextlib.ExitStack()
        self.server = self._begin()

    def _begin(self) -> ServerProcess:
        return self._life.enter_context(serving((OPERATIONS, CLIENTS), **self._settings))

    # --- its life -----------------------------------------------------------------------------

    def api(self) -> httpx.Client:
        """A client of one of its addresses."""
        return self.server.client

    def restart(self, *, kill: bool = False) -> None:
        """All of it ends, as it does when it is told to or at once, and begins again."""
        assert self.durable
        if kill:
            self.server.process.kill()
            self.server.process.wait(timeout=WAIT_S)
        self._life.close()
        self.server = self._begin()

    def close(self) -> None:
        """It ends."""
        self._life.close()

    # --- what a client does -------------------------------------------------------------------

    def post(self, body: Any, **options: Any) -> httpx.Response:
        """The answer to a submission."""
        return self.api().post("/v1/jobs", json=body, **options)

    def submit(
        self, operation: str, params: dict[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """The record of a new job."""
        answer = self.post({"operation": operation, "params": params or {}, **fields})
        assert answer.status_code == 202, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def get(self, path: str, **query: Any) -> httpx.Response:
        """The answer to a read."""
        return self.api().get(path, params=query)

    def record(self, job_id: str, **query: Any) -> dict[str, Any]:
        """A job as it is now."""
        answer = self.get(f"/v1/jobs/{job_id}", **query)
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def ended(self, job_id: str) -> dict[str, Any]:
        """A job once it has ended."""
        record = self.record(job_id, wait=WAIT_S)
        assert record["finished_at"] is not None, record
        return record

    def reaches(self, job_id: str, state: str) -> dict[str, Any]:
        """A job once it is in `state`."""
        until(lambda: self.record(job_id)["state"] == state, what=f"state {state}")
        return self.record(job_id)

    def cancel(self, job_id: str) -> httpx.Response:
        """The answer to the wish that a job be cancelled."""
        return self.api().post(f"/v1/jobs/{job_id}/cancel")

    def found(self, **query: Any) -> list[str]:
        """The ids of one page of jobs."""
        answer = self.get("/v1/jobs", **query)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["jobs"]]

    def story(self, job_id: str, **query: Any) -> list[Frame]:
        """All that a stream sends until it ends."""
        return read(self.api(), f"/v1/jobs/{job_id}/stream", **query)

    def following(self, job_id: str, **query: Any) -> contextlib.AbstractContextManager[Heard]:
        """A stream that is open."""
        return stream(self.api(), f"/v1/jobs/{job_id}/stream", **query)

    def states(self, job_id: str) -> list[str]:
        """The states that the story of a job tells, which has ended."""
        return [each.body["state"] for each in self.story(job_id) if each.event == "state"]


@contextlib.contextmanager
def started(backend: str, folder: Path, **settings: Any) -> Iterator[Service]:
    """A service that ends with the block."""
    service = Service(backend, folder, settings)
    try:
        yield service
    finally:
        service.close()


def refused(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that `answer` is, of that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= problem.keys()
    return problem

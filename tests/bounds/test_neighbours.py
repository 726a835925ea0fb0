"""Whatever is held or told elsewhere on a server, a steady job on it takes as long as before.

A comparison within one run, of medians of interleaved rounds: `make test-bounds`, since a busy
machine tells little in the few that a quick run has time for.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import pytest

from tests.bounds.scale import Scale
from tests.bounds.server import OPERATIONS, crowd, submit_many
from tests.clients.server import ServerProcess, serving

MOST = 1.3
STEPS = 25
READERS = 100
"""Of a job that says a hundred things a second: more would need the time of a core to be told."""
RETAINED = 1000

Load = Callable[[ServerProcess, Scale, Path], AbstractContextManager[None]]


def taken(server: ServerProcess) -> float:
    """Seconds that a steady job ran."""
    record = server.ended(server.submit("steady", params={"steps": STEPS})["id"])
    assert record["state"] == "completed"
    began, ended = (datetime.fromisoformat(record[at]) for at in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


@contextlib.contextmanager
def reading(
    server: ServerProcess, operation: str, folder: Path, mode: str, count: int
) -> Iterator[None]:
    """A crowd of one job's readers."""
    gate = folder / "gate"
    gate.unlink(missing_ok=True)
    job = server.submit(operation, params={"gate": str(gate)})
    with crowd(server, mode, job["links"]["stream"], count):
        yield
    gate.touch()
    server.ended(job["id"])


def idle(server: ServerProcess, scale: Scale, folder: Path) -> AbstractContextManager[None]:
    return reading(server, "holds", folder, "idle", scale.streams)


def deaf(server: ServerProcess, scale: Scale, folder: Path) -> AbstractContextManager[None]:
    return reading(server, "talks", folder, "deaf", READERS)


def drip(server: ServerProcess, scale: Scale, folder: Path) -> AbstractContextManager[None]:
    return reading(server, "talks", folder, "drip", READERS)


def storm(server: ServerProcess, scale: Scale, folder: Path) -> AbstractContextManager[None]:
    return reading(server, "holds", folder, "storm", 10)


@contextlib.contextmanager
def talking(operation: str, server: ServerProcess, **params: int) -> Iterator[None]:
    job = server.submit(operation, params=params)
    yield
    server.client.post(f"/v1/jobs/{job['id']}/cancel")
    server.ended(job["id"])


def million(server: ServerProcess, scale: Scale, folder: Path) -> AbstractContextManager[None]:
    return talking("tells", server, count=scale.messages)


def large(server: ServerProcess, scale: Scale, folder: Path) -> AbstractContextManager[None]:
    return talking("narrates-much", server, size=10_000_000)


def large_child(server: ServerProcess, scale: Scale, folder: Path) -> AbstractContextManager[None]:
    return talking("narrates-much-in-a-child", server, size=10_000_000)


@pytest.mark.parametrize(
    "load", [idle, deaf, drip, storm, million, large, large_child], ids=lambda each: each.__name__
)
def test_a_steady_job_is_not_slowed(load: Load, scale: Scale, tmp_path: Path) -> None:
    if not scale.rounds:
        pytest.skip("a comparison for `make test-bounds`")
    with serving((OPERATIONS,), log_limit=1000, retention_jobs=20) as server:
        alone, beside = [], []
        for _ in range(scale.rounds):
            alone.append(taken(server))
            with load(server, scale, tmp_path):
                beside.append(taken(server))
    _compare(load.__name__, alone, beside)


def test_a_steady_job_is_not_slowed_by_jobs_that_wait_or_are_kept(scale: Scale) -> None:
    """The same server, first empty, then with a full queue and full retention; no turns there."""
    if not scale.rounds:
        pytest.skip("a comparison for `make test-bounds`")
    with (
        serving((OPERATIONS,)) as empty,
        serving((OPERATIONS,), queue_limit=scale.queued + 10, retention_jobs=RETAINED) as full,
    ):
        submit_many(full, "nothing", RETAINED)
        submit_many(full, "queued", scale.queued)
        alone, beside = [], []
        for _ in range(scale.rounds):
            alone.append(taken(empty))
            beside.append(taken(full))
    _compare("queued", alone, beside)


def _compare(what: str, alone: list[float], beside: list[float]) -> None:
    ratio = statistics.median(beside) / statistics.median(alone)
    print(f"{what}: {ratio:.2f} times as long")  # noqa: T201 - a figure to report, shown with -rP
    assert ratio <= MOST

"""A real `narrator serve`, as a child process, and what a test does with it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.plain_http import PLAIN

ROOT = Path(__file__).parents[2]
OPERATIONS = Path(__file__).with_name("operations.py")
WAIT_S = 30.0
"""Bound of everything that a test waits for; far beyond what it takes."""

_SAYS = "narrator: listening on "


def until(holds: Callable[[], object], *, what: str = "it", within_s: float = WAIT_S) -> None:
    """Wait until `holds` gives something true; fails after `within_s` seconds."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"{what} did not come within {within_s} s"
        time.sleep(0.01)


@dataclass(slots=True, kw_only=True)
class ServerProcess:
    """A running server; `client` talks to it."""

    process: subprocess.Popen[str]
    url: str
    said: Path
    """The file that holds its stderr."""
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_S, verify=PLAIN)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def complaints(self) -> str:
        """What it has written to stderr."""
        return self.said.read_text()

    def submit(self, operation: str, /, **fields: Any) -> dict[str, Any]:
        """The record of a new job."""
        answer = self.client.post("/v1/jobs", json={"operation": operation, **fields})
        assert answer.status_code == 202, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def record(self, job_id: str, **query: Any) -> dict[str, Any]:
        """The record of a job as it is now."""
        record: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}", params=query).json()
        return record

    def ended(self, job_id: str) -> dict[str, Any]:
        """The record of a job once it has ended."""
        record = self.record(job_id, wait=WAIT_S)
        assert record["finished_at"] is not None, record
        return record

    def reaches(self, job_id: str, state: str) -> None:
        """Wait until a job is in `state`."""
        until(lambda: self.record(job_id)["state"] == state, what=f"state {state}")

    def streams(self) -> int:
        """How many streams are open, by its own metrics."""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith("narrator_streams_open "):
                return int(float(line.split()[1]))
        raise AssertionError("there is no narrator_streams_open")

    def ends(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=WAIT_S)


@contextlib.contextmanager
def serving(
    targets: Sequence[str | Path] = (OPERATIONS,),
    *,
    cwd: Path = ROOT,
    arguments: Sequence[str] = (),
    module: str = "app.cli.main",
    **settings: object,
) -> Iterator[ServerProcess]:
    """Serve until the block ends; `settings` become variables. Nothing of it is left afterwards.

    `module` is run with the arguments of `narrator`.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".stderr") as said:
        process = subprocess.Popen(
            [
                # -P: the working directory is not on the path, as with the script `narrator`.
                *(sys.executable, "-P", "-m", module, "serve"),
                *(str(target) for target in targets),
                *("--port", "0", *arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=said,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=cwd,
            env=_environment({"drain_s": 0, "cancel_grace_s": 1, **settings}),
            start_new_session=True,
        )
        try:
            server = ServerProcess(
                process=process, url=_address(process, Path(said.name)), said=Path(said.name)
            )
            with server.client:
                yield server
            assert "Traceback" not in server.complaints, server.complaints
        finally:
            _end(process)


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NARRATOR_", "OTEL_"))
    }
    given = {f"NARRATOR_{name.upper()}": str(value) for name, value in settings.items()}
    return {**kept, "PYTHONPATH": str(ROOT), **given}


def _address(process: subprocess.Popen[str], said: Path) -> str:
    """The address from its first line; bounded, since a server that hangs says none."""
    assert process.stdout is not None
    watch = threading.Timer(WAIT_S, process.kill)
    watch.start()
    try:
        line = process.stdout.readline()
    finally:
        watch.cancel()
    assert line.startswith(_SAYS), f"it said {line!r} and wrote:\n{said.read_text()}"
    return line.removeprefix(_SAYS).strip()


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            _close(process)
    _close(process)


def _close(process: subprocess.Popen[str]) -> None:
    if process.stdout is not None:
        process.stdout.close()

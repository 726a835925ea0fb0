"""The processes that are measured, and those that measure: started, asked, stopped by their id.

Their CPU time is the kernel's own count of the process, all of its threads included. Everything
listens on 127.0.0.1. It does not know what is measured.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

import httpx

ROOT: Final = Path(__file__).parents[2]
OPERATIONS: Final = Path(__file__).with_name("operations.py")
WAIT_S: Final = 60.0
"""Bound of everything that is waited for; far beyond what it takes."""

HOST: Final = "127.0.0.1"
_FROM_OUTSIDE: Final = ("OTEL_", "NARRATOR_")


class Process:
    """A child process, which says one line when it is ready."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        outside = {k: v for k, v in os.environ.items() if not k.startswith(_FROM_OUTSIDE)}
        self.folder = tempfile.TemporaryDirectory(prefix="narrator-bench-")
        self._said = Path(self.folder.name, "stderr")
        with self._said.open("w") as stderr:
            self._process = subprocess.Popen(
                arguments,
                cwd=self.folder.name,
                env={**outside, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def cpu_s(self) -> float:
        """CPU seconds that it has used."""
        return cpu_s(self.pid)

    def line(self) -> str:
        """The next line that it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it ended: {self._said.read_text()[-2000:]}"
        return line.rstrip("\n")

    def tell(self, line: str) -> None:
        """Give it one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Stop it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self.folder.cleanup()


class Server(Process):
    """A server that says its address in its first line."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        super().__init__(*arguments, **environment)
        self.client = httpx.Client(timeout=WAIT_S)
        try:
            self.port = int(self.line().rpartition(":")[2])
        except BaseException:
            self.close()
            raise
        self.client.base_url = httpx.URL(f"http://{HOST}:{self.port}")

    def memory(self) -> int:
        """Bytes of memory that it holds."""
        return resident(self.pid)

    def close(self) -> None:
        """Stop it."""
        self.client.close()
        super().close()


class Narrator(Server):
    """`narrator serve` with the operations of the benchmarks; settings by their names."""

    def __init__(self, **settings: Any) -> None:
        given = {"drain_s": 0, "cancel_grace_s": 1, **settings}
        super().__init__(
            *(sys.executable, "-m", "app.cli.main", "serve", str(OPERATIONS), "--port", "0"),
            **{f"NARRATOR_{name.upper()}": str(value) for name, value in given.items()},
        )

    def submit(self, operation: str, start: str = "on_submit", **params: Any) -> str:
        """The id of a new job."""
        body = {"operation": operation, "params": params, "start": start}
        answer = self.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def run(self, operation: str, **params: Any) -> dict[str, Any]:
        """The record of a job that was submitted and has ended."""
        job_id = self.submit(operation, **params)
        record: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}?wait={WAIT_S}").json()
        assert record["state"] == "completed", record
        return record

    def go(self, key: str, jobs: int, **plan: Any) -> None:
        """Let the talks of `key` say something."""
        assert self.run("go", key=key, **plan)["result"] == jobs

    def until(self, state: str, count: int) -> None:
        """Wait until so many jobs are in `state`."""
        end = time.monotonic() + WAIT_S
        while self.client.get(f"/v1/jobs?state={state}&limit=1").json()["total"] < count:
            assert time.monotonic() < end, f"not {count} jobs were {state}"
            time.sleep(0.02)


class Endpoint(Server):
    """The FastAPI endpoint that a POST is compared with."""

    def __init__(self, *, traced: bool) -> None:
        module = "tests.benchmarks.endpoint"
        super().__init__(sys.executable, "-m", module, *(["--traced"] if traced else []))


class Tool(Process):
    """A module of ours that answers lines of JSON with lines of JSON."""

    def __init__(self, module: str, **environment: str) -> None:
        super().__init__(sys.executable, "-m", f"tests.benchmarks.{module}", **environment)

    def ask(self, **question: Any) -> dict[str, Any]:
        """Its answer."""
        self.begin(**question)
        return self.answer()

    def begin(self, **question: Any) -> None:
        """Ask, and do not wait for the answer."""
        self.tell(json.dumps(question))

    def answer(self) -> dict[str, Any]:
        """The next thing that it says."""
        answer: dict[str, Any] = json.loads(self.line())
        return answer


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, its threads included; finer than the ticks of /proc/PID/stat."""
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) gives on Linux


def resident(pid: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

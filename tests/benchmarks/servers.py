"""The processes that are measured, and those that measure: started, asked, stopped by their id.

Their CPU time is the kernel's own count of the process, all of its threads included. Everything
listens on 127.0.0.1. It does not know what is measured.
"""

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import httpx

ROOT: Final = Path(__file__).parents[2]
OPERATIONS: Final = Path(__file__).with_name("operations.py")
WAIT_S: Final = 60.0
"""Bound of everything that is waited for; far beyond what it takes."""

HOST: Final = "127.0.0.1"
_FROM_OUTSIDE: Final = ("OTEL_", "NARRATOR_")
_MODULES: Final = (Path("/usr/lib/nginx/modules"), Path("/usr/share/nginx/modules"))


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
        self.port = int(self.line().rpartition(":")[2])
        self.client = httpx.Client(base_url=f"http://{HOST}:{self.port}", timeout=WAIT_S)

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
        given = {"drain_s": 0, "cancel_grace_s": 0, **settings}
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


class Nchan:
    """nginx with nchan: its own folder, one worker, everything else as it comes."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="narrator-bench-nginx-")
        self.port = _free_port()
        config = Path(self.folder.name, "nginx.conf")
        config.write_text(
            _NGINX.format(module=_nchan_module(), folder=self.folder.name, port=self.port)
        )
        self._process = subprocess.Popen(
            ["nginx", "-e", f"{self.folder.name}/error.log", "-c", str(config)],
            stdin=subprocess.DEVNULL,
        )
        self._publisher = self._connect()

    def close(self) -> None:
        """Stop it."""
        self._publisher.close()
        self._process.terminate()
        self._process.wait(WAIT_S)
        self.folder.cleanup()

    def cpu_s(self) -> float:
        """CPU seconds that its processes have used."""
        return sum(cpu_s(each) for each in (self._process.pid, *_children(self._process.pid)))

    def publish(self, channels: list[str], message: bytes) -> None:
        """Publish `message` on each of `channels`, all of it in one write; wait for the answers."""
        head = b"Host: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(message)
        requests = (b"POST /pub/%b HTTP/1.1\r\n" % each.encode() for each in channels)
        self._publisher.sendall(b"".join(each + head + message for each in requests))
        answers, answered = b"", 0
        while answered < len(channels):
            answers += self._publisher.recv(65_536)
            while (end := _answer_end(answers)) is not None:
                assert answers.startswith(b"HTTP/1.1 20"), answers[:200]
                answers, answered = answers[end:], answered + 1

    def _connect(self) -> socket.socket:
        end = time.monotonic() + WAIT_S
        while True:
            try:
                connected = socket.create_connection((HOST, self.port), WAIT_S)
            except ConnectionRefusedError:
                assert time.monotonic() < end, "nginx does not listen"
                time.sleep(0.02)
            else:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connected


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


@functools.cache
def nginx_version() -> str:
    """The installed nginx's version; a dash without it or its nchan module."""
    if shutil.which("nginx") is None or _nchan_module() is None:
        return "–"
    told = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return told.strip().rpartition("/")[2]


def environment_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as variables."""
    return {f"NARRATOR_{name.upper()}": str(value) for name, value in settings.items()}


def _nchan_module() -> Path | None:
    files = (folder / "ngx_nchan_module.so" for folder in _MODULES)
    return next((file for file in files if file.exists()), None)


def _answer_end(data: bytes) -> int | None:
    """Where the first answer in `data` ends; None if not all of it is there."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = data[:head].lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    end = head + 4 + int(length)
    return end if end <= len(data) else None


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port


_NGINX: Final = """
load_module {module};
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 10000000;
  keepalive_timeout 1h;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/pub/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; }}
    location ~ ^/sub/(\\w+)$ {{
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"""

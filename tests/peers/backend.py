"""Arize Phoenix, a trace backend that nobody here wrote: started, asked, stopped.

It takes OTLP over HTTP and gives spans back with their events. What it has no room for (links, the
kind of a span, what was dropped) its API can't show. It knows nothing of our server.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

ROOT: Final = Path(__file__).parents[2]
PEERS: Final = ROOT / ".venv-peers" / "bin"
"""Where `make test-peers` has installed the peers."""

_LAUNCHER: Final = Path(__file__).with_name("phoenix_on_loopback.py")
_START_S: Final = 300.0  # it makes its database first, which took a minute on two busy cores
_STOP_S: Final = 30.0


class Phoenix:
    """The process, and a client for it."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
        self._process = process
        self._log = log
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=30)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def spans(self, trace_id: str) -> dict[str, dict[str, Any]]:
        """The spans of a trace that have arrived, by their ids; none before the first has."""
        query: dict[str, str | int] = {"limit": 1000, "trace_id": trace_id}
        answer = self.client.get("/v1/projects/default/spans", params=query)
        if answer.status_code == httpx.codes.NOT_FOUND:  # the project is made by its first span
            return {}
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]
        assert len({span["context"]["span_id"] for span in found}) == len(found)
        return {span["context"]["span_id"]: span for span in found}

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            AssertionError: it has ended, or does not answer in time.

        """
        end = time.monotonic() + _START_S
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return self.client.get("/healthz").is_success
        except httpx.TransportError:
            return False


@contextmanager
def running_phoenix(folder: Path) -> Iterator[Phoenix]:
    """Phoenix on free ports of 127.0.0.1, with all that it keeps in `folder`."""
    assert PEERS.is_dir(), "the peers are not installed: make test-peers"
    http, grpc = _free_ports(2)
    log = folder / "phoenix.log"
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PHOENIX_"))}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [PEERS / "python", _LAUNCHER],
            cwd=folder,
            env={
                **outside,
                "PHOENIX_HOST": "127.0.0.1",
                "PHOENIX_PORT": str(http),
                "PHOENIX_GRPC_PORT": str(grpc),
                "PHOENIX_WORKING_DIR": str(folder),
                "PHOENIX_TELEMETRY_ENABLED": "false",
                "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        phoenix = Phoenix(process, f"http://127.0.0.1:{http}", log)
        try:
            with phoenix.client:
                phoenix.wait()
                yield phoenix
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_ports(count: int) -> list[int]:
    """Ports that are free now; all are held until all are known, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()

"""A server on a fixed port and a fixed store, that can be killed and started again."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
OPERATIONS: Final = Path(__file__).with_name("operations.py")
PROC: Final = Path("/proc")
START_S: Final = 120.0
"""Bound of a start; far beyond what it takes on a busy machine."""
SETTINGS: Final[Mapping[str, object]] = {
    "concurrency": 12,
    "queue_limit": 5000,
    "retention_jobs": 1_000_000,
    "retention_s": 1_000_000,
    "retention_bytes": 1 << 40,
    "cancel_grace_s": 1,
    "drain_s": 1,
    "heartbeat_s": 0.5,
}


def free_port() -> int:
    """A port that nobody has; the server is started on it again and again."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class FragileServer:
    """`narrator serve` in lives that follow each other; all are on one store and one port."""

    def __init__(
        self,
        directory: Path,
        *,
        store: Path | None = None,
        targets: tuple[Path, ...] = (OPERATIONS,),
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        self.directory = directory
        self.store = store or directory / "jobs.db"
        self.ledger = directory / "ledger"
        self.said = directory / "said"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts_s: list[float] = []
        """How long each start took that was not killed."""
        self.kills = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._targets = targets
        given = {**SETTINGS, "store": self.store, "port": self.port, **settings}
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("NARRATOR_", "OTEL_"))
        }
        self.environment = {
            **kept,
            **{f"NARRATOR_{name.upper()}": str(value) for name, value in given.items()},
            "PYTHONPATH": str(ROOT),
            "KILL_LEDGER": str(self.ledger),
            **(environment or {}),
        }

    def spawn(self) -> None:
        """Begin to start it."""
        with self.said.open("ab") as said, self.directory.joinpath("out").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "app.cli.main", "serve", *map(str, self._targets)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=said,
                env=self.environment,
                cwd=self.directory,
                start_new_session=True,
            )

    async def start(self) -> float:
        """Start it and wait until it accepts; the seconds that it took."""
        before = time.monotonic()
        self.spawn()
        await self.ready()
        took_s = time.monotonic() - before
        self.starts_s.append(took_s)
        return took_s

    async def ready(self) -> None:
        """Wait until it accepts connections."""
        end = time.monotonic() + START_S
        while not self.accepts:
            assert self.running, f"it ended by itself:\n{self.complaints[-4000:]}"
            assert time.monotonic() < end, f"it did not start:\n{self.complaints}"
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, at this moment; when it returns the process is gone."""
        assert self.process is not None
        assert self.running, f"it ended by itself:\n{self.complaints[-4000:]}"
        self.process.kill()
        self.process.wait()
        self.kills += 1

    async def ends(self, *signals: signal.Signals) -> int:
        """Send signals, a moment apart; its exit code."""
        assert self.process is not None
        for number in signals:
            self.process.send_signal(number)
            await asyncio.sleep(0.3)
        return await asyncio.to_thread(self.process.wait, START_S)

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def accepts(self) -> bool:
        """Whether this life has said that it accepts connections."""
        return b"listening on" in self.directory.joinpath("out").read_bytes()

    @property
    def complaints(self) -> str:
        """What all its lives have written to stderr."""
        return self.said.read_text(errors="replace")

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.running:
            self.process.kill()
            self.process.wait()
        for pid in self.strays():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def strays(self) -> list[int]:
        """The processes of earlier lives, or of this one if it has ended."""
        mark = f"KILL_LEDGER={self.ledger}".encode()
        return [
            pid
            for pid in [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]
            if mark in _environ(pid) and not self._belongs(pid)
        ]

    def _belongs(self, pid: int) -> bool:
        """Whether it is the running server, or a child of it."""
        ours = self.process.pid if self.process is not None and self.running else None
        while pid > 1 and pid != ours:
            pid = _parent(pid)
        return pid == ours


def _environ(pid: int) -> bytes:
    try:
        return (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])

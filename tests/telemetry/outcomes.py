"""A job of each outcome, run on a real server that serves handlers.py."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.telemetry.served import Caller, Server

Record = dict[str, Any]
Run = Callable[[Server, Caller, Path], Record]

NEVER: Final = {"base_delay_s": 3600.0, "jitter": "none", "max_delay_s": 3600.0, "max_attempts": 2}
AT_ONCE: Final = {"base_delay_s": 0.01, "jitter": "none", "max_attempts": 2}


def completed(server: Server, caller: Caller, folder: Path) -> Record:
    return server.run("coroutine", headers=caller.headers)


def retried(server: Server, caller: Caller, folder: Path) -> Record:
    return server.run("flaky", headers=caller.headers, params={"failures": 1}, retry=AT_ONCE)


def failed(server: Server, caller: Caller, folder: Path) -> Record:
    return server.run("flaky", headers=caller.headers, params={"failures": 2}, retry=AT_ONCE)


def timed_out(server: Server, caller: Caller, folder: Path) -> Record:
    return server.run("endless", headers=caller.headers, timeout_s=0.02)


def rejected(server: Server, caller: Caller, folder: Path) -> Record:
    return server.run("refuses", headers=caller.headers, retry=AT_ONCE)


def cancelled_queued(server: Server, caller: Caller, folder: Path) -> Record:
    first = server.submit("single")
    server.said(first["id"], "ready")
    record = server.cancel(server.submit("single", headers=caller.headers)["id"])
    server.cancel(first["id"])
    return record


def cancelled_running(server: Server, caller: Caller, folder: Path) -> Record:
    record = server.submit("endless", headers=caller.headers)
    server.said(record["id"], "ready")
    return server.cancel(record["id"])


def cancelled_retrying(server: Server, caller: Caller, folder: Path) -> Record:
    record = server.submit("flaky", headers=caller.headers, params={"failures": 9}, retry=NEVER)
    server.in_state(record["id"], "retrying")
    return server.cancel(record["id"])


def expired(server: Server, caller: Caller, folder: Path) -> Record:
    first = server.submit("single")
    server.said(first["id"], "ready")
    record = server.run("single", headers=caller.headers, queue_timeout_s=0.02)
    server.cancel(first["id"])
    return record


def lost(server: Server, caller: Caller, folder: Path) -> Record:
    gate = folder / "gate"
    os.mkfifo(gate)
    record = server.submit("held", headers=caller.headers, params={"gate": str(gate)})
    os.kill(server.said(record["id"], "ready")["fields"]["pid"], signal.SIGKILL)
    return server.ended(record["id"])


OUTCOMES: Final[dict[str, Run]] = {
    each.__name__: each
    for each in (
        *(completed, retried, failed, timed_out, rejected),
        *(cancelled_queued, cancelled_running, cancelled_retrying, expired, lost),
    )
}

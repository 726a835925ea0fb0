"""Operations whose pace a test sets by files; what else they need is in `tests/clients`."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from app import JobContext, Reject, RetryLater, operation
from narration import narrate

POLL_S = 0.01


async def _opened(gate: str) -> None:
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 — another process makes the file
        await asyncio.sleep(POLL_S)


@operation
async def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@operation
async def hang() -> None:
    """Wait for a cancellation."""
    await asyncio.Event().wait()


@operation
def hang_in_a_thread(*, job: JobContext) -> None:
    """Look for a cancellation now and then."""
    while True:
        job.raise_if_cancelled()
        time.sleep(POLL_S)


@operation(isolation="process")
def hang_in_a_process() -> None:
    """Wait for the end."""
    time.sleep(600)


@operation
async def deaf(gate: str) -> str:
    """Hear no cancellation until the gate is open."""
    while not Path(gate).exists():  # noqa: ASYNC240 — another process makes the file
        try:
            await asyncio.sleep(POLL_S)
        except asyncio.CancelledError:
            continue
    return "opened"


@operation
async def flaky(times: int, *, job: JobContext) -> int:
    """Fail `times` times, and then succeed."""
    if job.attempt <= times:
        raise ValueError(f"attempt {job.attempt} failed")
    return job.attempt


@operation
async def later(times: int, *, job: JobContext) -> int:
    """Ask `times` times to be run again."""
    if job.attempt <= times:
        raise RetryLater(0.05, "not yet")
    return job.attempt


@operation
async def refuse() -> None:
    """Refuse the job for good."""
    raise Reject("this will never work")


@operation(concurrency=1)
async def alone(gate: str, log: str, name: str) -> None:
    """Write a name into a file, one job at a time."""
    await _opened(gate)
    with Path(log).open("a") as names:  # noqa: ASYNC230 — a line
        names.write(f"{name}\n")


@operation
async def keyed(gate: str, log: str) -> None:
    """Say when it begins and when it ends."""
    with Path(log).open("a") as lines:  # noqa: ASYNC230 — a line
        lines.write("begin\n")
    await _opened(gate)
    with Path(log).open("a") as lines:  # noqa: ASYNC230 — a line
        lines.write("end\n")


@operation
async def tokens(count: int) -> AsyncIterator[str]:
    """Put out some tokens."""
    for number in range(count):
        yield f"token {number}"


@operation
async def checkpointed(*, job: JobContext) -> Any:
    """Leave a value for the next attempt, which gives it back."""
    if job.last_checkpoint is not None:
        return job.last_checkpoint
    job.checkpoint({"page": 3})
    raise ValueError("once more")


@operation
async def obedient(folder: str, *, job: JobContext) -> str:
    """Do what the file of this attempt says: finish, fail or reject."""
    orders = Path(folder) / str(job.attempt)
    narrate("wait", "attempt {n} waits", n=job.attempt)
    await _opened(str(orders))
    order = orders.read_text()
    narrate("obey", "told to {order}", order=order)
    if order == "fail":
        raise ValueError("told to fail")
    if order == "reject":
        raise Reject("told to")
    return f"finished at {job.attempt}"

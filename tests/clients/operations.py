"""Operations that do what a test tells them to, and wait for files instead of times."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from app import JobContext, operation
from narration import narrate

POLL_S = 0.01
BURST = 20
"""Messages that are told without giving way to others."""


async def opened(gate: str) -> None:
    """Wait until there is a file called `gate`."""
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 — another process makes the file
        await asyncio.sleep(POLL_S)


@operation("count")
async def count(to: int, pause_s: float = 0.001) -> int:
    """Say each number, in bursts."""
    for number in range(to):
        narrate("count", "{number}", number=number, level="debug" if number % 2 else "info")
        if number % BURST == BURST - 1:
            await asyncio.sleep(pause_s)
    return to


@operation("gated")
async def gated(gate: str, before: int = 1, after: int = 1) -> str:
    """Say something, wait for the gate, say something more."""
    for number in range(before):
        narrate("before", "before {number}", number=number)
    await opened(gate)
    for number in range(after):
        narrate("after", "after {number}", number=number, cute="hop {number}")
    return "opened"


@operation("steps")
async def steps(folder: str, count: int) -> int:
    """Say a number each time that its file is there: the test sets the pace."""
    for number in range(count):
        await opened(f"{folder}/{number}")
        narrate("step", "step {number}", number=number)
    return count


@operation("flood")
async def flood(chunks: int, size: int, *, job: JobContext) -> int:
    """Put out more than any socket holds."""
    for number in range(chunks):
        job.output(f"{number} " + "x" * size)
        await asyncio.sleep(0)
    return chunks


@operation("talk")
async def talk(*, job: JobContext) -> dict[str, int]:
    """Tell one of each."""
    narrate("greet", "Hello\nyou", cute="Hiya", story="Once there was a hello", level="warn")
    narrate("whisper", "quiet", level="debug")
    job.progress(1, 2, "half")
    job.output("a token\nand more")
    job.output({"n": 1})
    return {"ok": 1}


@operation("fails")
async def fails() -> None:
    """Fail."""
    raise RuntimeError("two\nlines")


@operation("thread")
def thread(gate: str) -> str:
    """Wait for the gate in a thread."""
    narrate("wait", "waiting")
    while not Path(gate).exists():
        time.sleep(POLL_S)
    return "opened"


@operation("family", isolation="process")
def family(pids: str) -> None:
    """Start a child of one's own, ignore SIGTERM, tell both pids, and stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal as s; s.signal(s.SIGTERM, s.SIG_IGN); s.pause()"]
    )
    told = Path(pids).with_suffix(".part")
    told.write_text(f"{os.getpid()} {child.pid}")
    told.rename(pids)
    while True:
        time.sleep(1)


@operation("patient", isolation="process")
def patient(pids: str) -> None:
    """Tell the pid of this process, and stay."""
    told = Path(pids).with_suffix(".part")
    told.write_text(str(os.getpid()))
    told.rename(pids)
    time.sleep(600)


@operation("isolated", isolation="process")
def isolated(gate: str) -> str:
    """Wait for the gate in a process of one's own."""
    narrate("wait", "waiting")
    while not Path(gate).exists():
        time.sleep(POLL_S)
    return "opened"

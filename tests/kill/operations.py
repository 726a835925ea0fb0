"""What the killed server runs: operations of every kind, each of which writes down when it works.

The ledger is a file that every attempt appends to, whichever process it is in: so it says what has
really run, whatever the server remembers. Its times are those of the system's monotonic clock, the
same in all processes. It knows no test.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app import JobContext, RetryLater, operation
from narration import narrate, run_process

BEAT_S = 0.03
LEDGER = "KILL_LEDGER"
"""The variable that names the file."""


def note(job: JobContext, what: str, pid: int | None = None) -> None:
    """Append one line, in one write: `job attempt pid what nanoseconds`."""
    line = f"{job.id} {job.attempt} {pid or os.getpid()} {what} {time.monotonic_ns()}\n"
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)


@contextmanager
def noted(job: JobContext) -> Iterator[None]:
    """Note the beginning and the end of an attempt."""
    note(job, "begin")
    try:
        yield
    finally:
        note(job, "end")


@operation(max_attempts=30, base_delay_s=0.05, max_delay_s=0.5)
async def quick(number: int, *, job: JobContext) -> int:
    """Say something and be done."""
    with noted(job):
        narrate("say", "This is {number}", number=number)
        return number


@operation(max_attempts=30, base_delay_s=0.05, max_delay_s=0.5)
async def slow(beats: int, *, job: JobContext) -> int:
    """Say something from time to time."""
    with noted(job):
        for beat in range(beats):
            note(job, "beat")
            narrate("beat", "Beat {beat}", beat=beat)
            job.progress(beat + 1, beats)
            await asyncio.sleep(BEAT_S)
        return beats


@operation(max_attempts=30, base_delay_s=0.05, max_delay_s=0.5)
def threaded(beats: int, *, job: JobContext) -> int:
    """The same in a thread."""
    return _beat(job, beats)


@operation(max_attempts=30, base_delay_s=0.05, max_delay_s=0.5, isolation="process", concurrency=2)
def child(beats: int, *, job: JobContext) -> int:
    """The same in a process."""
    return _beat(job, beats)


@operation(max_attempts=30, base_delay_s=0.3, multiplier=1, jitter="none")
async def failing(times: int, *, job: JobContext) -> int:
    """Fail in the first attempts."""
    with noted(job):
        if job.attempt <= times:
            raise ValueError(f"attempt {job.attempt} of {times} fails")
        return job.attempt


@operation(max_attempts=30, base_delay_s=0.05)
async def postponed(times: int, *, job: JobContext) -> int:
    """Ask to come later in the first attempts."""
    with noted(job):
        if job.attempt <= times:
            raise RetryLater(0.5, "not yet")
        return job.attempt


@operation
async def once(beats: int, *, job: JobContext) -> int:
    """What may be tried but once."""
    with noted(job):
        for _ in range(beats):
            note(job, "beat")
            await asyncio.sleep(BEAT_S)
        return beats


@operation(max_attempts=60, base_delay_s=0.05, max_delay_s=0.2)
async def counting(to: int, *, job: JobContext) -> int:
    """Count, and go on where the last attempt was: what it has said, it has also kept."""
    with noted(job):
        start = job.last_checkpoint or 0
        job.output({"from": start})
        for number in range(start + 1, to + 1):
            job.checkpoint(number)
            job.output({"at": number})
            note(job, "beat")
            await asyncio.sleep(BEAT_S)
        return to


@operation(max_attempts=60, base_delay_s=0.05, max_delay_s=0.2)
def counting_thread(to: int, *, job: JobContext) -> int:
    """The same in a thread."""
    with noted(job):
        start = job.last_checkpoint or 0
        job.output({"from": start})
        for number in range(start + 1, to + 1):
            job.checkpoint(number)
            job.output({"at": number})
            time.sleep(BEAT_S / 3)
        return to


@operation(max_attempts=30, base_delay_s=0.05, max_delay_s=0.5)
async def keyed(beats: int, *, job: JobContext) -> int:
    """One at a time of each concurrency key."""
    with noted(job):
        for _ in range(beats):
            note(job, "beat")
            await asyncio.sleep(BEAT_S)
        return beats


def _beat(job: JobContext, beats: int) -> int:
    with noted(job):
        for beat in range(beats):
            note(job, "beat")
            narrate("beat", "Beat {beat}", beat=beat)
            job.raise_if_cancelled()
            time.sleep(BEAT_S)
        return beats


@operation(max_attempts=30, base_delay_s=0.05, isolation="process")
def deaf(seconds: int, *, job: JobContext) -> None:
    """Keep the interpreter's lock, so that no thread of the process can end it."""
    note(job, "begin")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(200_000_000))  # seconds without a look at anything


@operation(max_attempts=30, base_delay_s=0.05)
async def leaving(seconds: int, *, job: JobContext) -> None:
    """Have a program work that neither writes nor reads: it does not see the server go."""
    words = f"import time; time.sleep({seconds})"
    await run_process(sys.executable, "-c", words, started=lambda pid: note(job, "begin", pid))

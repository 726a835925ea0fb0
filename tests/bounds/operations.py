"""Operations that say, and give, more than anybody keeps."""

import asyncio
import ctypes
import gc
import logging
import sys
from pathlib import Path

from app import JobContext, operation
from narration import narrate, run_process

TURN = 20
"""Messages after which the loop gets its turn."""


@operation("tells")
async def tells(count: int, size: int = 20) -> int:
    """Say `count` messages of `size` characters."""
    text = "x" * size
    for number in range(count):
        narrate("tell", "{number} " + text, number=number)
        if number % TURN == 0:
            await asyncio.sleep(0)
    return count


@operation("tidies")
async def tidies() -> int:
    """Give back what is garbage; how many blocks of Python's allocator are in use then."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return sys.getallocatedblocks()


@operation("nothing")
async def nothing() -> None:
    """Do nothing."""


@operation("holds")
async def holds(gate: str) -> None:
    """Keep a slot until there is a file called `gate`."""
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - another process makes the file
        await asyncio.sleep(0.01)


@operation("steady")
async def steady(steps: int) -> None:
    """Work as most handlers do: wait for something, then compute and say a little."""
    for step in range(steps):
        await asyncio.sleep(0.01)
        narrate("step", "step {step}", step=sum(range(2_000)) + step)


@operation("talks")
async def talks(gate: str) -> None:
    """Say a hundred things a second until there is a file called `gate`."""
    while not Path(gate).exists():  # noqa: ASYNC240 - another process makes the file
        narrate("talk", "talking " + "x" * 1_000)
        await asyncio.sleep(0.01)


@operation("tells-in-a-thread")
def tells_in_a_thread(count: int, size: int = 20) -> int:
    """The same, from a thread, as fast as it can."""
    text = "x" * size
    for number in range(count):
        narrate("tell", "{number} " + text, number=number)
    return count


@operation("waits")
async def waits(gate: str) -> None:
    """Say something now and then until there is a file called `gate`."""
    while not Path(gate).exists():  # noqa: ASYNC240 - another process makes the file
        narrate("wait", "waiting " + "x" * 10_000)
        await asyncio.sleep(0.001)


@operation("narrates-much")
async def narrates_much(size: int) -> None:
    """One message."""
    narrate("much", "x" * size)


@operation("narrates-much-often")
async def narrates_much_often(size: int, count: int, gate: str) -> None:
    """Many different messages of one span, which goes on."""
    for number in range(count):
        narrate("much", "{number}" + "x" * size, number=number, much="y" * size)
        await asyncio.sleep(0)
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - another process makes the file
        await asyncio.sleep(0.01)


@operation("narrates-much-in-a-child", isolation="process")
def narrates_much_in_a_child(size: int) -> None:
    """One message over a pipe."""
    narrate("much", "x" * size)


@operation("logs-much")
async def logs_much(size: int) -> None:
    """One log record."""
    logging.getLogger(__name__).warning("x" * size)


@operation("prints-much")
async def prints_much(size: int) -> None:
    """One line of a program."""
    await run_process(sys.executable, "-c", f"print('x' * {size})")


@operation("fails-much")
async def fails_much(size: int) -> None:
    """One error."""
    raise RuntimeError("x" * size)


@operation("gives-much")
async def gives_much(size: int) -> str:
    """One result."""
    return "x" * size


@operation("puts-out-much")
async def puts_out_much(size: int, *, job: JobContext) -> None:
    """One chunk."""
    job.output("x" * size)


@operation("queued", concurrency=1)
async def queued() -> None:
    """Wait for good: the first one keeps all others in the queue."""
    await asyncio.Event().wait()

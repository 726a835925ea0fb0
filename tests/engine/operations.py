"""Operations that do one thing each, for tests that need nothing of their own."""

import asyncio

from app.handlers.context import JobContext, Reject, RetryLater
from app.handlers.operation import operation


@operation
async def sleep(for_s: float = 0.0, value: str = "slept") -> str:
    """Take a while, and succeed."""
    await asyncio.sleep(for_s)
    return value


@operation
async def hang() -> None:
    """Never end, and stop when asked to."""
    await asyncio.Event().wait()


@operation
async def stubborn(for_s: float = 1e6) -> str:
    """Swallow every cancellation until `for_s` seconds have passed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + for_s
    while loop.time() < until:
        try:
            await asyncio.sleep(until - loop.time())
        except asyncio.CancelledError:
            continue
    return "done all the same"


@operation
async def reluctant(stops_after_s: float = 2.0, how: str = "cancelled") -> str:
    """Take a while to stop, and then end as `how` says."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(stops_after_s)
        if how == "cancelled":
            raise
    if how == "raise":
        raise RuntimeError("the stop went wrong")
    if how == "later":
        raise RetryLater(1)
    if how == "reject":
        raise Reject("not any more")
    return "finished all the same"


@operation
async def flaky(times: int, for_s: float = 0.0, *, job: JobContext) -> int:
    """Fail `times` times, and then succeed."""
    await asyncio.sleep(for_s)
    if job.attempt <= times:
        raise ValueError(f"attempt {job.attempt} failed")
    return job.attempt


@operation
async def later(times: int, after_s: float, *, job: JobContext) -> int:
    """Ask `times` times to be run later, and then succeed."""
    if job.attempt <= times:
        raise RetryLater(after_s, "not yet")
    return job.attempt


@operation
async def refuse() -> None:
    """Refuse the job for good."""
    raise Reject("this will never work")

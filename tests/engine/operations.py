"""Operations that do one thing each, for tests that need nothing of their own."""

import asyncio
import logging

from opentelemetry import trace

from app.handlers.context import JobContext, Reject, RetryLater
from app.handlers.operation import operation
from narration.narrate import narrate


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


def speak(job: JobContext) -> str:
    """Say something in every way that there is; what is no narration is 0.5 and `chunk`."""
    narrate("load", "Loading {scene}", scene="forest")
    logging.getLogger(__name__).warning("a log line")
    trace.get_current_span().add_event("an event")
    with trace.get_tracer("theirs").start_as_current_span("a span"):
        job.progress(0.5)
    job.output("chunk")
    return "spoken"


@operation
async def speaks(*, job: JobContext) -> str:
    """Say something in every way that there is."""
    return speak(job)


@operation
def speaks_in_a_thread(*, job: JobContext) -> str:
    """Say something in every way that there is."""
    return speak(job)

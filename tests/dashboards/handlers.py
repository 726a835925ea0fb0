"""One operation that can end in every way, so that every series of a dashboard can be its."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

from opentelemetry import trace

from app import JobContext, Reject, RetryLater, operation
from narration import narrate

STALL_S = 1.0
"""Longer than what counts as a blocked loop."""
MORE_THAN_FITS = 12_000
"""Messages; the hand-off from other threads takes 10,000 while the loop stands still."""
MORE_SPANS_THAN_FIT = 200

tracer = trace.get_tracer("handlers")


async def _well(_: JobContext) -> None:
    await asyncio.sleep(0.01)


async def _badly(_: JobContext) -> None:
    raise ConnectionError("the shelf is empty")


async def _later(job: JobContext) -> None:
    if job.attempt == 1:
        raise RetryLater(0.1, "busy")


async def _never(_: JobContext) -> None:
    raise Reject("not in stock")


async def _endless(_: JobContext) -> None:
    await asyncio.sleep(3600)


async def _deaf(_: JobContext) -> None:
    """Do not stop when asked, and speak when the job has been given up."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await asyncio.sleep(1)
        narrate("late", "too late")


async def _stalls(_: JobContext) -> None:
    """Block the loop while a thread says more than there is room for."""
    flood = threading.Thread(target=_flood)
    flood.start()
    time.sleep(STALL_S)  # noqa: ASYNC251 - what is tested
    flood.join()


def _flood() -> None:
    for number in range(MORE_THAN_FITS):
        narrate("flood", "{number}", number=number)


async def _loud(_: JobContext) -> None:
    for number in range(400):
        narrate("loud", f"{number} " + "x" * 20_000)
        await asyncio.sleep(0)


async def _many_spans(_: JobContext) -> None:
    for _number in range(MORE_SPANS_THAN_FIT):
        with tracer.start_as_current_span("one of many"):
            pass


WAYS: dict[str, Callable[[JobContext], Awaitable[None]]] = {
    "well": _well,
    "badly": _badly,
    "later": _later,
    "never": _never,
    "endless": _endless,
    "deaf": _deaf,
    "stalls": _stalls,
    "loud": _loud,
    "many spans": _many_spans,
}


@operation
async def works(how: str = "well", *, job: JobContext) -> None:
    """End in one of these ways."""
    narrate("work", "working {how}", how=how)
    narrate("note", "with care", level="warn")
    trace.get_current_span().add_event("begun", {"how": how})
    await WAYS[how](job)

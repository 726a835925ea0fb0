"""Small built-in operations to try the server with, one of each kind of handler.

They show what the stream tells: progress, output, a retry, a child process. None of them reads or
writes anything.
"""

import asyncio
import math
import time
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field

from app import JobContext, operation
from narration import narrate

Pause = Annotated[float, Field(ge=0, le=60)]
"""Seconds between two steps."""

SONG: Final = "Every job has a story, and every story has an end."


@operation
async def countdown(
    start: Annotated[int, Field(ge=1, le=10_000)] = 5, pause_s: Pause = 1.0, *, job: JobContext
) -> str:
    """Count down to zero: a coroutine with progress."""
    for number in range(start, 0, -1):
        narrate(
            "count",
            "{number} …",
            number=number,
            cute="{number} little ducks 🦆",
            story="“{number},” said the clock.",
        )
        await asyncio.sleep(pause_s)
        job.progress(start - number + 1, start)
    return "lift-off"


@operation(max_attempts=10, base_delay_s=0.5, max_delay_s=5)
def flaky(failures: Annotated[int, Field(ge=0, le=9)] = 2, *, job: JobContext) -> dict[str, int]:
    """Fail the first attempts, then succeed: a thread that is retried with backoff."""
    narrate("connect", "Connecting, attempt {attempt}", attempt=job.attempt)
    if job.attempt <= failures:
        raise ConnectionError(f"no answer (failure {job.attempt} of {failures})")
    return {"attempts": job.attempt}


@operation
def recite(
    text: Annotated[str, Field(max_length=100_000)] = SONG, pause_s: Pause = 0.2, *, job: JobContext
) -> Iterator[str]:
    """Say a text word by word, as a language model would: a generator with output."""
    for word in text.split():
        if job.token.wait(pause_s):
            job.raise_if_cancelled()
        yield f"{word} "


@operation(isolation="process")
def primes(
    below: Annotated[int, Field(ge=2, le=10_000_000)] = 200_000, *, job: JobContext
) -> dict[str, int]:
    """Count the primes below a number: busy work in a child process that can be killed."""
    narrate("sieve", "Looking for primes below {below}", below=below)
    count, largest = 0, 0
    begun = time.monotonic()
    for number in range(2, below):
        if all(number % divisor for divisor in range(2, math.isqrt(number) + 1)):
            count, largest = count + 1, number
            if count % 1000 == 0:
                job.progress(number, below, f"{count} primes")
    took = round(time.monotonic() - begun, 1)
    narrate("found", "Found {count} in {took} seconds", count=count, took=took)
    return {"count": count, "largest": largest}

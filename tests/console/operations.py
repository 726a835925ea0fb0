"""Operations for the console's tests: they wait for files, and say hostile things."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from opentelemetry import trace
from pydantic import Field

from app import JobContext, operation
from narration import narrate

POLL_S = 0.02
HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"


class Colour(StrEnum):
    """What to paint with."""

    RED = "red"
    BLUE = "blue"


async def opened(gate: str) -> None:
    """Wait until there is a file called `gate`."""
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 — another process makes the file
        await asyncio.sleep(POLL_S)


@operation("gated")
async def gated(gate: str, lines: int = 3, *, job: JobContext) -> dict[str, int]:
    """Say some lines inside a span, wait for the gate, say one more."""
    tracer = trace.get_tracer(__name__)
    with tracer.start_as_current_span("outer"):
        for number in range(lines):
            narrate(
                "before", "line {number}", number=number, cute="hop {number}", story="Once {number}"
            )
        job.progress(1, 2, "half way")
        job.output("first chunk\n")
        with tracer.start_as_current_span("inner"):
            await opened(gate)
    narrate("after", "after the gate")
    job.output("second chunk\n")
    return {"lines": lines}


@operation("fails", max_attempts=1)
async def fails() -> None:
    """Fail, with a traceback."""
    narrate("try", "Trying")
    raise RuntimeError("the well is dry")


@operation("flaky", max_attempts=2, base_delay_s=60, jitter="none")
async def flaky() -> None:
    """Fail once, then wait a minute."""
    raise ConnectionError("no answer")


@operation("quick")
async def quick(number: int = 0) -> int:
    """Give the number back."""
    return number


@operation("hostile")
async def hostile(text: str = HOSTILE, *, job: JobContext) -> dict[str, str]:
    """Say what would be code if it were not text."""
    narrate("say", text, cute=text, story=text)
    narrate("<b>bold</b>", "{text}", text=text)
    job.progress(1, 2, text)
    job.output(text)
    with trace.get_tracer(__name__).start_as_current_span(text) as span:
        span.set_attribute("told", text)
    return {text: text}


@operation("hostile_failure")
async def hostile_failure(text: str = HOSTILE) -> None:
    """<img src=x onerror=document.title='owned'>: no name of an operation can be such."""
    raise ValueError(text)


@operation("form")
async def form(  # noqa: PLR0917 — a form of one field of each kind
    name: Annotated[str, Field(description="Whose it is.", min_length=2)],
    colour: Colour = Colour.RED,
    count: Annotated[int, Field(ge=1, le=9)] = 3,
    share: float | None = None,
    loud: bool = False,  # noqa: FBT002 — a checkbox is one
    words: list[str] | None = None,
    extra: dict[str, int] | None = None,
) -> dict[str, object]:
    """Take one of each kind of parameter, and give them back.

    The second paragraph speaks of `name`.
    """
    return {
        "name": name, "colour": colour, "count": count, "share": share, "loud": loud,
        "words": words, "extra": extra,
    }  # fmt: skip

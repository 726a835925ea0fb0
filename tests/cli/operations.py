"""Operations that end in every way, and one that goes step by step at the test's pace."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from opentelemetry import trace
from pydantic import BaseModel

from app import JobContext, Reject, operation
from narration import narrate

POLL_S = 0.01

tracer = trace.get_tracer("studio")


class Size(BaseModel):
    """How large a picture is."""

    width: int
    height: int = 3


@operation("render")
async def render(
    scene: str,
    frames: int = 2,
    quality: Literal["low", "high"] = "low",
    size: Size | None = None,
    *,
    proof: bool = False,
    job: JobContext,
) -> dict[str, object]:
    """Render a scene, frame by frame.

    Frames are counted from 0.
    """
    narrate("load", "Loading {scene}", scene=scene)
    with tracer.start_as_current_span("frames"):
        for frame in range(frames):
            with tracer.start_as_current_span(f"frame {frame}"):
                narrate("draw", "Drawing {frame}", frame=frame)
            job.progress(frame + 1, frames, "frames")
            job.output(f"{scene} {frame}")
    return {"scene": scene, "frames": frames, "quality": quality, "proof": proof}


@operation("studio")
async def studio(folder: str, *, job: JobContext) -> str:
    """Begin a step when its file is there; all is done when `end` is."""
    number = 0
    while True:
        with tracer.start_as_current_span(f"step {number}"):
            narrate("begin", "Beginning {number}", number=number)
            job.progress(number, 10)
            while not (Path(folder) / str(number)).exists():
                if (Path(folder) / "end").exists():
                    return "ended"
                await asyncio.sleep(POLL_S)
        number += 1


@operation("fails")
async def fails(words: str = "nothing works") -> None:
    """Fail."""
    with tracer.start_as_current_span("try"):
        raise RuntimeError(words)


@operation("rejects")
async def rejects() -> None:
    """Say that it is no use."""
    raise Reject("no use")


@operation("sleeps")
async def sleeps(seconds: float = 60.0) -> None:
    """Sleep."""
    await asyncio.sleep(seconds)


@operation("recites")
async def recites() -> AsyncIterator[str]:
    """Say words one by one."""
    for word in ("once ", "upon ", "a ", "time"):
        yield word

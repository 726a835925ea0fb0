"""What a runner is given to run, and what it gives back: the interface of all four kinds."""

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan

from app.engine.runners.ending import Ending
from app.handlers.context import JobContext
from app.handlers.lifespan import Resources
from app.handlers.operation import Operation
from narration.scope import Scope
from telemetry.clock import Clock

STOP_REASON: Final = "the job was asked to stop"


def not_exported(span: ReadableSpan) -> None:
    """Export nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt to run.

    `variables` is entered by the runner and by nobody else: in it the scope and the span of the
    attempt are current. `on_end` is called once, on the loop, when the work has really stopped.
    `export` takes the ended spans of a child process, `max_result_bytes` bounds its result.
    """

    operation: Operation
    params: Mapping[str, Any]
    job: JobContext
    variables: contextvars.Context
    scope: Scope
    resources: Resources
    clock: Clock
    loop: asyncio.AbstractEventLoop
    on_end: Callable[[Ending], None]
    export: Callable[[ReadableSpan], None] = not_exported
    max_result_bytes: int = 1 << 30

    @property
    def name(self) -> str:
        """What the task, thread or process is called."""
        return f"narrator-{self.operation.name}-{self.job.id}"


class Running(Protocol):
    """Work under way; to be called on the loop's thread."""

    def request_stop(self, reason: str = STOP_REASON) -> None:
        """Ask the handler to stop; it may take its time, or not listen. Asking again is idle."""
        ...

    def kill(self) -> bool:
        """End the work by force; whether that can be done, so that its end is certain."""
        ...

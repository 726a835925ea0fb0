"""Sees that the event loop stands still, and finds out whose code it stands in, while it does.

A thread of its own waits for a beat of the loop that does not come. Then it looks, from outside,
at the task that the loop is running (whose context says which job it works for) and at the stack
of the loop's thread. It touches no state of the engine, and does not know what is made of what it
has found. It measures real time, whatever the clock: it has no place under a virtual one.

C code that never lets go of the interpreter's lock holds up this thread as well: it is seen when
it returns, most often still with the frame that called it.
"""

import asyncio
import contextvars
import gc
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from opentelemetry import context as otel_context

from app.engine.runners import calls
from narration.scope import Scope, current_scope

STACK_LIMIT: Final = 16
"""Frames of a stack that are kept, the innermost ones."""

_SECOND_LOOK_S: Final = 0.05
_STOP_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """What the loop stood still in; `due_mono` is when its beat was due, of the real clock."""

    scope: Scope | None
    """The job that was at work; None where it was none's."""
    function: str
    """The qualified name of the innermost function, with its module."""
    stack: tuple[str, ...]
    """`file:line in function`, the innermost last."""
    due_mono: float

    def late_s(self) -> float:
        """For how long the beat has been due, in seconds."""
        return time.monotonic() - self.due_mono


class LoopWatch:
    """Watches one loop; made, started, stopped and given its beat on the loop's thread.

    A beat that is late by more than `limit_s` seconds is a blocking, and `report` is called for
    each once: on the watching thread, while the loop still stands.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limit_s: float,
        report: Callable[[Blocked], None],
    ) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._report = report
        self._watched = threading.get_ident()
        self._due = float("inf")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="narrator-loop", daemon=True)

    def start(self, interval_s: float) -> None:
        """Begin to watch: the first beat is due in `interval_s` seconds."""
        self.beat(interval_s)
        self._thread.start()

    def beat(self, interval_s: float) -> None:
        """The loop runs; it will say so again in `interval_s` seconds."""
        self._due = time.monotonic() + interval_s

    def stop(self) -> None:
        """Watch no more; a thread that hangs in its report is left behind."""
        self._stopped.set()
        self._thread.join(_STOP_S)

    def _watch(self) -> None:
        reported = 0.0
        while True:
            due = self._due
            left_s = due + self._limit_s - time.monotonic()
            if left_s > 0 or due == reported:  # nothing can be late before; or it is still that one
                if self._stopped.wait(max(left_s, _SECOND_LOOK_S)):
                    return
                continue
            blocked = self._look(due)
            if blocked is not None:
                reported = due
                self._report(blocked)

    def _look(self, due: float) -> Blocked | None:
        """What the loop stands in; None if it does not."""
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001 - the documented way
        frames = _frames(frame, task)
        scope = None if task is None else _scope_of(task)
        if scope is None and (self._stopped.wait(_SECOND_LOOK_S) or self._due != due):
            # The loop was idle: the whole process, or the machine, was halted for a while.
            return None
        return Blocked(
            scope=scope,
            function=_function(frames[-1]) if frames else "",
            stack=tuple(map(_line, frames)),
            due_mono=due,
        )


def _scope_of(task: asyncio.Task[Any]) -> Scope | None:
    """For which story a task works, by the context that it runs in."""
    if sys.version_info >= (3, 12):
        context: contextvars.Context | None = task.get_context()
    else:  # it is there, and has no name
        found = (each for each in gc.get_referents(task) if isinstance(each, contextvars.Context))
        context = next(found, None)
    if context is None:
        return None
    # A copy: a context that is entered can't be entered again.
    return context.copy().run(lambda: current_scope(otel_context.get_current()))


def _frames(frame: FrameType | None, task: asyncio.Task[Any] | None) -> list[FrameType]:
    """The innermost frames, those of the task only and without ours; the innermost last."""
    first = getattr(task.get_coro(), "cr_frame", None) if task is not None else None
    found: list[FrameType] = []
    while frame is not None and len(found) < STACK_LIMIT:
        if frame.f_globals.get("__name__") != calls.__name__:
            found.append(frame)
        if frame is first:
            break
        frame = frame.f_back
    return found[::-1]


def _line(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"


def _function(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}".removeprefix(".")

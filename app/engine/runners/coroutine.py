"""Runs `async def` handlers and async generators as tasks on the loop."""

import asyncio

from app.engine.runners.calls import call_async
from app.engine.runners.ending import Ending, Raised
from app.engine.runners.work import STOP_REASON, Work


class CoroutineRun:
    """One handler's task."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._task = work.loop.create_task(
            call_async(work.operation, work.params, work.job, work.resources),
            name=work.name,
            context=work.variables,
        )
        self._task.add_done_callback(self._done)

    def request_stop(self, reason: str = STOP_REASON) -> None:
        """Cancel the task, once: a handler that swallows it goes on, and may be abandoned."""
        if not self._work.job.cancelled:
            self._work.job.token.set(reason)
            self._task.cancel(reason)

    def kill(self) -> bool:
        """A task cannot be ended by force."""
        return False

    def _done(self, task: asyncio.Task[Ending]) -> None:
        if task.cancelled():  # before its first step: the handler never ran
            self._work.on_end(Raised(asyncio.CancelledError(self._work.job.token.reason)))
        else:
            self._work.on_end(task.result())

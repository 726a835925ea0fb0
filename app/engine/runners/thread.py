"""Runs `def` handlers and generators, each in a daemon thread of its own.

A pool would be exhausted by abandoned handlers, and would block the exit.
"""

import contextlib
import threading
from contextlib import ExitStack

from app.engine.runners.calls import call_sync
from app.engine.runners.ending import Ending, Raised
from app.engine.runners.work import STOP_REASON, Work


class ThreadRun:
    """One handler's thread."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._held = ExitStack()
        self._held.enter_context(work.clock.hold())
        thread = threading.Thread(
            target=work.variables.run, args=(self._run,), name=work.name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads: the attempt fails, the server lives
            work.loop.call_soon(self._ended, Raised(error))

    def request_stop(self, reason: str = STOP_REASON) -> None:
        """Set the token that the handler may look at."""
        self._work.job.token.set(reason)

    def kill(self) -> bool:
        """A thread cannot be ended by force."""
        return False

    def _run(self) -> None:
        work = self._work
        ending = call_sync(work.operation, work.params, work.job, work.resources)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            work.loop.call_soon_threadsafe(self._ended, ending)

    def _ended(self, ending: Ending) -> None:
        self._held.close()
        self._work.on_end(ending)

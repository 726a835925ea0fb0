"""Shutting down: what runs has its time, what is left is stopped, or left to the next process.

It does not know the streams, nor who asked for it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from app.engine.core import Core
from app.engine.entry import Entry, StopCause
from telemetry.names import CancelOrigin, State

_WAITING: Final = (State.QUEUED, State.RETRYING)
_RUNNING: Final = (State.RUNNING, State.CANCELLING)


class Draining:
    """`stop` asks a running attempt to stop; `cancel` cancels a job."""

    def __init__(
        self,
        core: Core,
        *,
        stop: Callable[[Entry, StopCause], None],
        cancel: Callable[[Entry, CancelOrigin], None],
    ) -> None:
        self._core = core
        self._stop = stop
        self._cancel = cancel
        self._idle = asyncio.Event()

    async def drain(self, grace_s: float) -> None:
        """Let nothing new start; return when nothing runs, at the latest a while after the grace.

        With a store, what waits is left to the next process, and what runs beyond `grace_s` seconds
        is stopped as lost. Without one nobody would run it: all is cancelled.
        """
        core = self._core
        core.draining = True
        if not core.journal.durable:
            self._cancel_all(*_WAITING)
        await self._idle_within(grace_s)
        if core.journal.durable:
            for entry in list(core.entries.values()):
                self._stop(entry, StopCause.SHUTDOWN)
        else:
            self._cancel_all(State.RUNNING, *_WAITING)
        await self._idle_within(3 * core.settings.cancel_grace_s + 1)

    def waits(self, entry: Entry) -> None:
        """A job waits for its retry: during a drain as any that waits."""
        if self._core.draining and not self._core.journal.durable:
            self._cancel(entry, CancelOrigin.SHUTDOWN)
        self.look_for_idle()

    def look_for_idle(self) -> None:
        """An attempt has ended, or a job: it may have been the last."""
        if self._core.draining and not self._busy():
            self._idle.set()

    def _busy(self) -> int:
        """How many jobs a drain waits for."""
        left = _RUNNING if self._core.journal.durable else (*_RUNNING, *_WAITING)
        return self._core.registry.count(*left)

    def _cancel_all(self, *states: State) -> None:
        for entry in list(self._core.entries.values()):
            if entry.job.state in states:
                self._cancel(entry, CancelOrigin.SHUTDOWN)

    async def _idle_within(self, timeout_s: float) -> None:
        self._idle.clear()
        if not self._busy():
            return
        timer = self._core.loop.call_later(timeout_s, self._idle.set)
        try:
            await self._idle.wait()
        finally:
            timer.cancel()

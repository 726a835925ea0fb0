"""What goes on in the background: the lag of the event loop, and tasks that wait for time to pass.

It does not know what the tasks are, nor what becomes of a loop that stands still.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from app.engine.counters import JobCounters
from app.engine.loop_watch import LoopWatch

LAG_INTERVAL_S: Final = 0.25
"""Seconds between two measurements of the loop's lag."""

SWEEP_INTERVAL_S: Final = 1.0
"""Seconds between two runs of the tasks."""


class Housekeeping:
    """Two timers on the loop, no task; and the beat of a thread that watches it, where one does.

    Where the lag is told to nobody it is not measured: a virtual day would have 345,600 of them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        metrics: JobCounters | None,
        tasks: Iterable[Callable[[], None]],
        watch: LoopWatch | None,
    ) -> None:
        self._loop = loop
        self._metrics = metrics
        self._tasks = tuple(tasks)
        self._watch = watch
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Begin; `stop` ends it."""
        if self._metrics is not None or self._watch is not None:
            self._arm_lag()
        self._arm_sweep()
        if self._watch is not None:
            self._watch.start(LAG_INTERVAL_S)

    def stop(self) -> None:
        """Cancel both timers, and watch no more."""
        if self._watch is not None:
            self._watch.stop()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _arm_lag(self) -> None:
        due = self._loop.time() + LAG_INTERVAL_S
        self._timers["lag"] = self._loop.call_at(due, self._measure_lag, due)

    def _measure_lag(self, due: float) -> None:
        if self._metrics is not None:
            self._metrics.loop_lag(max(0.0, self._loop.time() - due))
        self._arm_lag()
        if self._watch is not None:
            self._watch.beat(LAG_INTERVAL_S)

    def _arm_sweep(self) -> None:
        self._timers["sweep"] = self._loop.call_later(SWEEP_INTERVAL_S, self._run_sweep)

    def _run_sweep(self) -> None:
        for task in self._tasks:
            task()
        self._arm_sweep()

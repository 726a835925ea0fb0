"""Packing what is kept of finished jobs, in the time that the loop has left.

It works in turns of a few milliseconds, with a pause between two: shorter while the loop keeps its
times, longer while it is late. So an idle server packs thousands of jobs a second, and one under
load spends a hundredth of its time at it, and lets most jobs go unpacked: they are soon forgotten.
It does not know what packing is.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from telemetry.clock import Clock

COMPACT_AFTER_S: Final = 1.0
"""Seconds after its end at which a job is packed at the earliest."""

TURN_S: Final = 0.002
"""Seconds of one turn, and a step more."""

PAUSE_S: Final = (0.001, 0.2)
"""Seconds between two turns: at least, and at most."""

_LATE_S: Final = 0.002  # a loop that is later than this has other work


class Compaction:
    """Calls `pack` once for each job, a while after its end, and takes its steps."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        *,
        pack: Callable[[str], Iterator[None]],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._pack = pack
        self._waiting: deque[tuple[float, str]] = deque()
        self._under_way: Iterator[None] = iter(())
        self._pause_s = PAUSE_S[0]
        self._timer: asyncio.TimerHandle | None = None

    def add(self, job_id: str) -> None:
        """A job has finished."""
        self._waiting.append((self._clock.monotonic() + COMPACT_AFTER_S, job_id))

    def run(self) -> None:
        """Begin, if a job is due and it is not under way; to be called now and then."""
        if self._timer is None and self._is_due():
            self._come_back(0.0)

    def stop(self) -> None:
        """No more turns."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _come_back(self, delay_s: float) -> None:
        due = self._clock.monotonic() + delay_s
        self._timer = self._loop.call_later(delay_s, self._turn, due)

    def _turn(self, due: float) -> None:
        """Pack for a while; the next turn comes after a pause, as long as any job is due."""
        self._timer = None
        now = self._clock.monotonic()
        least, most = PAUSE_S
        late = now - due > _LATE_S
        self._pause_s = min(2 * self._pause_s, most) if late else max(self._pause_s / 2, least)
        until = now + TURN_S
        while self._step():
            if self._clock.monotonic() >= until:
                self._come_back(self._pause_s)
                return

    def _step(self) -> bool:
        """One step of the job under way, or to the next one; False if none is due."""
        for _ in self._under_way:
            return True
        if not self._is_due():
            return False
        _, job_id = self._waiting.popleft()
        self._under_way = self._pack(job_id)
        return True

    def _is_due(self) -> bool:
        return bool(self._waiting) and self._waiting[0][0] <= self._clock.monotonic()

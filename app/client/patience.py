"""For how long the client tries, and how long the pauses are; it waits for nothing itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE_S: Final = 0.1
"""Seconds before the second try of a call; each further pause is twice as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """For how many seconds the client goes on trying by itself.

    - `calls_s`: a call that does not get through, counted from its beginning: after an answer that
      took longer to time out there is no second try.
    - `streams_s`: a stream or a wait that broke, counted from the break, while the server can't be
      reached.
    - `busy_s`: a call that is refused with 429 or 503; 0 raises `Busy` at once. `Retry-After` is
      obeyed: a pause that would end too late is not begun.
    - `longest_pause_s`: between two tries of the first two kinds.
    """

    calls_s: float = 2.0
    streams_s: float = 60.0
    busy_s: float = 0.0
    longest_pause_s: float = 10.0


class Tries:
    """The tries of one call or stream: after each failure, how long to pause, if at all.

    `within_s` counts from `begun`, or from the first failure since `reached`. `now` gives seconds
    that never go back, `uniform` a number from 0 up to 1.
    """

    __slots__ = ("_now", "_pauses", "_since", "_uniform", "_within_s", "count")

    def __init__(
        self, within_s: float, *, now: Callable[[], float], uniform: Callable[[], float]
    ) -> None:
        self.count = 1
        self._within_s = within_s
        self._now = now
        self._uniform = uniform
        self._since: float | None = None
        self._pauses = 0

    def begun(self) -> None:
        """The time begins now, and not with the first failure."""
        self._since = self._now()

    def reached(self) -> None:
        """The server has answered: the time begins anew with the next failure."""
        self._since = None
        self.count = 1

    def progressed(self) -> None:
        """The answer was good for something: the next pause is a first one."""
        self._pauses = 0

    def pause(self, first_s: float, *, longest_s: float) -> float | None:
        """Seconds until the next try, None once the time is over: growing, and never the same.

        The first is at least `first_s`, so that a server's wish is kept, unless `longest_s` is
        less; up to half as much again is added, so that clients do not come back together.
        """
        grown = min(first_s * 2.0 ** min(self._pauses, 30), longest_s)
        self._pauses += 1
        return self.exactly(min(grown * (1 + self._uniform() / 2), longest_s))

    def exactly(self, seconds: float) -> float | None:
        """`seconds` until the next try, None if that is too late."""
        now = self._now()
        if self._since is None:
            self._since = now
        if now + seconds - self._since > self._within_s:
            return None
        self.count += 1
        return seconds

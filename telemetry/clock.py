"""The one clock: wall time for what is told, monotonic time for what is decided."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Where time comes from: the system, or a virtual clock in tests.

    Timestamps come from `wall_ns`, which may step; every decision (timeouts, delays, ages,
    durations) uses `monotonic`, which never does.
    """

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; the origin is arbitrary."""
        ...

    def hold(self) -> AbstractContextManager[None]:
        """Keep virtual time from jumping while real work (a thread, a process) is under way."""
        ...


class SystemClock:
    """The machine's clock."""

    wall_ns: Callable[[], int] = staticmethod(time.time_ns)
    monotonic: Callable[[], float] = staticmethod(time.monotonic)

    def hold(self) -> AbstractContextManager[None]:
        """Nothing to hold: real time goes on."""
        return nullcontext()


def rfc3339(wall_ns: int) -> str:
    """`wall_ns` as RFC 3339 in UTC with exactly six decimals and a `Z`.

    >>> rfc3339(0)
    '1970-01-01T00:00:00.000000Z'
    """
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{rfc3339_second(seconds)}.{rest // 1000:06d}Z"


def wall_ns_of(text: str) -> int:
    """What `rfc3339` gave `text` for, but for the nanoseconds of the last microsecond.

    >>> wall_ns_of('1970-01-01T00:00:01.000002Z')
    1000002000
    """
    return _second_of(text[:-8]) * 1_000_000_000 + int(text[-7:-1]) * 1000


@lru_cache(maxsize=64)  # as below
def _second_of(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@lru_cache(maxsize=64)  # times come many to a second
def rfc3339_second(seconds: int) -> str:
    """Whole seconds since the Unix epoch as RFC 3339, up to the fraction."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()

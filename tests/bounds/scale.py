"""How much of everything a test of bounds makes: what is promised, or little, for each run."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Numbers of each; `rounds` are of an interleaved comparison, 0: there is none."""

    streams: int
    queued: int
    readers: int
    """Of one job, that read nothing or little, or come back."""
    messages: int
    texts: int
    """Of ten megabytes, one after the other."""
    retained: int
    watch_s: float
    """Seconds for which a crowd is watched."""
    rounds: int


WHOLE: Final = Scale(
    streams=5_000,
    queued=100_000,
    readers=500,
    messages=1_000_000,
    texts=20,
    retained=1_000,
    watch_s=20,
    rounds=7,
)
REDUCED: Final = Scale(
    streams=400,
    queued=1_000,
    readers=50,
    messages=60_000,
    texts=3,
    retained=100,
    watch_s=0.5,
    rounds=0,
)

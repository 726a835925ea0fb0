"""What a reader counts, kept for a test to look at."""

from collections import Counter

from narration.reader import NoStreamCounters
from telemetry.names import GapReason


class Counted(NoStreamCounters):
    """Keeps what a reader counts."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()

    def delivered(self, count: int) -> None:
        """All that were sent."""
        self.events["delivered"] += count

    def replayed(self, count: int) -> None:
        """Those that were there before."""
        self.events["replayed"] += count

    def gap(self, reason: GapReason) -> None:
        """By reason."""
        self.events[f"gap {reason}"] += 1

    def slow_reader(self) -> None:
        """Once for each time."""
        self.events["slow"] += 1

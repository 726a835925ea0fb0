"""Exemplars: the link from a measurement to its trace, at most one a second for each bucket.

A scraper sees only the last exemplar of a bucket, and one costs more than all else about an
observation (three to four times as dear). It does not know which histogram it belongs to.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, Protocol

LIMIT: Final = 128
"""Characters of an exemplar's label names and values together (OpenMetrics 1.0, "Exemplars")."""

INTERVAL_S: Final = 1.0

_JOB_ID_LIMIT: Final = LIMIT - len("trace_id") - 32 - len("span_id") - 16 - len("job_id")


class Histogram(Protocol):
    """The child of a histogram."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Add one measurement."""
        ...


class Traced:
    """A histogram of what happens in traces."""

    __slots__ = ("_bounds", "_due", "_histogram", "_monotonic")

    def __init__(
        self, histogram: Histogram, bounds: Sequence[float], *, monotonic: Callable[[], float]
    ) -> None:
        self._histogram = histogram
        self._bounds = bounds
        self._monotonic = monotonic
        self._due = [float("-inf")] * (len(bounds) + 1)

    def observe(self, seconds: float, trace_id: int, span_id: int, job_id: str) -> None:
        """Add one measurement; a trace id of 0 is none."""
        if trace_id:
            bucket = bisect_left(self._bounds, seconds)
            now = self._monotonic()
            if now >= self._due[bucket]:
                self._due[bucket] = now + INTERVAL_S
                self._histogram.observe(seconds, _labels(trace_id, span_id, job_id))
                return
        self._histogram.observe(seconds)


def _labels(trace_id: int, span_id: int, job_id: str) -> dict[str, str]:
    labels = {"trace_id": f"{trace_id:032x}", "span_id": f"{span_id:016x}"}
    if len(job_id) <= _JOB_ID_LIMIT:
        labels["job_id"] = job_id
    return labels

"""How much a benchmark does, and where it puts what it finds."""

import statistics
from dataclasses import asdict, dataclass
from typing import TypeVar

from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.figures import Measured
from tests.benchmarks.measuring import Measure, alone, in_turn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: all of it, or as little as shows that it works."""

    quick: bool

    def of(self, full: T, quick: T) -> T:
        """The one that is asked for."""
        return quick if self.quick else full


class Record:
    """Measures figures with pytest-benchmark, one in each test, and keeps them for the table."""

    def __init__(self, benchmark: BenchmarkFixture, measured: dict[str, Measured]) -> None:
        self._benchmark = benchmark
        self._measured = measured

    def pair(
        self, key: str, ours: Measure, reference: Measure, *, rounds: int, warmup: int = 1
    ) -> None:
        """A figure beside its reference; `rounds` of each, after `warmup` that do not count."""
        found = in_turn(self._benchmark, ours, reference, rounds=rounds, warmup=warmup)
        self._keep(
            Measured(
                key=key,
                ours=statistics.median(found.ours),
                reference=statistics.median(found.reference),
                ratio=found.ratio,
                rounds=len(found.ours),
            )
        )

    def value(self, key: str, ours: Measure, *, rounds: int) -> None:
        """A figure that has no reference."""
        values = alone(self._benchmark, ours, rounds=rounds)
        self._keep(Measured(key=key, ours=statistics.median(values), rounds=len(values)))

    def beside(self, **values: float) -> None:
        """Keep more of what was found with the saved run; the table does not show it."""
        self._benchmark.extra_info["beside"] = values

    def _keep(self, measured: Measured) -> None:
        self._measured[measured.key] = measured
        self._benchmark.extra_info["figure"] = asdict(measured)

"""The table: what each benchmark records, printed and saved when the run ends.

`--bench-quick` makes every benchmark tiny: it proves that they work, its values mean nothing.
"""

import importlib.metadata
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.figures import FIGURES, Measured
from tests.benchmarks.measuring import Rounds
from tests.benchmarks.servers import Nchan, nginx_version
from tests.benchmarks.table import as_markdown, as_text, last_saved

FOLDER: Final = Path(".benchmarks")
MARKDOWN: Final = "table.md"
PACKAGES: Final = (
    *("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "sse-starlette", "pydantic"),
    *("opentelemetry-sdk", "opentelemetry-instrumentation-fastapi", "prometheus-client"),
    *("msgspec", "taskiq"),
)

T = TypeVar("T")
_MEASURED: Final = pytest.StashKey[dict[str, Measured]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("job-narrator benchmarks")
    group.addoption(
        "--bench-quick", action="store_true", help="Only prove that the benchmarks work."
    )
    group.addoption(
        "--bench-compare", action="store_true", help="Show the last saved run beside this one."
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MEASURED] = {}


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Versions go into the saved run, beside what pytest-benchmark knows of the machine."""
    machine_info["versions"] = {
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "nginx": nginx_version(),
    }


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    measured = config.stash[_MEASURED]
    if not measured:
        return
    before = last_saved(FOLDER) if config.getoption("bench_compare") else None
    terminalreporter.write_sep("=", "what it costs to be observed")
    terminalreporter.write_line(as_text(FIGURES, measured, before))
    if config.getoption("bench_quick"):
        terminalreporter.write_line("(the short form: these values mean nothing)")
        return
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / MARKDOWN).write_text(as_markdown(FIGURES, measured, before), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: all of it, or as little as shows that it works."""

    quick: bool

    def of(self, full: T, quick: T) -> T:
        """The one that is asked for."""
        return quick if self.quick else full


class Record:
    """Takes what a benchmark has found."""

    def __init__(self, benchmark: BenchmarkFixture, measured: dict[str, Measured]) -> None:
        self._benchmark = benchmark
        self._measured = measured

    def pair(self, key: str, rounds: Rounds, **extra: float | str) -> None:
        """A figure with its reference."""
        self._keep(
            Measured(
                key=key,
                ours=statistics.median(rounds.ours),
                reference=statistics.median(rounds.reference),
                ratio=rounds.ratio,
                rounds=len(rounds.ours),
                extra=extra,
            )
        )

    def value(self, key: str, values: list[float], **extra: float | str) -> None:
        """A figure that has no reference."""
        ours = statistics.median(values)
        self._keep(Measured(key=key, ours=ours, rounds=len(values), extra=extra))

    def _keep(self, measured: Measured) -> None:
        self._measured[measured.key] = measured
        self._benchmark.extra_info["figure"] = asdict(measured)


@pytest.fixture
def record(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Record:
    """Where a benchmark puts its figure."""
    return Record(benchmark, request.config.stash[_MEASURED])


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    """How much is to be done."""
    return Size(bool(request.config.getoption("bench_quick")))


@pytest.fixture(scope="session")
def nchan() -> Iterator[Callable[[], Nchan]]:
    """A running nginx with nchan; skips where it is not installed."""
    started: list[Nchan] = []

    def running() -> Nchan:
        if nginx_version() == "–":
            pytest.skip("the reference is not installed: apt-get install nginx libnginx-mod-nchan")
        if not started:
            started.append(Nchan())
        return started[0]

    yield running
    for each in started:
        each.close()

"""The table: what each benchmark records, printed and saved when the run ends.

`--bench-quick` makes every benchmark tiny: it proves that they work, its values mean nothing.
"""

import gc
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.figures import FIGURES, Measured
from tests.benchmarks.nchan import MISSING, Nchan, nginx_version
from tests.benchmarks.recording import Record, Size
from tests.benchmarks.servers import Tool
from tests.benchmarks.table import as_markdown, as_text, last_saved

FOLDER: Final = Path(".benchmarks")
MARKDOWN: Final = "table.md"
PACKAGES: Final = (
    *("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "sse-starlette", "pydantic"),
    *("opentelemetry-sdk", "opentelemetry-instrumentation-fastapi", "prometheus-client"),
    *("msgspec", "taskiq", "dbos", "huey"),
)

_MEASURED: Final = pytest.StashKey[dict[str, Measured]]()
_BEFORE: Final = pytest.StashKey[dict[str, Measured] | None]()


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
    comparing = config.getoption("bench_compare", default=False)
    config.stash[_BEFORE] = last_saved(FOLDER) if comparing else None


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
    before = config.stash[_BEFORE]
    terminalreporter.write_sep("=", "what it costs to be observed")
    terminalreporter.write_line(as_text(FIGURES, measured, before))
    if config.getoption("bench_quick"):
        terminalreporter.write_line("(the short form: these values mean nothing)")
    elif before is None:
        FOLDER.mkdir(exist_ok=True)
        newest = {**last_saved(FOLDER), **measured}
        (FOLDER / MARKDOWN).write_text(as_markdown(FIGURES, newest), encoding="utf-8")


@pytest.fixture(scope="session", autouse=True)
def _own_heap_only() -> None:
    """Keep what the test runner holds out of garbage collection; what is measured comes later."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def record(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Record:
    """What measures a benchmark's figure, and keeps it."""
    return Record(benchmark, request.config.stash[_MEASURED])


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    """How much is to be done."""
    return Size(bool(request.config.getoption("bench_quick", default=False)))


@pytest.fixture(scope="session")
def nchan() -> Iterator[Nchan]:
    """A running nginx with nchan; skips where it is not installed."""
    if nginx_version() == MISSING:
        pytest.skip("the reference is not installed: apt-get install nginx libnginx-mod-nchan")
    with Nchan() as started:
        yield started


@pytest.fixture
def client() -> Iterator[Tool]:
    """A load generator."""
    with Tool("client") as started:
        yield started

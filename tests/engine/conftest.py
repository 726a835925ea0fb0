"""Every test of the engine is held by each backend, unless it is marked for one alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import harness

BACKENDS = ("memory", "sqlite")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = metafunc.definition.get_closest_marker("backend")
    backends = marked.args if marked else BACKENDS
    metafunc.parametrize("backend", backends, indirect=True)


@pytest.fixture(autouse=True)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the engine of this test keeps its jobs."""
    chosen: str = request.param
    with harness.keeping_in(tmp_path if chosen == "sqlite" else None):
        yield chosen

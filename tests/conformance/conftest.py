"""One running service for the tests of a module, for each backend; and one of a test's own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.service import BACKENDS, Service, started


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """What keeps the jobs and runs them."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def service(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running one that others use as well."""
    with started(backend, tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def own(backend: str, tmp_path: Path) -> Callable[..., AbstractContextManager[Service]]:
    """Begins one of this test's own, with settings."""
    return partial(started, backend, tmp_path)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet: what waits for it goes on when the test touches it."""
    return tmp_path / "gate"

"""One server for the tests of a process that only read from it, and files that open gates."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.server import ServerProcess, serving


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A real server with the operations of `operations.py`; heartbeats come fast."""
    with serving(heartbeat_s=0.2, log_limit=2000) as started:
        yield started


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet: what waits for it goes on when the test touches it."""
    return tmp_path / "gate"

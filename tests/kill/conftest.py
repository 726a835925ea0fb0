"""Servers that can be killed; nothing of them is left after a test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kill.server import FragileServer

Fragile = Callable[..., FragileServer]


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Fragile]:
    """Makes servers; each is started by its test, on a store in the test's directory."""
    made: list[FragileServer] = []

    def make(**options: Any) -> FragileServer:
        made.append(FragileServer(tmp_path, **options))
        return made[-1]

    yield make
    for server in made:
        server.close()
        assert "Traceback" not in server.complaints, server.complaints

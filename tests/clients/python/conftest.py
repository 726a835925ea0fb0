"""Each of the two clients in turn; the server is that of `tests/clients`."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.python.both import BOTH, Open
from tests.clients.server import ServerProcess


@pytest.fixture(params=BOTH)
def opened(request: pytest.FixtureRequest) -> Open:
    """Makes a client of either kind."""
    return BOTH[request.param]


@pytest.fixture
def client(opened: Open, server: ServerProcess) -> Iterator[Any]:
    """A client of `server`, of either kind; its type is `Client`, or what looks like one."""
    with opened(server.url) as one:
        yield one

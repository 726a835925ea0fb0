"""Stores for tests: real files."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.store.protocol import Store
from app.store.sqlite import SqliteStore

OPENERS: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: SqliteStore(folder / "s.db")
}
"""Every kind of store; what the protocol promises is tried on each."""


@pytest.fixture(params=OPENERS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the store of this test, again and again."""
    opener: Callable[[Path], Store] = OPENERS[request.param]
    return lambda: opener(tmp_path)


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Iterator[Store]:
    """An empty store."""
    with closing(open_store()) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store's file may be made."""
    return tmp_path / "jobs.db"

"""How large the tests of bounds are: `make test-bounds` gives --full."""

import pytest

from tests.bounds.scale import REDUCED, WHOLE, Scale


def pytest_addoption(parser: pytest.Parser) -> None:
    """--full: the sizes that are promised, which take minutes."""
    parser.addoption("--full", action="store_true", help="tests of bounds at full size")


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    """How much of everything."""
    return WHOLE if request.config.getoption("--full", default=False) else REDUCED

"""For how long each target is tried: a few examples in `make test`, minutes in `make fuzz`.

`--fuzz-s` is the time of all targets together, in seconds. Examples differ from run to run; those
that fail are kept (`.hypothesis`), tried first the next time, and printed with what repeats them.
"""

import os
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

FUZZED = settings(
    deadline=None,
    max_examples=200,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Fuzz:
    """One target's share of the time."""

    def __init__(self, share_s: float) -> None:
        self._share_s = share_s

    @property
    def long(self) -> bool:
        """Whether there is time beyond the first few examples."""
        return self._share_s > 0

    def __call__(self, attack: Callable[[], None]) -> None:
        """Run a hypothesis test, and again with new examples until the time has passed."""
        self.repeat(FUZZED(attack))

    def repeat(self, attack: Callable[[], object]) -> None:
        """Call `attack` once, and again until the time has passed."""
        end = time.monotonic() + self._share_s
        attack()
        while time.monotonic() < end:
            attack()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the time from the command line."""
    parser.addoption("--fuzz-s", type=float, default=0.0, help="seconds for all fuzz targets")


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """The share of the test that asks."""
    # Where other folders are run too, this option is not known.
    total_s = float(request.config.getoption("--fuzz-s", 0.0))
    targets = sum("fuzz" in getattr(each, "fixturenames", ()) for each in request.session.items)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return Fuzz(total_s * workers / targets)

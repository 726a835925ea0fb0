"""Whether a full server is slower than one that holds little: two processes, in turn."""

from collections.abc import Iterator

import pytest

from tests.benchmarks.measuring import Measure
from tests.benchmarks.recording import Record, Size
from tests.benchmarks.servers import Tool

COUNTS = {"job": 40, "submit": 100, "emit": 500, "read": 300}
"""Of each thing in one round."""


@pytest.fixture(scope="module")
def full(size: Size) -> Iterator[Tool]:
    """A process that holds much."""
    with Tool("job_process") as started:
        started.ask(do="hold", jobs=size.of(100_000, 200), messages=size.of(100_000, 200))
        yield started


@pytest.fixture(scope="module")
def empty() -> Iterator[Tool]:
    """A process that holds a hundred of each."""
    with Tool("job_process") as started:
        started.ask(do="hold", jobs=100, messages=100)
        yield started


@pytest.mark.parametrize("what", COUNTS)
def test_a_full_server_beside_an_empty_one(
    record: Record, size: Size, full: Tool, empty: Tool, what: str
) -> None:
    count = size.of(COUNTS[what], 20)

    record.pair(
        f"scale-{what}", each(full, what, count), each(empty, what, count), rounds=size.of(25, 1)
    )


def each(process: Tool, what: str, count: int) -> Measure:
    """CPU microseconds of each of `count` things, in that process."""
    return lambda: float(process.ask(do="run", what=what, count=count)["each_us"])

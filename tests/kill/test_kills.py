"""A short run of the kill test; `make test-kill` is the long one."""

import asyncio
from pathlib import Path

import pytest

from tests.kill.run import KillTest


@pytest.mark.slow
def test_whatever_the_moment_of_a_kill_nothing_that_was_told_is_lost_or_changed(
    tmp_path: Path,
) -> None:
    test = KillTest(tmp_path, seed=6)
    asyncio.run(test.run(8, within_s=60))

    assert test.violations == [], test.summary()

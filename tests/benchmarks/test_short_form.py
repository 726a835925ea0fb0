"""The benchmarks work: each runs in its short form, in its own process; no time is asserted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NO_BENCHMARKS = {Path(__file__).name, "test_table.py"}
MODULES = sorted({each.name for each in HERE.glob("test_*.py")} - NO_BENCHMARKS)


@pytest.mark.parametrize("module", MODULES)
def test_the_short_form_of(module: str) -> None:
    """Run it, and find its rows in the table."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", f"tests/benchmarks/{module}", "--bench-quick", "-q"),
            *("--benchmark-only", "--benchmark-quiet", "-p", "no:cacheprovider"),
            *("--override-ini", "addopts=-ra --import-mode=importlib -p no:schemathesis"),
        ],
        cwd=ROOT,
        # With the variables of xdist's workers the benchmarks would switch themselves off; and
        # what they cover is covered by tests.
        env={
            name: each
            for name, each in os.environ.items()
            if "XDIST" not in name and not name.startswith("COVERAGE_")
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "what it costs to be observed" in done.stdout
    assert "failed" not in done.stdout

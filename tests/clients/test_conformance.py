"""The public conformance suite of Durable Streams: its read-side cases, unchanged.

Each case creates and appends before it reads; `durable_adapter.py` does that with jobs of ours. The
groups named here are all that reads; `NOT_OURS` are their cases that are about something else.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.clients.server import ROOT, WAIT_S

HERE: Final = Path(__file__).parent
BOUND_S: Final = 240

GROUPS: Final = (
    "Read Operations",
    "Long-Poll Operations",
    "HTTP Protocol should return correct headers on GET",
    "HTTP Protocol should return empty body with up-to-date for empty stream",
    "HTTP Protocol should read from offset",
    "Browser Security Headers",
    "HEAD Metadata should",
    "Offset Validation and Resumability",
    "Protocol Edge Cases should (preserve|generate|reject (empty|multiple) offset|ignore)",
    "Long-Poll Edge Cases",
    "Caching and ETag",
    "Chunking and Large Payloads",
    "Read-Your-Writes Consistency",
    "SSE Mode",
    "^JSON Mode",
    "Byte-Exactness Property",
    "Immutability Properties",
    "Offset Validation Properties",
    "Stream Closure HEAD",
    "Stream Closure Read",
    "Stream Closure Long-poll",
    "Stream Closure SSE",
    "Stream Closure Edge Cases offset-now",
)
_BINARY: Final = "a story is JSON: there are no binary streams"
NOT_OURS: Final = {
    "Browser Security Headers should include X-Content-Type-Options: nosniff on PUT responses": (
        "a write"
    ),
    "Browser Security Headers should include X-Content-Type-Options: nosniff on POST responses": (
        "a write"
    ),
    "Caching and ETag should allow If-None-Match in CORS preflight responses": (
        "no other origin may read"
    ),
    **{
        f"SSE Mode {case}": _BINARY
        for case in (
            "base64 SSE catch-up pairs every data event with a control event",
            "should auto-detect binary streams and return base64 encoded data in SSE mode",
            "should include Stream-SSE-Data-Encoding header for binary streams",
            "should handle large binary payload with auto-detected base64 encoding",
            "should handle binary data with special bytes using auto-detected base64 encoding",
            "should auto-detect base64 encoding for application/x-protobuf streams",
            "should auto-detect base64 encoding for image/png streams",
        )
    },
}

pytestmark = pytest.mark.node


@pytest.fixture
def address() -> Iterator[str]:
    """A server for the suite."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.clients.durable_adapter"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.communicate(timeout=WAIT_S)


def test_every_read_side_case_of_the_suite_passes(address: str, tmp_path: Path) -> None:
    vitest = HERE / "node_modules" / ".bin" / "vitest"
    assert vitest.exists(), f"vitest is not installed: npm ci --prefix {HERE.name}"
    report = tmp_path / "report.json"
    subprocess.run(
        [
            *(vitest, "run", "--root", HERE, "--testNamePattern", "|".join(GROUPS)),
            *("--reporter", "json", "--outputFile", report),
        ],
        capture_output=True,
        env={**os.environ, "CONFORMANCE_TEST_URL": address},
        timeout=BOUND_S,
        check=False,
    )
    (suite,) = json.loads(report.read_text())["testResults"]
    outcomes = {each["fullName"]: each for each in suite["assertionResults"]}
    failed = {name: each for name, each in outcomes.items() if each["status"] == "failed"}
    passed = {name for name, each in outcomes.items() if each["status"] == "passed"}
    why = {name: each["failureMessages"] for name, each in failed.items() if name not in NOT_OURS}

    assert why == {}
    assert set(failed) == set(NOT_OURS)
    assert len(passed) == 113

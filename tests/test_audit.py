"""What is known to be vulnerable fails; what could not be looked up is never said to be clean."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[1]
SCRIPT: Final = ROOT / ".ci" / "audit.py"
(VERSION,) = re.findall(r"pip-audit@[\d.]+", (ROOT / "Makefile").read_text())
PIP_AUDIT: Final = (sys.executable, "-m", "uv", "--quiet", "tool", "run", VERSION)
WAIT_S: Final = 120
KNOWN: Final[dict[str, Any]] = {
    "id": "OSV-2026-1",
    "summary": "It runs what it reads.",
    "affected": [
        {
            "package": {"name": "pyyaml", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}
"""A vulnerability as OSV's API tells one (https://ossf.github.io/osv-schema/)."""


class Source(BaseHTTPRequestHandler):
    """A source of vulnerabilities that knows of one, in `vulnerable`."""

    vulnerable: str | None = None

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        known = {"vulns": [KNOWN]} if asked["package"]["name"] == self.vulnerable else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(known).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def source(*, vulnerable: str | None) -> Iterator[str]:
    """The address of a source that knows of one vulnerable package, or of none."""
    handler = type("Handler", (Source,), {"vulnerable": vulnerable})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def nobody_listens() -> str:
    """The address of a port that is closed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/"


def audit(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real pip-audit, asking at `address`."""
    asks = (*PIP_AUDIT, "--vulnerability-service", "osv", "--osv-url", address)
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, *asks],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
        env=os.environ | {"no_proxy": "127.0.0.1"},
    )


@pytest.fixture(scope="module", autouse=True)
def _pip_audit() -> None:
    there = subprocess.run([*PIP_AUDIT, "--version"], capture_output=True, check=False)
    if there.returncode:
        pytest.skip(f"{VERSION} can't be installed: {there.stderr.decode().strip()}")


def test_where_nothing_is_known_of_any_package_it_is_audited() -> None:
    with source(vulnerable=None) as address:
        done = audit(address)

    assert re.fullmatch(
        r"audited: \d{2,} packages of requirements.lock, no known vulnerability\n", done.stdout
    )
    assert done.returncode == 0


def test_a_finding_fails_and_says_where_it_is_mended() -> None:
    with source(vulnerable="pyyaml") as address:
        done = audit(address)

    assert re.fullmatch(r"vulnerable: pyyaml [\d.]+: OSV-2026-1, mended in 99\.1\n", done.stdout), (
        done.stdout + done.stderr
    )
    assert done.returncode == 1


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--must",), 1)])
def test_a_source_that_is_not_there_makes_nothing_clean(
    arguments: tuple[str, ...], code: int
) -> None:
    done = audit(nobody_listens(), *arguments)

    assert done.stdout.startswith("not audited: nothing of requirements.lock could be looked up")
    assert "Connection refused" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.returncode == code


@pytest.mark.parametrize("must", [False, True])
def test_packages_that_were_passed_over_are_named(
    capsys: pytest.CaptureFixture[str], *, must: bool
) -> None:
    spec = spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    passed_over = [{"name": f"p{number}", "skip_reason": "not there"} for number in range(7)]
    looked_up = {"name": "q", "version": "1", "vulns": []}

    code = script.verdict([*passed_over, looked_up], said="", must=must)

    assert capsys.readouterr().out == (
        "not audited: 7 of 8 packages of requirements.lock: "
        "p0, p1, p2, p3, p4 and 2 more (not there)\n"
    )
    assert code == int(must)

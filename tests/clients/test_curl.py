"""`curl -N`, the client that everyone has."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.clients.server import WAIT_S, ServerProcess

Curl = Callable[..., IO[str]]


@pytest.fixture
def curl() -> Iterator[Curl]:
    """Starts curl and gives what it prints; what is left at the end is killed."""
    program = shutil.which("curl")
    assert program is not None, "curl is not installed: on Debian, apt-get install curl"
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> IO[str]:
        process = subprocess.Popen(
            [program, "--no-buffer", "--silent", "--max-time", str(int(WAIT_S)), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return process.stdout

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_what_was_told_is_printed_before_the_job_goes_on(
    server: ServerProcess, curl: Curl, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate)})
    printed = curl(f"{server.url}{job['links']['stream']}?format=text")

    told = next(line for line in printed if "before 0" in line)
    still = server.record(job["id"])["state"]
    gate.touch()

    assert told == "data: [gated     ] before         : before 0\n"
    assert still == "running"
    assert [line for line in printed if line.startswith("data:")][-1] == "data: [DONE]\n"


def test_it_takes_lines_of_json(server: ServerProcess, curl: Curl) -> None:
    job = server.submit("talk")

    lines = curl(f"{server.url}{job['links']['stream']}?format=ndjson").read().splitlines()

    assert all(line.startswith('{"id":') and line.endswith("}") for line in lines)
    assert '"marker":"[DONE]"' in lines[-1]

"""`narrator serve` as a process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 60
JOBS = """
import asyncio

from app import operation


@operation("quick")
async def quick() -> str:
    return "{word}"


@operation("slow")
async def slow() -> str:
    await asyncio.sleep(1)
    return "done"


@operation("forever")
async def forever() -> None:
    await asyncio.Event().wait()
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `narrator serve` with arguments, where `jobs.py` is; what is left is killed."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "some_jobs.py").write_text(JOBS.replace("{word}", "first"))

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"narrator: listening on (http://127\.0\.0\.1:\d+)\n", line)
    assert found is not None, (line, process.poll() is not None and process.communicate())
    return found[1]


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        content: dict[str, Any] = json.loads(answer.read())
        return content


def test_the_first_line_says_where_and_a_job_can_be_run_there(start: Start) -> None:
    url = address(start("some_jobs.py", "--port", "0"))
    job = call(f"{url}/v1/jobs", {"operation": "quick"})

    assert call(f"{url}{job['links']['self']}?wait={WAIT_S}")["result"] == "first"


def test_without_a_target_the_built_in_operations_are_served(start: Start) -> None:
    url = address(start("--port", "0"))

    assert call(f"{url}/v1/operations")["operations"] != []


def test_sigterm_lets_what_runs_finish_and_ends_with_0(start: Start) -> None:
    process = start("some_jobs.py", "--port", "0")
    url = address(process)
    job = call(f"{url}/v1/jobs", {"operation": "slow"})
    with urllib.request.urlopen(f"{url}{job['links']['stream']}", timeout=WAIT_S) as stream:
        stream.readline()
        process.send_signal(signal.SIGTERM)
        told = stream.read().decode()
    said, complained = process.communicate(timeout=WAIT_S)

    assert "event: draining" in told
    assert (process.returncode, said) == (0, "")
    assert "Traceback" not in complained


def test_a_second_sigterm_ends_at_once(start: Start) -> None:
    process = start("some_jobs.py", "--port", "0")
    url = address(process)
    job = call(f"{url}/v1/jobs", {"operation": "forever"})
    with urllib.request.urlopen(f"{url}{job['links']['stream']}", timeout=WAIT_S) as stream:
        stream.readline()
        process.send_signal(signal.SIGTERM)
        assert "event: draining" in stream.read().decode()
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=WAIT_S) == 128 + signal.SIGTERM


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_served_only_with_keys_or_if_that_is_said(
    start: Start, host: str
) -> None:
    process = start("some_jobs.py", "--port", "0", "--host", host)
    _, told = process.communicate(timeout=WAIT_S)

    if "cannot listen" in told:
        pytest.skip(f"this machine has no {host}")
    assert process.returncode == 2
    assert "--keys FILE" in told
    assert "--allow-anonymous" in told
    assert "NARRATOR_ALLOW_ANONYMOUS" in told


def test_other_machines_are_served_with_keys_and_if_that_is_said(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "keys.toml").touch(mode=0o600)
    for more in (["--keys", "keys.toml"], ["--allow-anonymous"]):
        process = start("some_jobs.py", "--port", "0", "--host", "0.0.0.0", *more)
        assert process.stdout is not None
        assert "listening on http://0.0.0.0:" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize("content", [None, "[[key", "x = 1"])
def test_a_keys_file_that_is_none_keeps_the_server_from_starting(
    start: Start, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "keys.toml").write_text(content)
    process = start("some_jobs.py", "--port", "0", "--keys", "keys.toml")
    _, told = process.communicate(timeout=WAIT_S)

    assert process.returncode == 2
    assert "keys.toml" in told
    assert "Traceback" not in told


def test_two_targets_are_served_together(start: Start, tmp_path: Path) -> None:
    (tmp_path / "other_jobs.py").write_text(
        "from app import operation\n\n\n@operation\ndef other() -> None:\n    pass\n"
    )
    url = address(start("some_jobs.py:quick", "other_jobs.py", "--port", "0"))
    listed = [each["name"] for each in call(f"{url}/v1/operations")["operations"]]

    assert listed == ["other", "quick"]


@pytest.mark.slow
def test_a_changed_file_is_served_anew_with_reload(start: Start, tmp_path: Path) -> None:
    process = start("some_jobs.py", "--port", "0", "--reload")
    first = address(process)
    job = call(f"{first}/v1/jobs", {"operation": "quick"})
    assert call(f"{first}{job['links']['self']}?wait={WAIT_S}")["result"] == "first"

    time.sleep(1)  # the watcher says nowhere that it has begun to watch
    (tmp_path / "some_jobs.py").write_text(JOBS.replace("{word}", "second"))
    second = address(process)
    job = call(f"{second}/v1/jobs", {"operation": "quick"})

    assert call(f"{second}{job['links']['self']}?wait={WAIT_S}")["result"] == "second"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 0

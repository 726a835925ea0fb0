"""`narrator bench`: what it prints, and how it ends. No time is asserted."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from app.cli.main import main

ROOT: Final = Path(__file__).parents[2]
WAIT_S: Final = 120
JOBS: Final = """
import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from opentelemetry import trace

from app import JobContext, lifespan, operation
from narration import narrate


class Store:
    pass


@lifespan
async def store() -> AsyncIterator[Store]:
    sys.stderr.write("opened\\n")
    yield Store()
    sys.stderr.write("closed\\n")


@operation
async def render(scene: str, frames: int = 1, *, kept: Store, job: JobContext) -> int:
    print("a handler may print")
    for number in range(frames):
        narrate("frame", "{number} of {scene}", number=number, scene=scene)
        job.progress(number + 1, frames)
    return frames


@operation
def recite() -> Iterator[str]:
    asyncio.run(asyncio.sleep(0))  # as a thread may: no loop runs in it
    recording = trace.get_current_span().is_recording()
    Path("seen.txt").open("a").write(f"{recording} ")
    yield from "abc"


@operation(isolation="process")
def child() -> int:
    return 1


@operation
def broken() -> None:
    raise ConnectionError("the store does not answer")


@operation(timeout_s=0.05)
async def late() -> None:
    await asyncio.sleep(0.2)


@operation
async def forever() -> None:
    await asyncio.Event().wait()
"""
OWN_PROVIDER: Final = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from app import operation

trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))


@operation
async def traced() -> None:
    pass
"""

Bench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where some_jobs.py is."""
    (tmp_path / "some_jobs.py").write_text(JOBS)
    return tmp_path


@pytest.fixture
def bench(folder: Path) -> Bench:
    """Runs the command in a process of its own, since OpenTelemetry has one provider for each."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli.main", "bench", *arguments]


def environment() -> dict[str, str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NARRATOR_", "OTEL_"))
    }
    return clean | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}


def form(line: str) -> str:
    """A line of the table without what differs from run to run."""
    return " ".join(re.sub(r"[\d.]+( µs| ms| s)?\b", "N", line).split())


# --- what it prints ---------------------------------------------------------------------------


def test_the_sample_is_measured_in_the_form_that_the_readme_shows(bench: Bench) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("$ .venv/bin/narrator bench\n")[2].partition("```")[0].splitlines()

    ended = bench("--seconds", "0.2")

    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert form(lines[0]) == "what CPU per job ratio to bare wall per job"
    assert lines[5].startswith("narrated, 10 readers ")
    assert [form(line) for line in lines[:6]] == [form(line) for line in shown[:6]]
    assert "built-in sample of 3 spans and 10 events" in " ".join(lines)
    assert max(map(len, lines)) <= 80


def test_json_has_every_round_and_the_versions(bench: Bench) -> None:
    ended = bench(
        "some_jobs.py:render", "scene=7", "frames=2", "--readers=0,3", "--seconds=0.1", "--json"
    )

    told = json.loads(ended.stdout)  # what the handler prints is not in it
    assert told["operation"] == "render"
    assert told["params"] == {"scene": "7", "frames": 2}
    assert [(row["what"], row["readers"]) for row in told["rows"]] == [
        ("bare", None),
        ("traced", None),
        ("narrated", 0),
        ("narrated, 3 readers", 3),
    ]
    assert {len(row["cpu_s_of_rounds"]) for row in told["rows"]} == {told["rounds"]}
    assert told["rows"][0]["ratio"] == 1
    assert set(told["versions"]) >= {"python", "opentelemetry-sdk"}
    assert ended.stderr == "opened\nclosed\n"  # all forms share one


def test_a_thread_is_called_in_a_thread_and_traced_only_where_that_is_said(
    bench: Bench, folder: Path
) -> None:
    ended = bench("some_jobs.py:recite", "--readers=0", "--seconds=0.01", "--json")

    assert ended.returncode == 0, ended.stderr
    seen = (folder / "seen.txt").read_text().split()
    jobs = json.loads(ended.stdout)["jobs_per_round"]
    assert seen[-3 * jobs :] == [str(traced) for traced in (False, True, True) for _ in range(jobs)]


def test_of_a_child_process_only_the_narrated_forms_are_measured(bench: Bench) -> None:
    ended = bench("some_jobs.py:child", "--readers=0,1", "--seconds=0.01")

    lines = ended.stdout.splitlines()
    assert "ratio to narrated" in lines[0]
    assert [line.partition("  ")[0] for line in lines[1:3]] == ["narrated", "narrated, 1 reader"]
    assert "It runs in a child process" in " ".join(lines)


def test_a_tracer_provider_of_the_module_is_told(bench: Bench, folder: Path) -> None:
    (folder / "own.py").write_text(OWN_PROVIDER)

    ended = bench("own.py", "--readers=0", "--seconds=0.01")

    assert "tracer provider of its own" in " ".join(ended.stdout.split())
    assert ended.stderr == ""


# --- how it ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("broken", "bare: ConnectionError: the store does not answer"),
        ("late", "narrated: timeout: "),
    ],
)
def test_an_operation_that_fails_is_a_1_that_says_why(bench: Bench, name: str, why: str) -> None:
    ended = bench(f"some_jobs.py:{name}", "--seconds=0.01")

    assert ended.returncode == 1
    assert f"narrator: operation {name!r} cannot be measured: {why}" in ended.stderr
    assert (ended.stdout, "Traceback" in ended.stderr) == ("", False)


def test_ctrl_c_takes_the_moving_line_away_and_is_a_130(folder: Path) -> None:
    end, terminal = pty.openpty()
    process = subprocess.Popen(
        command("some_jobs.py:forever"),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        shown = read_until(end, "warm-up: bare")
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=WAIT_S)
        shown += read_until(end, "stopped")
    finally:
        process.kill()
        process.wait()
        os.close(end)

    assert (process.returncode, printed) == (130, b"")
    assert shown.endswith("\x1b[2Knarrator: stopped")
    assert "Traceback" not in shown


def read_until(end: int, text: str) -> str:
    """What a terminal shows, up to and with `text`."""
    shown, deadline = "", time.monotonic() + WAIT_S
    while text not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([end], [], [], 1)[0]:
            shown += os.read(end, 1).decode(errors="replace")
    return shown


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere.py"], "nowhere.py: there is no such file"),
        (["bench_jobs.py"], "has 2 operations; name one: bench_jobs.py:one, bench_jobs.py:two"),
        (["bench_jobs.py:one", "number=many"], "number: Input should be a valid integer"),
        (["bench_jobs.py:one"], "number: is required"),
        (["bench_jobs.py:one", "other=1"], "other: is no param of this operation"),
        (["bench_jobs.py:one", "number:=x"], "number: 'x' is not JSON"),
        (["bench_jobs.py:one", "number"], "'number' is no param: write key=value"),
        (["bench_jobs.py:one", "number=1", "number=2"], "number: is given twice"),
        (["number=1"], "'number=1' is a param; name the operation first"),
        (["--readers", "0,few"], "--readers: 'few' is no number of readers"),
    ],
)
def test_what_cannot_be_understood_is_a_2_that_names_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench_jobs.py").write_text(
        "from app import operation\n\n\n@operation\ndef one(number: int) -> None: ...\n\n\n"
        "@operation\ndef two() -> None: ...\n"
    )

    assert main(["bench", *arguments]) == 2
    assert why in capsys.readouterr().err

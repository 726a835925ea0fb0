"""`narrator top` against a real server: live on a terminal, once elsewhere."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Narrator
from tests.cli.terminal import INTERRUPT, Terminal, narrator
from tests.clients.server import ServerProcess


@pytest.fixture
def busy(studio: ServerProcess, tmp_path: Path) -> str:
    """The id of a job that runs until the test is over."""
    job_id: str = studio.submit(
        "studio", params={"folder": str(tmp_path)}, tags={"test": "top"}, timeout_s=60
    )["id"]
    studio.reaches(job_id, "running")
    return job_id


def test_without_a_terminal_it_is_printed_once(
    narrator: Narrator, busy: str, tmp_path: Path
) -> None:
    done = narrator("top")
    (tmp_path / "end").touch()

    assert done.code == 0
    assert any(busy[:8] in line and "running" in line for line in done.lines)
    assert "of 8 run" in done.out
    assert "q quit" not in done.out


def test_as_json_it_is_the_overview(narrator: Narrator, busy: str, tmp_path: Path) -> None:
    seen = json.loads(narrator("top", "--json").out)
    (tmp_path / "end").touch()

    assert seen["running"]["studio"] >= 1
    assert set(seen["queue"]) == {"low", "normal", "high", "critical"}


def test_on_a_terminal_it_is_live_and_a_job_is_entered_and_left(
    studio: ServerProcess, busy: str, tmp_path: Path
) -> None:
    terminal = Terminal(narrator("top"), environment={"NARRATOR_SERVER": studio.url})
    try:
        terminal.until(busy[:8])
        for key in (*"/test=top", "\r"):
            terminal.type(key)
        terminal.until("search: test=top")
        other = studio.submit("sleeps", tags={"test": "top"})["id"]
        terminal.until(other[:8])
        studio.client.post(f"/v1/jobs/{other}/cancel")

        terminal.type("\r")
        at = terminal.until("│ Beginning 0")
        terminal.type("q")
        at = terminal.until("any key: back to top", since=at)
        terminal.type("x")
        terminal.until("narrator top", since=at)
        terminal.type(INTERRUPT)

        assert terminal.finish() == 0
        assert terminal.restored
        assert terminal.raw.rstrip().endswith("\x1b[?1049l\x1b[?25h")
    finally:
        (tmp_path / "end").touch()
        terminal.close()

"""`narrator run` and `watch` on a terminal: what is drawn, keys, Ctrl-C, and the terminal after."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import INTERRUPT, Terminal, narrator
from tests.clients.python.cutting import cutting
from tests.clients.server import ServerProcess, until

Start = Callable[..., Terminal]


@pytest.fixture
def start(studio: ServerProcess) -> Iterator[Start]:
    """Start `narrator …` on a terminal; all are closed at the end."""
    opened: list[Terminal] = []

    def begin(*words: str, server: str = studio.url, columns: int = 80) -> Terminal:
        environment = {"NARRATOR_SERVER": server}
        terminal = Terminal(narrator(*words), columns=columns, environment=environment)
        opened.append(terminal)
        return terminal

    yield begin
    for each in opened:
        each.close()


def job_of(terminal: Terminal) -> str:
    """The id on the first line."""
    terminal.until("/v1/jobs/")
    terminal.until("\n")
    found = re.search(r"/v1/jobs/([0-9a-f-]{36})", terminal.shown)
    assert found
    return found[1]


def test_steps_are_drawn_while_they_run_and_the_last_picture_stays(
    start: Start, tmp_path: Path
) -> None:
    terminal = start("run", "studio", f"folder={tmp_path}")
    terminal.until("│ Beginning 0")
    terminal.until("0/10")

    (tmp_path / "0").touch()
    terminal.until("✓ step 0")
    terminal.until("│ Beginning 1")
    (tmp_path / "end").touch()

    assert terminal.finish() == 0
    assert "✓ completed in" in terminal.last
    assert "✓ step 0" in terminal.last
    assert terminal.last.rstrip().endswith("ended")
    assert "q detach" not in terminal.last
    assert terminal.raw.rstrip().endswith("\x1b[?25h")  # the cursor is seen again
    assert terminal.restored


def test_the_heading_links_to_the_job(start: Start) -> None:
    terminal = start("run", "render", "scene=a")
    assert terminal.finish() == 0

    assert re.search(r"\x1b\]8;[^;]*;http://[^\x1b]*/v1/jobs/[0-9a-f-]{36}\x1b", terminal.raw)


def test_no_color_is_obeyed(studio: ServerProcess) -> None:
    environment = {"NARRATOR_SERVER": studio.url, "NO_COLOR": "1"}
    terminal = Terminal(narrator("run", "render", "scene=a"), environment=environment)
    try:
        assert terminal.finish() == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", terminal.raw)
    finally:
        terminal.close()


def test_ctrl_c_once_leaves_the_job_alone_and_says_how_to_come_back(
    start: Start, studio: ServerProcess, tmp_path: Path
) -> None:
    terminal = start("run", "studio", f"folder={tmp_path}")
    job_id = job_of(terminal)
    terminal.until("Beginning 0")

    terminal.type(INTERRUPT)
    terminal.until("Ctrl-C again within 3 s cancels it")

    assert terminal.finish() == 130
    assert f"narrator watch {job_id}" in terminal.shown
    assert studio.record(job_id)["state"] == "running"
    assert terminal.restored
    (tmp_path / "end").touch()


def test_ctrl_c_twice_cancels_the_job(start: Start, studio: ServerProcess, tmp_path: Path) -> None:
    terminal = start("run", "studio", f"folder={tmp_path}")
    job_id = job_of(terminal)
    terminal.until("Beginning 0")

    terminal.type(INTERRUPT)
    terminal.until("cancels it")
    terminal.type(INTERRUPT)

    assert terminal.finish() == 130
    assert "✗ cancelled" in terminal.last
    assert studio.ended(job_id)["state"] == "cancelled"
    assert terminal.restored


def test_q_leaves_at_once(start: Start, tmp_path: Path) -> None:
    terminal = start("run", "studio", f"folder={tmp_path}")
    terminal.until("Beginning 0")

    terminal.type("q")

    assert terminal.finish() == 130
    assert "Come back: narrator watch" in terminal.shown
    (tmp_path / "end").touch()


def test_sigterm_gives_the_terminal_back(start: Start, tmp_path: Path) -> None:
    terminal = start("run", "studio", f"folder={tmp_path}")
    terminal.until("Beginning 0")

    terminal.process.terminate()

    assert terminal.finish() == 143
    assert terminal.restored
    assert "\x1b[?25h" in terminal.raw
    (tmp_path / "end").touch()


def test_keys_show_more_less_and_the_first_error(start: Start, tmp_path: Path) -> None:
    terminal = start("run", "studio", f"folder={tmp_path}")
    terminal.until("│ Beginning 0")

    at = len(terminal.shown)
    terminal.type("e")
    at = terminal.until("no error so far", since=at)
    terminal.type("s")
    until(lambda: terminal.read() and "│" not in terminal.last and "step 0" in terminal.last)
    terminal.type("d")
    at = terminal.until("│ Beginning 0", since=len(terminal.shown))

    (tmp_path / "end").touch()
    assert terminal.finish() == 0


def test_a_terminal_that_gets_narrower_is_drawn_on_within_its_width(
    start: Start, tmp_path: Path
) -> None:
    terminal = start("run", "studio", f"folder={tmp_path}")
    terminal.until("Beginning 0")

    terminal.resize(10, 40)
    until(lambda: terminal.read() and "…" in terminal.last and "step 0" in terminal.last)

    widest = max(map(len, terminal.last.splitlines()))
    assert widest <= 40
    (tmp_path / "end").touch()
    assert terminal.finish() == 0


def test_a_finished_run_is_drawn_again_by_watch(start: Start, studio: ServerProcess) -> None:
    job_id = studio.submit("render", params={"scene": "a", "frames": 3})["id"]
    studio.ended(job_id)

    terminal = start("watch", job_id)

    assert terminal.finish() == 0
    assert "✓ frames  3 steps" in terminal.last
    assert "100%  3/3 frames" in terminal.last


def test_a_failure_shows_where_it_was_and_what_to_do(start: Start) -> None:
    terminal = start("run", "fails")

    assert terminal.finish() == 1
    assert "✗ failed (error)" in terminal.last
    assert "raise RuntimeError(words)" in terminal.last
    assert "again: narrator retry" in terminal.last


def test_progress_can_be_chosen_on_a_terminal(start: Start) -> None:
    terminal = start("run", "render", "scene=a", "--progress", "plain")

    assert terminal.finish() == 0
    assert "[DONE]" in terminal.shown
    assert "\x1b[J" not in terminal.raw


def test_a_stream_that_breaks_says_so_and_comes_back(
    start: Start, studio: ServerProcess, tmp_path: Path
) -> None:
    with cutting(studio.port) as proxy:
        terminal = start("run", "studio", f"folder={tmp_path}", server=proxy.url)
        terminal.until("Beginning 0")

        proxy.away()
        terminal.until("coming back in")
        (tmp_path / "0").touch()
        proxy.back()
        terminal.until("│ Beginning 1")
        assert "coming back in" not in terminal.last
        (tmp_path / "end").touch()

        assert terminal.finish() == 0

"""The demo as a whole: a real server process, a real job, the output that a person sees."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import WAIT_S, Terminal, environment_of

RUN = (
    "from pathlib import Path; from app.cli.demo import demo; "
    "raise SystemExit(demo(Path({!r}), port={}))"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of one content, and one of its own."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("the same")
    (tmp_path / "c").write_text("alone")
    return tmp_path


def command(folder: Path, port: int = 0) -> list[str]:
    return [sys.executable, "-P", "-c", RUN.format(str(folder), port)]


def run(
    folder: Path, port: int = 0, target: Path | None = None, **changed: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(target or folder, port),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment_of(**changed),
        cwd=folder,
    )


def port_of(output: str) -> int:
    found = re.search(r"http://127\.0\.0\.1:(\d+)", output)
    assert found
    return int(found[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_without_a_terminal_it_tells_the_story_and_ends_with_0(folder: Path) -> None:
    done = run(folder)

    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"catalogue +Looking for files", done.stdout)
    assert re.search(r"sqlite3 +INSERT started", done.stdout)
    assert re.search(r"progress .*100%  3/3 files hashed", done.stdout)
    assert "duplicate_groups  1" in done.stdout
    assert "[DONE]" in done.stdout
    assert "\x1b" not in done.stdout
    assert "curl" not in done.stdout  # the server is gone by then


def test_its_server_is_gone_when_it_ends(folder: Path) -> None:
    done = run(folder)

    assert not accepts(port_of(done.stdout))


def test_a_folder_that_is_not_there_is_1_with_the_reason(folder: Path) -> None:
    done = run(folder, target=folder / "gone")

    assert done.returncode == 1
    assert "is no folder" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_folder_outside_of_configured_roots_is_refused(folder: Path, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()

    done = run(folder, NARRATOR_ROOTS=str(allowed))

    assert done.returncode == 1
    assert "outside of the allowed roots" in done.stdout


def test_a_port_in_use_is_1_with_what_the_server_said(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(folder, port=taken.getsockname()[1])

    assert done.returncode == 1
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_users_own_package_called_app_does_not_get_in_the_way(folder: Path) -> None:
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text("raise RuntimeError('not this one')")

    done = run(folder)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(command(folder), cwd=folder)
    yield terminal
    terminal.close()


def test_on_a_terminal_it_shows_where_to_look_and_serves_until_ctrl_c(terminal: Terminal) -> None:
    terminal.until("Ctrl-C stops the server.")
    port = port_of(terminal.shown)

    assert "\x1b[" in terminal.raw
    for address in ("/stream", "/narration", "/trace", "/metrics", "/docs"):
        assert address in terminal.shown
    assert accepts(port)

    terminal.process.send_signal(signal.SIGINT)

    assert terminal.finish() == 0
    assert "narrator: stopped" in terminal.shown
    assert not accepts(port)
    assert "Traceback" not in terminal.shown


def test_sigterm_stops_its_server_too(terminal: Terminal) -> None:
    terminal.until("Ctrl-C stops the server.")
    port = port_of(terminal.shown)

    terminal.process.send_signal(signal.SIGTERM)

    assert terminal.finish() == 128 + signal.SIGTERM
    assert not accepts(port)
    assert "Traceback" not in terminal.shown


def test_ctrl_c_at_once_is_130_without_a_traceback(terminal: Terminal) -> None:
    terminal.until("a server runs on")

    terminal.process.send_signal(signal.SIGINT)

    assert terminal.finish() in {0, 130}  # 0 if the story was over by then
    assert "Traceback" not in terminal.shown
    assert not accepts(port_of(terminal.shown))

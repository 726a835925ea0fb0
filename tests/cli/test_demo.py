"""The demo as a whole: a real server process, a real job, the output that a person sees."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 60
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


def environment(**changed: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NARRATOR_")}
    return clean | {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | changed


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
        env=environment(**changed),
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


class Terminal:
    """The demo on a pseudo-terminal, and what it has shown."""

    def __init__(self, folder: Path) -> None:
        self.end, other = pty.openpty()
        self.process = subprocess.Popen(
            command(folder),
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment(),
            cwd=folder,
        )
        os.close(other)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read until `text` is shown."""
        deadline = time.monotonic() + WAIT_S
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not self.read():
                assert text in self.shown, self.shown

    def read(self) -> bool:
        """Read what is there, after waiting for it a little; False at the end."""
        if not select.select([self.end], [], [], 0.2)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self.end, 65_536)
        except OSError:  # the other end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self.read():
            pass
        return self.process.wait(WAIT_S)


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(folder)
    yield terminal
    if terminal.process.poll() is None:
        terminal.process.terminate()  # it stops its server
        terminal.process.wait(WAIT_S)
    os.close(terminal.end)


def test_on_a_terminal_it_shows_where_to_look_and_serves_until_ctrl_c(terminal: Terminal) -> None:
    terminal.until("Ctrl-C stops the server.")
    port = port_of(terminal.shown)

    assert "\x1b[" in terminal.shown
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

"""A program on a pseudo-terminal of a known size, and what it has shown."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
INTERRUPT = "\x03"

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\]8;[^\x1b\x07]*(?:\x1b\\|\x07)")


class Terminal:
    """The program leads a session whose terminal this is, so that Ctrl-C reaches it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        rows: int = 24,
        columns: int = 80,
        cwd: Path = ROOT,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.end, other = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(other)
        self.process = subprocess.Popen(
            command,
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment_of(**(environment or {})),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 — one thread
        )
        self.other = other
        self.raw = ""

    @property
    def shown(self) -> str:
        """All that was written, without control sequences; frames follow each other."""
        return _CONTROL.sub("", self.raw).replace("\r\n", "\n")

    @property
    def last(self) -> str:
        """What was written since the last frame was wiped away."""
        return _CONTROL.sub("", self.raw.rpartition("\x1b[J")[2]).replace("\r\n", "\n")

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size; the program is told."""
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.end, text.encode())

    def until(self, text: str, *, since: int = 0) -> int:
        """Read until `text` is shown after the place `since`; the place behind it."""
        deadline = time.monotonic() + WAIT_S
        while True:
            at = self.shown.find(text, since)
            if at >= 0:
                return at + len(text)
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.shown[since:]}"
            if not self.read():
                assert text in self.shown[since:], self.shown

    def read(self) -> bool:
        """Read what is there, after waiting for it a little; False at the end."""
        if not select.select([self.end], [], [], 0.2)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self.end, 65_536)
        except OSError:  # the other end is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self.read():
            pass
        return self.process.wait(WAIT_S)

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was before the program."""
        return termios.tcgetattr(self.other) == self.before

    def close(self) -> None:
        """End the program, if it has not ended, and close the terminal."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # a server that it started is stopped too
            self.process.wait(WAIT_S)
        os.close(self.other)
        os.close(self.end)


def environment_of(**changed: str) -> dict[str, str]:
    """Our own environment without what would steer the program."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NARRATOR_", "OTEL_")) and name != "NO_COLOR"
    }
    return clean | {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | changed


def narrator(*words: str) -> list[str]:
    """The command line of `narrator …`."""
    return [sys.executable, "-P", "-m", "app.cli.main", *words]

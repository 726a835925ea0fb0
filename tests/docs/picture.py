"""Makes `.github/demo.svg`: what `make demo` shows on a terminal, as a picture.

    python -m tests.docs.picture

It runs the real demo on a pseudo-terminal, on a copy of this repository (so that no path of this
machine shows), and draws what was shown. Lines are only left out where a line says how many.
"""

import fcntl
import io
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT: Final = Path(__file__).parents[2]
PICTURE: Final = ROOT / ".github" / "demo.svg"
COPY: Final = Path("/tmp/job-narrator")
"""Shown in the picture; must not exist, and is removed afterwards."""
COLUMNS: Final = 80
ROWS: Final = 60
WAIT_S: Final = 60.0
LAST: Final = "Ctrl-C stops the server."
ADDRESS_LINES: Final = 4
"""Of those that say where to look; what each is, and how to see it."""

_RUN: Final = "from app.cli.main import main; raise SystemExit(main(['demo', {folder!r}]))"
_ERASE: Final = "\r\x1b[2K"

THEME: Final = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    [
        (110, 118, 129),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (230, 237, 243),
    ],
)
"""Dark, on a page of either colour."""

FORMAT: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>make demo: a job's story in a terminal</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
}}
.{unique_id}-title {{ font-size: 16px; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Run the demo and write its picture."""
    with copied(COPY) as folder:
        shown = run_demo(folder)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn(chosen(rows_of(shown))), encoding="utf-8")
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size} bytes\n")


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """A copy of what git keeps of this repository."""
    folder.mkdir()
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder)


def run_demo(folder: Path) -> str:
    """All that the demo on `folder` wrote to its terminal, until it began to wait."""
    end, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NARRATOR_")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _RUN.format(folder=str(folder))],
        stdin=other,
        stdout=other,
        stderr=other,
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
    )
    os.close(other)
    try:
        return _read_until(end, LAST)
    finally:
        process.send_signal(signal.SIGINT)  # it stops its server
        process.wait(WAIT_S)
        os.close(end)


def _read_until(end: int, text: str) -> str:
    shown, deadline = b"", time.monotonic() + WAIT_S
    while text.encode() not in shown:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the demo did not say {text!r}: {shown!r}")
        if select.select([end], [], [], 0.2)[0]:
            shown += os.read(end, 65_536)
    return shown.decode()


def rows_of(shown: str) -> list[str]:
    """The lines as the terminal had them at last, each with its escape sequences.

    The progress line, which moves and is erased in the end, stays as it was when it was full.
    """
    rows: list[str] = []
    for line in shown.split("\r\n"):
        *erased, last = line.split(_ERASE)
        rows += [each for each in erased if "100%" in each][-1:]
        rows.append(last)
    return rows


def chosen(rows: list[str]) -> list[str]:
    """The story as it is; of what follows, the first addresses; and how many lines are left out."""
    plain = [Text.from_ansi(row).plain for row in rows]
    end = _index(plain, "[DONE]") + 1
    addresses = _index(plain, "Look around:")
    more = addresses + 1 + ADDRESS_LINES
    last = _index(plain, LAST)
    return [
        *rows[:end],
        "",
        _omission(plain[end:addresses]),
        "",
        *rows[addresses:more],
        _omission(plain[more:last]),
        "",
        rows[last],
    ]


def _index(plain: list[str], ending: str) -> int:
    return next(index for index, row in enumerate(plain) if row.endswith(ending))


def _omission(left_out: list[str]) -> str:
    return f"\x1b[2m… {sum(map(bool, left_out))} lines more\x1b[0m"


def folded(row: str) -> list[Text]:
    """A line as a terminal breaks it: at the last column, wherever that is."""
    text = Text.from_ansi(row)
    return [*text.divide(range(COLUMNS, len(text), COLUMNS))]


def drawn(rows: list[str]) -> str:
    """The rows in a terminal, as SVG that loads nothing."""
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        emoji=False,
    )
    prompt = Style(color=Color.parse("green"), bold=True)
    console.print(Text.assemble(("$ ", prompt), ("make demo", "bold")))
    for row in rows:
        for part in folded(row):
            console.print(part, no_wrap=True)
    picture = console.export_svg(
        title="job-narrator",
        theme=THEME,
        code_format=FORMAT,
        font_aspect_ratio=0.602,
        unique_id="demo",
    )
    return re.sub(r"[ \t]+$", "", picture, flags=re.MULTILINE)


if __name__ == "__main__":
    main()

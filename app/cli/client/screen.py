"""The part of a terminal that is drawn again and again, below what stays.

It writes lines that it is given and knows nothing of what they say. A terminal that gets narrower
breaks the lines that are there: how many rows they take now is counted before they are replaced.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

COLUMNS: Final = 80
ROWS: Final = 24
"""Where the terminal does not say."""

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_ALTERNATE, _NORMAL = "\x1b[?1049h", "\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized output: a terminal that knows it shows the frame at once; others ignore it."""


class Screen:
    """Draws on `file`, which is a terminal. `whole`: on the whole screen, apart from the rest."""

    def __init__(self, file: TextIO | None = None, *, whole: bool = False) -> None:
        self._file = file or sys.stdout
        self._whole = whole
        self._shown: list[int] = []  # the width of each line that is there
        self._open = False
        self._console = Console(
            file=io.StringIO(), force_terminal=True, width=10_000, highlight=False, emoji=False
        )

    def size(self) -> tuple[int, int]:
        """Columns and rows as they are now."""
        try:
            columns, rows = os.get_terminal_size(self._file.fileno())
        except (OSError, ValueError):
            return COLUMNS, ROWS
        return max(20, columns or COLUMNS), max(4, rows or ROWS)

    def draw(self, lines: Sequence[Text]) -> None:
        """Show `lines` in place of those that were drawn last."""
        first = "" if self._open else (_ALTERNATE if self._whole else "") + _HIDE
        self._open = True
        texts = map(self.rendered, lines)
        if self._whole:
            drawn = "\x1b[H" + "\r\n".join(f"{text}\x1b[K" for text in texts) + "\x1b[J"
        else:
            drawn = self._erase() + "".join(f"{text}\n" for text in texts)
        self._shown = [line.cell_len for line in lines]
        self._write(f"{_BEGIN}{first}{drawn}{_END}")

    def leave(self, lines: Sequence[Text]) -> None:
        """Put `lines`, which stay, in place of what was drawn last; the next drawing is below."""
        text = "".join(f"{self.rendered(line)}\n" for line in lines)
        self._write(self._erase() + text)

    def close(self) -> None:
        """Give the terminal back: the cursor is seen again; what was drawn stays."""
        if self._open:
            self._write(_NORMAL + _SHOW if self._whole else _SHOW)
            self._open = False
        self._shown = []

    def rendered(self, text: Text) -> str:
        """`text` with its colours and links, as far as they are wanted (NO_COLOR)."""
        with self._console.capture() as captured:
            self._console.print(text, end="", soft_wrap=True)
        return captured.get()

    def _erase(self) -> str:
        columns, _ = self.size()
        rows = sum(max(1, -(-width // columns)) for width in self._shown)
        self._shown = []
        return f"\x1b[{rows}A\r\x1b[J" if rows else ""

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

"""Keys of a terminal, one at a time and without an echo; the terminal is always put back.

It knows neither what a key means nor what is drawn. Ctrl-C and Ctrl-Z stay signals.
"""

import contextlib
import os
import sys
import termios
from collections.abc import Iterator
from typing import Any, Final

ESCAPE: Final = "\x1b"
_ARROWS: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
}
_NAMES: Final = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace"}


class Keyboard:
    """Our standard input, where that is a terminal; else, or where it is `off`, no key ever comes.

    Then nothing is changed.
    """

    def __init__(self, *, off: bool = False) -> None:
        self._fd: int | None = None
        self._before: list[Any] = []
        with contextlib.suppress(OSError, ValueError):  # closed, or not a file at all
            if not off and sys.stdin.isatty():
                self._fd = sys.stdin.fileno()
        if not self._foreground():
            self._fd = None

    @property
    def fd(self) -> int | None:
        """What to wait on for keys; None if there is no terminal."""
        return self._fd

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Keys come at once, and are not shown, until the block ends, however it does."""
        if self._fd is None:
            yield
            return
        self._before = termios.tcgetattr(self._fd)
        self._set()
        try:
            yield
        finally:
            self._restore()

    @contextlib.contextmanager
    def given_back(self) -> Iterator[None]:
        """The terminal is as it was before, until the block ends."""
        self._restore()
        try:
            yield
        finally:
            self._set()

    def _foreground(self) -> bool:
        """Whether the terminal is ours: a process in the background that sets it is stopped."""
        if self._fd is None:
            return False
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # it is not the one that controls us: nobody stops us for it
            return True

    def _set(self) -> None:
        if self._fd is None or not self._foreground():
            return
        changed = termios.tcgetattr(self._fd)
        changed[3] &= ~(termios.ICANON | termios.ECHO)
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSADRAIN, changed)

    def _restore(self) -> None:
        if self._fd is not None and self._foreground():
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def read(self) -> list[str]:
        """The keys that have been pressed, by name or as the character they make."""
        if self._fd is None or not self._foreground():
            return []
        return names_of(os.read(self._fd, 1024).decode(errors="ignore"))


def names_of(text: str) -> list[str]:
    r"""The keys that sent `text`.

    >>> names_of("j\x1b[A\r\x1b")
    ['j', 'up', 'enter', 'escape']
    """
    keys: list[str] = []
    while text:
        arrow = next((each for each in _ARROWS if text.startswith(each)), None)
        if arrow:
            keys.append(_ARROWS[arrow])
            text = text[len(arrow) :]
        elif text.startswith(ESCAPE) and len(text) > 1 and text[1] in "[O":
            return keys  # one that has no name here
        else:
            first, text = text[0], text[1:]
            keys.append("escape" if first == ESCAPE else _NAMES.get(first, first))
    return keys

"""Processes and what they started: found by /proc where there is one, and killed together."""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PASSES: Final = 5  # new ones may be started while others are being killed
_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)


def descendants(pid: int) -> list[int]:
    """The living processes that `pid` started, directly or not; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for entry in _PROC.iterdir():
            if entry.name.isdecimal():
                parent = _parent_of(entry)
                if parent is not None:
                    children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def kill_descendants(pid: int) -> None:
    """SIGKILL to all that `pid` started, those that left its group included."""
    for _ in range(_PASSES):
        found = descendants(pid)
        if not found:
            return
        for each in found:
            _signal(each, signal.SIGKILL)


def kill_tree(pid: int) -> None:
    """SIGKILL to the group that `pid` leads, and to all that it started.

    It is stopped first, so that it cannot start others meanwhile.
    """
    signal_group(pid, signal.SIGSTOP)
    kill_descendants(pid)
    signal_group(pid, signal.SIGKILL)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send `number` to the group that `pid` leads, if there is any of it left.

    The number of a group is not given away while it has a member.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or zombies only
        os.killpg(pid, number)


def adopt_orphans() -> None:
    """Become the parent of what this process's children leave behind, so that it is found.

    Linux only; elsewhere orphans that left the group are not found.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _parent_of(entry: Path) -> int | None:
    """The parent of a living process: the 2nd field after its name, which may hold anything."""
    try:
        fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:  # it has just gone
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[1])

"""Processes and what they started: found by /proc where there is one, and killed together."""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PASSES: Final = 5  # new ones may be started while others are being killed
_KILLED_S: Final = 0.005  # between two looks for those that were killed
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


def kill_marked(variable: str, values: Collection[str], *, within_s: float) -> bool:
    """SIGKILL to every process in whose environment `variable` has one of `values`.

    Whoever started them may be gone; we, and those who have started us, are spared. Returns when
    they are gone, or when `within_s` seconds have passed: whether they are. Only processes of this
    user are found, and none where there is no /proc.
    """
    prefix = f"{variable}=".encode()
    marks = {prefix + value.encode() for value in values}
    end = time.monotonic() + within_s
    spared = _lineage(os.getpid())
    while found := [pid for pid in _marked(prefix, marks) if pid not in spared]:
        for pid in found:
            _signal(pid, signal.SIGKILL)
        if time.monotonic() > end:
            return False
        time.sleep(_KILLED_S)
    return True


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


def _marked(prefix: bytes, marks: AbstractSet[bytes]) -> list[int]:
    """The living processes that have one of the marks."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for entry in _PROC.iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):  # another user's, or it has just gone
                    environment = (entry / "environ").read_bytes()
                    if prefix in environment and not marks.isdisjoint(environment.split(b"\0")):
                        found.append(int(entry.name))
    return found


def _lineage(pid: int) -> set[int]:
    """The process, its parent, and so on."""
    found: set[int] = set()
    parent: int | None = pid
    while parent and parent not in found:
        found.add(parent)
        parent = _parent_of(_PROC / str(parent))
    return found


def _parent_of(entry: Path) -> int | None:
    """The parent of a living process: the 2nd field after its name, which may hold anything."""
    try:
        fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:  # it has just gone
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[1])

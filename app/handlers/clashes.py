"""A user's packages that have the same names as ours, and what to do about them.

Ours are imported first, so that `import app` in a user's module gives ours. Where the user's code
does not import its own, nothing is wrong; where it does, the failure is explained here.
"""

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OURS: Final = ("app", "narration", "telemetry")
"""The top-level packages of Job Narrator."""

_HOME: Final = Path(__file__).resolve().parents[2]
_NO_ATTRIBUTE: Final = re.compile(r"module '(?P<name>[\w.]+)' has no attribute")


@dataclass(frozen=True, slots=True)
class Clash:
    """A package or module of the user's at `path` that has the name of one of ours."""

    name: str
    path: Path

    def __str__(self) -> str:
        return (
            f"{self.path} has the same name as Job Narrator's own package `{self.name}`: "
            f"`import {self.name}` gives Job Narrator's, not yours. If an operation needs yours, "
            f"rename it, or move it into a package of its own "
            f"(`import yourproject.{self.name}`); if none does, nothing has to be done"
        )


def find_clashes(root: Path) -> tuple[Clash, ...]:
    """The packages and modules directly in `root` that have the name of one of ours."""
    found: list[Clash] = []
    for name in OURS:
        package, module = root / name, root / f"{name}.py"
        if package.is_dir() and package.resolve() != _HOME / name and _has_python(package):
            found.append(Clash(name, package))
        elif module.is_file():
            found.append(Clash(name, module))
    return tuple(found)


def _has_python(directory: Path) -> bool:
    return any(directory.glob("*.py")) or any(directory.glob("*/*.py"))


def import_ours() -> None:
    """Import our packages, before a user's directory is put in front of them."""
    for name in OURS:
        importlib.import_module(name)


def explain(error: BaseException, clashes: Iterable[Clash]) -> str | None:
    """Why an import in a user's module failed, if it reached for what only the user's has."""
    name = _wanted(error)
    if name is None or name.partition(".")[0] not in OURS:
        return None
    top = name.partition(".")[0]
    for clash in clashes:
        if clash.name == top:
            return f"{error}: {clash}"
    return (
        f"{error}: `{top}` is Job Narrator's own package; a package of yours with that name cannot "
        f"be imported beside it: rename it, or move it into a package of its own "
        f"(`import yourproject.{top}`)"
    )


def _wanted(error: BaseException) -> str | None:
    """The module that a failed import or attribute access was about."""
    if isinstance(error, ImportError):
        return error.name
    if isinstance(error, AttributeError):
        match = _NO_ATTRIBUTE.search(str(error))
        return match["name"] if match else None
    return None

"""From what a user names (`jobs.py`, `package.module`, `module:function`) to its operations.

A module is imported here and nowhere else; its marks are read, nothing registers itself. Whatever
goes wrong in a user's code is a `TargetError` that says what, where and what to do.
"""

import importlib
import importlib.util
import inspect
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from app.handlers import clashes
from app.handlers.errors import TargetError
from app.handlers.lifespan import lifespans_of
from app.handlers.operation import Operation, Target, build, mark_of
from app.handlers.schema import where

_logger = logging.getLogger(__name__)

_FUNCTION: Final = re.compile(r"(?P<source>.+):(?P<function>[A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a module comes from: its import name, and its file if it is loaded by path."""

    module: str
    path: Path | None
    root: Path


def load(target: str) -> list[Operation]:
    """The operations that `target` names, in the order of their definition.

    `target` is a file (`jobs.py`), a module (`package.module`), or one function of either
    (`jobs.py:render`). A file's directory (for a module, the working directory) goes to the front
    of `sys.path`, so that its siblings can be imported.

    Raises:
        TargetError: there is no such target, its import fails, it has no operation, two of its
            operations have one name, or one cannot be served.

    """
    clashes.import_ours()
    text, function = _split(target)
    source = _locate(text)
    module = _import(target, source)
    lifespans = lifespans_of(module)
    found: dict[int, Operation] = {}
    for attribute, value in vars(module).items():
        mark = mark_of(value)
        if mark is None or id(value) in found or function not in {None, attribute}:
            continue
        place = Target(
            module=module.__name__,
            attribute=attribute,
            path=str(source.path) if source.path else None,
        )
        own = inspect.getmodule(value)
        others = lifespans_of(own) if own is not None and own is not module else ()
        found[id(value)] = build(value, mark, target=place, lifespans=(*others, *lifespans))
    if not found:
        raise TargetError(target, _nothing(module, function))
    return _distinct(found.values())


def load_all(targets: Iterable[str]) -> list[Operation]:
    """The operations of several targets; a function that two of them have is taken once.

    Raises:
        TargetError: as `load`, or two different functions have one name.

    """
    found: dict[int, Operation] = {}
    for target in targets:
        for operation in load(target):
            found.setdefault(id(operation.function), operation)
    return _distinct(found.values())


def operations_of(functions: Iterable[Callable[..., Any]]) -> list[Operation]:
    """The operations that marked `functions` are, for an application that has them at hand.

    Raises:
        TargetError: one is not marked, cannot be served, or has the name of another.

    """
    found: dict[int, Operation] = {}
    for function in functions:
        mark = mark_of(function)
        if mark is None:
            raise TargetError(where(function), "is no operation: decorate it with @operation")
        module = inspect.getmodule(function)
        lifespans = lifespans_of(module) if module is not None else ()
        place = _target_of(function, module)
        isolated = mark.options.isolation == "process"
        if isolated and not place.attribute.replace(".", "_").isidentifier():
            raise TargetError(
                where(function),
                "isolation='process' needs a function that a child process can import by name: "
                "define it at the top level of a module",
            )
        found[id(function)] = build(function, mark, target=place, lifespans=lifespans)
    return _distinct(found.values())


def resolve(target: Target) -> Operation:
    """The operation at `target`, found again in another process with the same `sys.path`.

    Raises:
        TargetError: it is not there, or its import fails.

    """
    clashes.import_ours()
    path = Path(target.path) if target.path else None
    root = path.parent if path else Path.cwd()
    module = _import(target.module, Source(target.module, path, root))
    value: Any = module
    for part in target.attribute.split("."):
        value = getattr(value, part, None)
    mark = mark_of(value)
    if mark is None:
        raise TargetError(target.module, f"has no operation {target.attribute!r}")
    own = inspect.getmodule(value)
    others = lifespans_of(own) if own is not None and own is not module else ()
    return build(value, mark, target=target, lifespans=(*others, *lifespans_of(module)))


def _split(target: str) -> tuple[str, str | None]:
    match = None if Path(target).exists() else _FUNCTION.fullmatch(target)
    return (match["source"], match["function"]) if match else (target, None)


def _locate(text: str) -> Source:
    path = Path(text)
    if text.endswith(".py") or path.is_file():
        if not path.is_file():
            raise TargetError(text, f"there is no such file (looked in {Path.cwd()})")
        path = path.resolve()
        return Source(_module_name(path), path, path.parent)
    if path.is_dir() and not all(part.isidentifier() for part in text.split(".")):
        raise TargetError(text, "is a directory; name a file in it (jobs.py) or a module")
    if not all(part.isidentifier() for part in text.split(".")):
        raise TargetError(
            text,
            "is no target: name a file (jobs.py), a module (package.module) or "
            "one function of either (jobs.py:render)",
        )
    return Source(text, None, Path.cwd())


def _module_name(path: Path) -> str:
    """The stem, or where another module has it, the stem with a suffix: `app.py`, two `jobs.py`."""
    stem = path.stem if path.stem.isidentifier() else re.sub(r"\W", "_", path.stem)
    name, number = stem, 1
    while not _is_free(name, path):
        number += 1
        name = f"{stem}_{number}"
    return name


def _is_free(name: str, path: Path) -> bool:
    loaded = sys.modules.get(name)
    if loaded is not None:
        return _file_of(loaded) == path
    return name not in sys.stdlib_module_names


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _import(target: str, source: Source) -> ModuleType:
    """Import the module, with every failure told as the user's."""
    _make_importable(source)
    found = clashes.find_clashes(source.root)
    top = source.module.partition(".")[0]
    if source.path is None:
        for clash in found:
            if clash.name == top:
                raise TargetError(target, str(clash))
    known = source.module in sys.modules
    try:
        module = _import_file(source) if source.path else importlib.import_module(source.module)
    except (Exception, SystemExit) as error:
        raise TargetError(target, _why(error, source, found)) from error
    if not known:
        for clash in found:
            if clash.path.resolve() != source.path:
                _logger.warning("%s", clash)
    return module


def _make_importable(source: Source) -> None:
    """A file's siblings come first; the working directory need only be somewhere."""
    root = str(source.root)
    present = sys.path[:1] if source.path else [entry or str(Path.cwd()) for entry in sys.path]
    if root not in present:
        sys.path.insert(0, root)


def _import_file(source: Source) -> ModuleType:
    loaded = sys.modules.get(source.module)
    if loaded is not None:
        return loaded
    spec = importlib.util.spec_from_file_location(source.module, source.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source.path} is no Python file", name=source.module)
    module = importlib.util.module_from_spec(spec)
    sys.modules[source.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[source.module]
        raise
    return module


def _why(error: BaseException, source: Source, found: Iterable[clashes.Clash]) -> str:
    """What failed, with the file and line in the user's code."""
    if isinstance(error, SyntaxError):
        return f"syntax error at {error.filename}:{error.lineno}: {error.msg}"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and source.path is None and f"{source.module}.".startswith(f"{missing}."):
        return f"there is no module {missing!r} (looked in {source.root} and on sys.path)"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen importlib")
    ]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(source.root)]
    place = next((f"{each.filename}:{each.lineno}" for each in reversed(own or frames)), "")
    told = clashes.explain(error, found) or f"{type(error).__name__}: {error}"
    return f"import failed at {place}: {told}" if place else f"import failed: {told}"


def _nothing(module: ModuleType, function: str | None) -> str:
    if function is None:
        return "has no operation; decorate a function in it with @operation"
    if hasattr(module, function):
        return f"{function} is no operation; decorate it with @operation"
    return f"has no function {function!r}"


def _target_of(function: Callable[..., Any], module: ModuleType | None) -> Target:
    """Where a child process finds `function`; a script is found by its file."""
    name = function.__module__
    if name != "__main__":
        return Target(module=name, attribute=function.__qualname__)
    spec, file = getattr(module, "__spec__", None), _file_of(module) if module else None
    if spec is not None:
        return Target(module=spec.name, attribute=function.__qualname__)
    if file is None:
        return Target(module=name, attribute=function.__qualname__)
    return Target(module=file.stem, attribute=function.__qualname__, path=str(file))


def _distinct(operations: Iterable[Operation]) -> list[Operation]:
    """`operations`, unless two have one name."""
    named: dict[str, Operation] = {}
    for each in operations:
        other = named.setdefault(each.name, each)
        if other is not each:
            raise TargetError(
                where(each.function),
                f"there are two operations called {each.name!r}; the other is at "
                f"{where(other.function)}; give one another name: @operation('name')",
            )
    return list(named.values())

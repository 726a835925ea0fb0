"""ARCHITECTURE.md is complete, and what it says is absent is absent."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
ARCHITECTURE: Final = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES: Final = ("app", "narration", "telemetry", "dashboards")

IMPORTERS: Final = {
    "sse_starlette": ("narration/sse.py",),
    "opentelemetry.exporter": ("telemetry/otlp.py",),
    "prometheus_client": ("telemetry/metrics.py",),
    "uvicorn": ("app/cli/server.py", "app/cli/bounded.py"),
    "fastapi": ("app/http/", "app/service.py"),
    "httpx": ("app/client/",),
    "pydantic_settings": ("app/settings.py",),
    "rich": ("app/cli/",),
    "typer": ("app/cli/",),
    "sqlite3": ("app/store/", "app/operations/records.py"),
}
"""Who may import what; a folder ends with a slash."""

WAITING: Final = {"wait", "ended", "settled", "kept", "close", "drain", "_idle_within"}
"""The coroutines of the engine; the runners supervise child processes, and have their own."""

ENVIRONMENT_READERS: Final = {
    "app/settings.py",
    "app/client/address.py",
    "app/cli/demo.py",
    "app/cli/execute/run.py",
    "telemetry/otlp.py",
    "narration/process.py",
}
THREAD_STARTERS: Final = {
    "app/engine/loop_watch.py",
    "app/engine/runners/thread.py",
    "app/engine/runners/child.py",
    "narration/polling.py",
    "telemetry/export.py",
    "app/engine/store_journal.py",
}
WALL_CLOCKS: Final = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today"}


def modules() -> dict[str, ast.Module]:
    """Every module of ours by its path."""
    return {
        path.relative_to(ROOT).as_posix(): _parsed(path)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """The absolute names that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{each.name}" for each in node.names)


def assigned(tree: ast.Module, attribute: str) -> Iterator[str]:
    """On what objects a module assigns `attribute`, as they are written."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr == attribute
            and isinstance(node.ctx, ast.Store)
        ):
            yield ast.unparse(node.value)


def called(tree: ast.Module) -> set[str]:
    """What a module calls, as it is written."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def code_map() -> list[str]:
    """The paths that the code map names."""
    section = ARCHITECTURE.partition("## Code map")[2].partition("\n## ")[0]
    found: list[str] = []
    for part in section.split("\n### ")[1:]:
        heading, _, body = part.partition("\n")
        folder = heading.strip("`")
        for row in body.splitlines():
            if row.startswith("| `"):
                cell = row.split("|")[1]
                found += [f"{folder}{name}" for name in re.findall(r"`([\w.]+)`", cell)]
    return found


def test_the_code_map_names_every_module_once_and_none_that_is_not_there() -> None:
    there_are = [
        path
        for path, tree in modules().items()
        if not path.endswith("__init__.py") or len(tree.body) > 1
    ]

    assert sorted(code_map()) == sorted(there_are)


def test_every_path_and_file_that_it_names_exists() -> None:
    named = set(
        re.findall(r"`((?:app|narration|telemetry|dashboards|tests)/[\w/.]*)`", ARCHITECTURE)
    )
    names = set(re.findall(r"`(\w+\.py)`", ARCHITECTURE)) - {"jobs.py"}
    links = set(re.findall(r"\]\(([^)#]+)\)", ARCHITECTURE))

    assert [path for path in named | links if not (ROOT / path).exists()] == []
    assert names <= {Path(path).name for path in modules()}


def test_every_module_says_what_it_is() -> None:
    assert [path for path, tree in modules().items() if not ast.get_docstring(tree)] == []


@pytest.mark.parametrize("library", IMPORTERS)
def test_a_library_is_imported_only_where_it_is_at_home(library: str) -> None:
    importers = {
        path
        for path, tree in modules().items()
        if any(name == library or name.startswith(f"{library}.") for name in imports(tree))
    }

    assert importers
    assert [path for path in importers if not path.startswith(IMPORTERS[library])] == []


def test_the_homes_of_libraries_are_those_that_it_names() -> None:
    (line,) = [line for line in ARCHITECTURE.splitlines() if "No module but these imports" in line]

    for library, homes in IMPORTERS.items():
        shown = "the OTLP exporter" if library == "opentelemetry.exporter" else f"`{library}`"
        assert f"{shown}: {' and '.join(f'`{home}`' for home in homes)}" in line


def test_only_one_module_writes_a_jobs_state() -> None:
    writers = {
        path
        for path, tree in modules().items()
        if any(written != "self" for written in assigned(tree, "state"))
    }

    assert writers == {"app/jobs/job.py"}


def test_only_logs_assign_a_sequence() -> None:
    writers = {path for path, tree in modules().items() if any(assigned(tree, "seq"))}

    assert writers == {"narration/log.py", "narration/held_log.py", "narration/capture.py"}


def test_the_domain_awaits_nothing_and_the_engine_only_an_end() -> None:
    for path, tree in modules().items():
        waits = {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
        if path.startswith("app/jobs/"):
            assert not waits, path
        elif path.startswith("app/engine/") and "/runners/" not in path:
            assert waits <= WAITING, path


def test_only_these_modules_read_the_environment() -> None:
    readers = {
        path
        for path, tree in modules().items()
        if {"os.environ", "os.getenv"}
        & {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    }

    assert readers == ENVIRONMENT_READERS


def test_only_these_modules_start_threads() -> None:
    starters = {path for path, tree in modules().items() if "threading.Thread" in called(tree)}

    assert starters == THREAD_STARTERS


def test_only_the_clock_reads_wall_time() -> None:
    readers = {
        path
        for path, tree in modules().items()
        if WALL_CLOCKS
        & {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    }

    assert readers == {"telemetry/clock.py"}


def test_nothing_happens_at_import() -> None:
    for path, tree in modules().items():
        done = [node for node in tree.body if not _defines(node)]

        assert not done or path == "app/cli/main.py", f"{path}:{done[0].lineno}"
        assert not any(isinstance(node, ast.Global) for node in ast.walk(tree)), path


def _defines(node: ast.stmt) -> bool:
    """Whether a statement of a module only names something, or is not run by an import."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(
        node,
        ast.Import
        | ast.ImportFrom
        | ast.FunctionDef
        | ast.AsyncFunctionDef
        | ast.ClassDef
        | ast.Assign
        | ast.AnnAssign,
    )

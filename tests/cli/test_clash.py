"""A user's project that has packages with the names of ours, served by a real server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.server import ROOT, WAIT_S, serving

JOBS = '''
"""The operations of a project."""

{imports}
from app import operation
from narration import narrate


@operation("work", isolation="{isolation}")
def work() -> str:
    """Say something."""
    narrate("work", "working")
    return {result}
'''


def project(folder: Path, *, imports: str = "", result: str = "'ours'") -> Path:
    """A project with an `app` package and a `telemetry.py` of its own; its `jobs.py`."""
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text("NAME = 'theirs'\n")
    (folder / "app" / "models.py").write_text("SIZE = 3\n")
    (folder / "telemetry.py").write_text("ON = True\n")
    jobs = folder / "jobs.py"
    jobs.write_text(JOBS.format(imports=imports, isolation="auto", result=result))
    return jobs


@pytest.mark.parametrize("isolation", ["auto", "process"])
@pytest.mark.parametrize("target", ["jobs.py", "jobs"])
def test_a_project_that_does_not_import_its_own_works(
    tmp_path: Path, target: str, isolation: str
) -> None:
    project(tmp_path).write_text(JOBS.format(imports="", isolation=isolation, result="'ours'"))

    with serving([target], cwd=tmp_path) as server:
        ended = server.ended(server.submit("work")["id"])

        assert (ended["state"], ended["result"]) == ("completed", "ours")
        assert "has the same name as Job Narrator's own package `app`" in server.complaints


def test_a_file_called_app_can_be_served(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(JOBS.format(imports="", isolation="process", result="'fine'"))

    with serving(["app.py"], cwd=tmp_path) as server:
        assert server.ended(server.submit("work")["id"])["result"] == "fine"


def test_a_project_that_imports_its_own_from_a_package_works(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    jobs = project(tmp_path / "shop", imports="from shop.app import models", result="models.SIZE")
    jobs.write_text(
        JOBS.format(
            imports="from shop.app import models", isolation="process", result="models.SIZE"
        )
    )

    with serving(["shop.jobs"], cwd=tmp_path) as server:
        assert server.ended(server.submit("work")["id"])["result"] == 3


@pytest.mark.parametrize(
    "imports", ["from app.models import SIZE", "from app import NAME", "import telemetry.on"]
)
def test_a_project_that_needs_its_own_is_told_what_clashes_and_what_to_do(
    tmp_path: Path, imports: str
) -> None:
    project(tmp_path, imports=imports)

    ended = subprocess.run(
        [sys.executable, "-P", "-m", "app.cli.main", "serve", "jobs.py", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    name = imports.split()[1].partition(".")[0]
    assert ended.returncode == 2
    assert f"the same name as Job Narrator's own package `{name}`" in ended.stderr
    assert "rename it" in ended.stderr
    assert f"jobs.py:{4}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_console_script_finds_our_packages_though_theirs_come_first(tmp_path: Path) -> None:
    """As with `PYTHONPATH=.`, which puts a user's `app` before ours."""
    project(tmp_path)
    entry = ROOT / "app" / "cli" / "entry.py"
    code = (
        "import importlib.util as u, sys; "
        f"s = u.spec_from_file_location('job_narrator', {str(entry)!r}); "
        "m = u.module_from_spec(s); s.loader.exec_module(m); "
        "sys.argv = ['narrator', '--version']; raise SystemExit(m.main())"
    )

    ended = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    assert ended.stdout.startswith("narrator ")
    assert ended.returncode == 0

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import app
from app.handlers.discovery import load, load_all, operations_of, resolve
from app.handlers.errors import TargetError
from app.handlers.operation import Target

Write = Callable[[str, str], Path]

ONE = """
from app import operation

@operation
def render(scene: str) -> None:
    "Render a scene."
"""


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """What a test imports is forgotten after it."""
    path, modules = sys.path.copy(), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if not name.startswith(("app.", "narration.", "telemetry.")):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file of a user's project, in which the test runs."""
    monkeypatch.chdir(tmp_path)

    def write_(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write_


def names(*targets: str) -> list[str]:
    return [each.name for each in load_all(targets)]


def refusal(*targets: str) -> str:
    with pytest.raises(TargetError) as caught:
        load_all(targets)
    return str(caught.value)


def test_a_file_is_loaded_by_its_path(write: Write) -> None:
    path = write("jobs_a.py", ONE)
    (render,) = load(str(path))

    assert (render.name, render.description) == ("render", "Render a scene.")
    assert render.target == Target(module="jobs_a", attribute="render", path=str(path))
    assert render.function.__module__ == "jobs_a"
    assert render.first_party == {"jobs_a"}


def test_a_file_is_loaded_by_its_relative_path_too(write: Write) -> None:
    write("deep/jobs_a.py", ONE)

    assert names("deep/jobs_a.py") == ["render"]


def test_the_siblings_of_a_file_can_be_imported(write: Write) -> None:
    write("deep/sibling_a.py", "SCENE = 'barn'")
    write("deep/jobs_a.py", "from sibling_a import SCENE\n" + ONE)

    assert names("deep/jobs_a.py") == ["render"]


def test_a_module_is_loaded_from_the_working_directory(write: Write) -> None:
    write("project_a/__init__.py", "")
    write("project_a/jobs.py", ONE)
    (render,) = load("project_a.jobs")

    assert render.target == Target(module="project_a.jobs", attribute="render")
    assert render.first_party == {"project_a"}


@pytest.mark.parametrize("target", ["jobs_a.py:one", "jobs_a:one"])
def test_one_function_may_be_named(write: Write, target: str) -> None:
    write(
        "jobs_a.py",
        """
        from app import operation

        @operation
        def one() -> None: ...

        @operation
        def two() -> None: ...
        """,
    )

    assert names(target) == ["one"]


def test_imported_operations_are_found_and_each_once(write: Write) -> None:
    write("sibling_a.py", ONE)
    write("jobs_a.py", "from sibling_a import render\nfrom sibling_a import render as again\n")

    assert names("jobs_a.py", "sibling_a.py") == ["render"]


def test_an_imported_operation_takes_the_resources_of_its_own_module(write: Write) -> None:
    write(
        "sibling_a.py",
        """
        from collections.abc import AsyncIterator
        from app import lifespan, operation

        class Pool: ...

        @lifespan
        async def pool() -> AsyncIterator[Pool]:
            yield Pool()

        @operation
        def render(pool: Pool) -> None: ...
        """,
    )
    write("jobs_a.py", "from sibling_a import render\n")
    (render,) = load("jobs_a.py")

    assert list(render.injected) == ["pool"]
    assert list(resolve(render.target).injected) == ["pool"]


def test_loading_twice_imports_once(write: Write) -> None:
    path = str(write("jobs_a.py", ONE))

    assert load(path)[0].function is load(path)[0].function


def test_two_files_of_one_name_are_both_loaded(write: Write) -> None:
    write("a/jobs_a.py", ONE)
    write("b/jobs_a.py", ONE.replace("render", "paint"))

    assert [each.target.module for each in load_all(["a/jobs_a.py", "b/jobs_a.py"])] == [
        "jobs_a",
        "jobs_a_2",
    ]


@pytest.mark.parametrize("name", ["queue.py", "app.py", "my-jobs.py", "narration.py"])
def test_a_file_may_have_any_name(write: Write, name: str) -> None:
    write(name, ONE)

    assert names(name) == ["render"]


def test_two_operations_of_one_name_are_refused_with_both_places(write: Write) -> None:
    write("jobs_a.py", ONE)
    write("jobs_b.py", ONE)
    told = refusal("jobs_a.py", "jobs_b.py")

    assert "two operations called 'render'" in told
    assert "jobs_a.py:4" in told
    assert "jobs_b.py:4" in told


def test_a_missing_file_is_told_with_where_it_was_looked_for(write: Write, tmp_path: Path) -> None:
    write("other.py", "")

    assert refusal("jobs_a.py") == f"jobs_a.py: there is no such file (looked in {tmp_path})"


def test_a_missing_module_is_told_with_where_it_was_looked_for(
    write: Write, tmp_path: Path
) -> None:
    write("project_a/__init__.py", "")

    assert f"no module 'nowhere' (looked in {tmp_path}" in refusal("nowhere.jobs")
    assert "no module 'project_a.jobs'" in refusal("project_a.jobs")


@pytest.mark.parametrize("target", ["not a target", "a/b", "1.2"])
def test_what_is_no_target_is_answered_with_what_would_be(write: Write, target: str) -> None:
    write("other.py", "")

    assert "name a file (jobs.py), a module (package.module)" in refusal(target)


def test_a_directory_is_no_target(write: Write) -> None:
    write("some/where/jobs_a.py", ONE)

    assert "is a directory; name a file in it" in refusal("some/where")


def test_a_syntax_error_is_told_with_file_and_line(write: Write) -> None:
    path = write("jobs_a.py", "x = 1\ndef broken(:\n")

    assert f"syntax error at {path}:2: invalid syntax" in refusal("jobs_a.py")


def test_a_failing_import_is_told_with_the_line_in_the_users_code(write: Write) -> None:
    sibling = write("sibling_a.py", "\n\nimport json\njson.loads('{')\n")
    write("jobs_a.py", "import sibling_a\n")
    told = refusal("jobs_a.py")

    assert f"import failed at {sibling}:4: JSONDecodeError: Expecting" in told


def test_a_module_that_the_users_code_lacks_is_told(write: Write) -> None:
    path = write("jobs_a.py", "\nimport nowhere_at_all\n")
    told = refusal("jobs_a.py")

    assert f"{path}:2: ModuleNotFoundError: No module named 'nowhere_at_all'" in told


def test_a_module_that_exits_is_told(write: Write) -> None:
    path = write("jobs_a.py", "raise SystemExit(4)\n")

    assert f"{path}:1: SystemExit: 4" in refusal("jobs_a.py")


def test_a_failed_import_can_be_mended_and_repeated(write: Write) -> None:
    write("jobs_a.py", "1/0")
    assert "ZeroDivisionError" in refusal("jobs_a.py")
    write("jobs_a.py", ONE)

    assert names("jobs_a.py") == ["render"]


def test_a_module_without_operations_is_told_what_to_do(write: Write) -> None:
    write("jobs_a.py", "def render(): ...\n")

    assert "has no operation; decorate a function" in refusal("jobs_a.py")
    assert "render is no operation; decorate it" in refusal("jobs_a.py:render")
    assert "has no function 'paint'" in refusal("jobs_a.py:paint")


def test_an_operation_that_is_gone_cannot_be_resolved(write: Write) -> None:
    path = write("jobs_a.py", ONE)
    with pytest.raises(TargetError, match="has no operation 'paint'"):
        resolve(Target(module="jobs_a", attribute="paint", path=str(path)))


# --- packages with the names of ours -------------------------------------------------------------


def test_a_package_called_app_is_warned_of_and_works_where_it_is_not_imported(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write("app/models.py", "")
    write("jobs_a.py", ONE)
    with caplog.at_level(logging.WARNING):
        assert names("jobs_a.py") == ["render"]

    assert "has the same name as Job Narrator's own package `app`" in caplog.text
    assert "import yourproject.app" in caplog.text


def test_a_directory_without_python_is_no_clash(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write("telemetry/data.csv", "")
    write("jobs_a.py", ONE)
    with caplog.at_level(logging.WARNING):
        names("jobs_a.py")

    assert caplog.text == ""


@pytest.mark.parametrize(
    "line",
    [
        "from app.models import User",
        "from app import User",
        "import app.models",
        "import app\napp.models",
        "import narration.plays",
    ],
)
def test_an_import_that_reached_ours_instead_of_the_users_is_explained(
    write: Write, line: str, tmp_path: Path
) -> None:
    write("app/models.py", "class User: ...\n")
    write("narration/plays.py", "")
    write("jobs_a.py", f"{line}\n{ONE}")
    told = refusal("jobs_a.py")

    name = "narration" if "narration" in line else "app"
    assert f"{tmp_path / name} has the same name as Job Narrator's own package `{name}`" in told
    assert "rename it" in told
    assert f"{tmp_path}/jobs_a.py:" in told


def test_an_import_from_ours_that_fails_is_explained_without_a_clash_in_sight(
    write: Write,
) -> None:
    write("deep/jobs_a.py", f"from app.models import User\n{ONE}")

    assert "`app` is Job Narrator's own package" in refusal("deep/jobs_a.py")


def test_a_target_inside_a_package_called_app_is_explained(write: Write, tmp_path: Path) -> None:
    write("app/__init__.py", "")
    write("app/jobs.py", ONE)
    told = refusal("app.jobs")

    assert f"{tmp_path}/app has the same name" in told


def test_a_file_inside_a_package_called_app_is_loaded_by_its_path(write: Write) -> None:
    write("app/__init__.py", "")
    write("app/jobs_a.py", ONE)

    assert names("app/jobs_a.py") == ["render"]


def test_an_error_that_has_nothing_to_do_with_ours_is_told_as_it_is(write: Write) -> None:
    write("app/models.py", "")
    write("jobs_a.py", "import json\njson.nothing\n")

    assert "AttributeError: module 'json' has no attribute 'nothing'" in refusal("jobs_a.py")
    assert "Job Narrator" not in refusal("jobs_a.py")


# --- found again by a child process --------------------------------------------------------------


def test_a_script_is_found_by_its_file(write: Write) -> None:
    path = write(
        "script_a.py",
        """
        from app import operation
        from app.handlers.discovery import operations_of

        @operation(isolation="process")
        def render() -> None: ...

        if __name__ == "__main__":
            target = operations_of([render])[0].target
            print(target.module, target.attribute, target.path)
        """,
    )
    root = str(Path(app.__file__).parents[1])
    told = {
        how: subprocess.run(
            [sys.executable, *how],
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for how in [("script_a.py",), ("-m", "script_a")]
    }

    assert told["script_a.py",] == ["script_a", "render", str(path)]
    assert told["-m", "script_a"] == ["script_a", "render", "None"]


def test_a_function_of_a_module_is_found_by_its_name(write: Write) -> None:
    write("jobs_a.py", ONE)
    (loaded,) = load("jobs_a")
    (given,) = operations_of([loaded.function])

    assert given.target == Target(module="jobs_a", attribute="render")
    assert resolve(given.target).function is loaded.function

"""The page on handlers as a test: its blocks are one module, whose operations do what it says."""

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from app import run_operation
from tests.docs.test_readme import ROOT, blocks

PAGE = (ROOT / "app" / "handlers" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module that the page's blocks make together, where a child process finds it too."""
    folder = tmp_path_factory.mktemp("page")
    code = "\n\n".join(blocks(PAGE, "python"))
    (folder / "handlers_page.py").write_text(code, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("handlers_page")
    sys.path.remove(str(folder))
    del sys.modules["handlers_page"]


@pytest.mark.parametrize(
    ("name", "params", "result"),
    [
        ("greet", {"name": "Ada"}, "Hello, Ada"),
        ("sum_up", {"numbers": [1, 2, 3]}, 6),
        ("squeeze", {}, 5),
        ("recite", {"text": "one two"}, None),
        ("order", {"item": "hat"}, None),
        ("render", {"scene": "forest"}, "forest"),
        ("count_books", {}, 7),
    ],
)
def test_each_operation_of_the_page_runs(
    page: ModuleType, name: str, params: dict[str, Any], result: Any
) -> None:
    run = run_operation(getattr(page, name), **params)

    assert (run.record.state, run.result) == ("completed", result)


def test_what_the_page_says_is_narrated(page: ModuleType) -> None:
    assert "what is printed is narrated too" in run_operation(page.squeeze).texts
    assert "packed" in run_operation(page.order, item="hat").texts
    assert run_operation(page.recite, text="one two").output == ["one ", "two "]


def test_the_test_of_the_page_passes(page: ModuleType) -> None:
    page.test_fetch_comes_back_when_it_is_asked_to()

    assert run_operation(page.fetch, address="").record.reason == "rejected"

"""SECURITY.md: each module and test that its table names exists, and no route is left out."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from app import operation
from app.service import Narrator
from tests.access.routes_table import NEEDS

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
HEADER: Final = "| who | wants | is kept from it by | module | test |"

_CODE: Final = re.compile(r"`([^`]+)`")


def rows() -> list[list[str]]:
    """The cells of each row."""
    lines = TEXT.partition(f"{HEADER}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ROWS: Final = rows()
NAMES: Final = [f"{row[0]}: {row[1]}" for row in ROWS]


def test_the_table_is_there() -> None:
    assert len(ROWS) > 15
    assert {len(row) for row in ROWS} == {5}
    assert all(cell for row in ROWS for cell in row)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_what_defends_exists(row: list[str]) -> None:
    modules = _CODE.findall(row[3])

    assert modules
    assert [each for each in modules if not (ROOT / each).is_file()] == []


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_an_attack_has_a_test(row: list[str]) -> None:
    named = _CODE.findall(row[4])

    assert named
    for each in named:
        path, _, name = each.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_call_of_the_api_is_attacked() -> None:
    @operation("nothing")
    async def nothing() -> None:
        """Do nothing."""

    document = Narrator([nothing]).application.openapi()
    calls = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }

    assert ("POST", "/v1/jobs") in calls
    assert calls <= set(NEEDS)

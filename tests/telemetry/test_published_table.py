import subprocess
import sys
from pathlib import Path

from telemetry import table

DOCUMENT = Path(table.__file__).with_name("README.md")


def test_the_published_table_is_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    assert text == table.markdown(), "stale: python -m telemetry.table > telemetry/README.md"


def test_it_says_how_it_is_made() -> None:
    made_by = DOCUMENT.read_text(encoding="utf-8").splitlines()[2]

    assert "`python -m telemetry.table > telemetry/README.md`" in made_by


def test_every_row_has_as_many_cells_as_its_header() -> None:
    for part in DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]:
        rows = [line for line in part.splitlines() if line.startswith("|")]

        assert len({row.count("|") for row in rows}) == 1, part.splitlines()[0]


def test_the_command_that_it_names_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "telemetry.table"],
        capture_output=True,
        text=True,
        check=True,
        cwd=DOCUMENT.parents[1],
    )

    assert done.stdout == DOCUMENT.read_text(encoding="utf-8")

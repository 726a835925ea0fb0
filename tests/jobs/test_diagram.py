from pathlib import Path

import pytest

from app.jobs import diagram
from app.jobs.lifecycle import TRANSITIONS

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"


def test_the_diagram_in_the_docs_is_the_table() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")

    assert diagram.rewrite(text) == text, "stale: run `python -m app.jobs.diagram`"


def test_the_diagram_has_every_transition() -> None:
    drawn = diagram.mermaid()

    for state, legal in TRANSITIONS.items():
        for trigger, after in legal.items():
            assert f"{state} --> {after}: {trigger}" in drawn


def test_only_what_stands_between_the_markers_is_rewritten() -> None:
    text = f"before\n{diagram.BEGIN}\nold\n{diagram.END}\nafter"

    new = diagram.rewrite(text)

    assert new.startswith("before\n")
    assert new.endswith("\nafter")
    assert "old" not in new


@pytest.mark.parametrize(
    "text",
    ["", diagram.BEGIN, f"{diagram.END}{diagram.BEGIN}", f"{diagram.BEGIN}{diagram.END * 2}"],
)
def test_a_document_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        diagram.rewrite(text)


def test_the_command_brings_a_document_up_to_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "doc.md"
    document.write_text(f"{diagram.BEGIN}{diagram.END}", encoding="utf-8")

    diagram.main(document)

    assert diagram.mermaid() in document.read_text(encoding="utf-8")
    assert "up to date" in capsys.readouterr().out

"""The table of figures, as text and as Markdown, and the saved runs that it is compared with.

A saved run is pytest-benchmark's JSON; each of its benchmarks carries the figure in `extra_info`.
"""

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.figures import BY_KEY, Figure, Measured

HEAD = ("figure", "ours", "reference", "value", "ratio", "goal", "")
COMPARED = ("before", "change")
NOTHING = "-"


def as_text(
    figures: Sequence[Figure],
    measured: Mapping[str, Measured],
    before: Mapping[str, Measured] | None = None,
) -> str:
    """The table for a terminal."""
    rows = [_head(before), *_rows(figures, measured, before)]
    widths = [max(_width(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(_padded(*cell) for cell in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(
    figures: Sequence[Figure],
    measured: Mapping[str, Measured],
    before: Mapping[str, Measured] | None = None,
) -> str:
    """The table for a README."""
    head = _head(before)
    rows = [head, ["---"] * len(head), *_rows(figures, measured, before)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def last_saved(folder: Path) -> dict[str, Measured]:
    """The figures of the run that was saved last; each from the newest run that has it."""
    found: dict[str, Measured] = {}
    for path in sorted(folder.glob("*/*.json"), key=lambda each: each.stat().st_mtime):
        found.update(read(path))
    return found


def read(path: Path) -> dict[str, Measured]:
    """The figures of a saved run; those that are not measured any more are left out."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    figures = (each["extra_info"].get("figure") for each in saved["benchmarks"])
    return {each["key"]: Measured(**each) for each in figures if each and each["key"] in BY_KEY}


def _head(before: Mapping[str, Measured] | None) -> list[str]:
    return [*HEAD] if before is None else [*HEAD, *COMPARED]


def _rows(
    figures: Iterable[Figure],
    measured: Mapping[str, Measured],
    before: Mapping[str, Measured] | None,
) -> Iterable[list[str]]:
    for figure in figures:
        found = measured.get(figure.key)
        if found is None:
            continue
        row = _row(figure, found)
        if before is not None:
            row += _change(found, before.get(figure.key))
        yield row


def _row(figure: Figure, found: Measured) -> list[str]:
    goal = figure.goal
    bounded = _bounded(found)
    verdict = "" if goal is None else ("met" if goal.met(bounded) else _missed(figure, bounded))
    return [
        figure.name,
        _number(found.ours, figure.unit),
        figure.reference,
        NOTHING if found.reference is None else _number(found.reference, figure.unit),
        NOTHING if found.ratio is None else f"{found.ratio:.2f}",
        "published" if goal is None else str(goal),
        verdict,
    ]


def _missed(figure: Figure, value: float) -> str:
    goal = figure.goal
    assert goal is not None
    if goal.at_most is not None:
        return f"MISSED, {value / goal.at_most:.2f} of the goal"
    assert goal.at_least is not None
    return f"MISSED, {value / goal.at_least:.2f} of the goal"


def _bounded(found: Measured) -> float:
    """What a goal is about: the ratio, or our own value where there is no reference."""
    return found.ours if found.ratio is None else found.ratio


def _change(found: Measured, before: Measured | None) -> list[str]:
    if before is None:
        return [NOTHING, NOTHING]
    now, then = _bounded(found), _bounded(before)
    return [f"{then:.2f}", f"{(now / then - 1) * 100:+.0f} %"]


def _number(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".replace(" /s", "/s")


def _width(text: str) -> int:
    """Columns on a terminal."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))

"""Rows of text as a table that fits a terminal: columns give way in an order of their own.

It knows nothing of what is in the cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.text import Text

GAP: Final = 2
"""Columns between two cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column. `least` is how narrow it may get; None: it never gives way. `right`: numbers."""

    title: str
    least: int | None = None
    right: bool = False


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], *, width: int | None
) -> list[Text]:
    """The lines, a heading first, none wider than `width`; None is as wide as it takes.

    The widest of the columns that may give way does, until all fits; empty columns are left out.
    """
    shown = [
        index
        for index, column in enumerate(columns)
        if column.least is None or any(row[index].plain for row in rows)
    ]
    heads = [[Text(columns[index].title, "bold") for index in shown]]
    cells = heads + [[row[index] for index in shown] for row in rows]
    widths = [max(cell_len(line[place].plain) for line in cells) for place in range(len(shown))]
    _narrow(widths, [columns[index].least for index in shown], width)
    return [_line(line, widths, [columns[index].right for index in shown], width) for line in cells]


def _narrow(widths: list[int], least: Sequence[int | None], width: int | None) -> None:
    if width is None:
        return
    while sum(widths) + GAP * (len(widths) - 1) > width:
        giving = [
            (size, place) for place, size in enumerate(widths) if (least[place] or size) < size
        ]
        if not giving:
            return
        _, place = max(giving, key=lambda each: (each[0], each[1]))
        widths[place] -= 1


def _line(
    cells: Sequence[Text], widths: Sequence[int], right: Sequence[bool], width: int | None
) -> Text:
    line = Text()
    for place, (cell, size) in enumerate(zip(cells, widths, strict=True)):
        shown = cell.copy()
        shown.truncate(size, overflow="ellipsis")
        padding = Text(" " * (size - shown.cell_len))
        line += (padding + shown) if right[place] else (shown + padding)
        if place < len(widths) - 1:
            line += Text(" " * GAP)
    line.rstrip()
    if width is not None:
        line.truncate(width, overflow="ellipsis")
    return line

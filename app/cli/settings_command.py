"""`narrator settings`: every setting with its value and where that came from."""

import json
from typing import Annotated

import typer

from app.cli.configuration import settings_or_exit, warn_unknown_variables
from app.settings import Source


def settings(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print each setting, its value, and where the value came from.

    Secrets are masked.

    For example:

        narrator settings

        NARRATOR_PORT=9000 narrator settings --json
    """
    sources = settings_or_exit({}).sources()
    warn_unknown_variables()
    print(_as_json(sources) if as_json else _as_table(sources))


def _as_json(sources: list[Source]) -> str:
    return json.dumps(
        {
            source.name: {
                "value": source.value,
                "origin": source.origin,
                "variable": source.variable,
                "unit": source.unit,
                "description": source.description,
            }
            for source in sources
        },
        indent=2,
    )


def _as_table(sources: list[Source]) -> str:
    rows = [("SETTING", "VALUE", "UNIT", "FROM")]
    rows += [(each.name, _cell(each.value), each.unit, each.origin.value) for each in sources]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    )


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)

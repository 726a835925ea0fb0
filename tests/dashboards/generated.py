"""The dashboards as they lie in the repository, and their panels, for tests to look at."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dashboards.__main__ import BOARDS, FOLDER

RULES: Final = FOLDER / "rules.yml"
FILES: Final = {board.uid: FOLDER / f"{board.uid}.json" for board in BOARDS}


@dataclass(frozen=True, slots=True)
class Shown:
    """One panel of one dashboard, as Grafana reads it."""

    uid: str
    panel: dict[str, Any]

    @property
    def name(self) -> str:
        """How a failing test calls it."""
        return f"{self.uid}: {self.panel['title']}"

    @property
    def links(self) -> list[dict[str, Any]]:
        """Those of the panel and those of its series."""
        return [*self.panel["links"], *self.panel["fieldConfig"]["defaults"]["links"]]


def read(uid: str) -> dict[str, Any]:
    """A dashboard."""
    document: dict[str, Any] = json.loads(FILES[uid].read_text(encoding="utf-8"))
    return document


def panels() -> list[Shown]:
    """The panels of all dashboards, without the headings of rows."""
    return [
        Shown(uid, panel)
        for uid in FILES
        for panel in read(uid)["panels"]
        if panel["type"] != "row"
    ]


def expressions() -> Iterator[tuple[Shown, dict[str, Any]]]:
    """Each query of each panel."""
    for shown in panels():
        for target in shown.panel["targets"]:
            yield shown, target


WINDOW: Final = "5s"
"""What Grafana would put for `$__rate_interval`, where a scrape comes every second or sooner."""


def filled_in(expression: str, chosen: Mapping[str, str]) -> str:
    """An expression as Grafana would send it."""

    def value(variable: re.Match[str]) -> str:
        name = variable[1]
        if name == "__rate_interval":
            return WINDOW
        return re.sub(r"([{}.+*?()|\[\]^$])", r"\\\\\1", chosen[name]) if chosen else ".*"

    return re.sub(r"\$(\w+)", value, expression)

"""What was measured, as a table of 80 columns with what has to be said of it, and as JSON."""

import importlib.metadata
import json
import os
import platform
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.cli.bench.rounds import Measured, Row
from app.handlers.operation import HandlerKind, Operation
from narration.phrases import duration

WIDTH: Final = 80

_HEADS: Final = ("what", "CPU per job", "ratio to {first}", "wall per job")
_PACKAGES: Final = ("job-narrator", "opentelemetry-sdk", "pydantic", "uvloop")
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured, and of what.

    `target` is None for the built-in sample. `foreign` says that the operation's module has set a
    tracer provider of its own, which the bare calls use too.
    """

    measured: Measured
    operation: Operation
    target: str | None
    params: Mapping[str, Any]
    foreign: bool

    def as_table(self) -> str:
        """The table, and below it what was measured and how much it varied."""
        measured = self.measured
        first = measured.rows[0].name
        cells = [[head.format(first=first) for head in _HEADS]]
        cells += [
            [each.name, duration(each.cpu), _ratio(measured.ratio(each)), duration(each.wall)]
            for each in measured.rows
        ]
        widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADS))]
        lines = [_line(row, widths) for row in cells]
        note = " ".join([self._what(), self._how(), *_added(measured), _noise(measured)])
        return "\n".join([*lines, "", textwrap.fill(note, WIDTH, break_on_hyphens=False)])

    def as_json(self) -> str:
        """The same, with every round; times are seconds for one job."""
        measured = self.measured
        return json.dumps(
            {
                "operation": self.operation.name,
                "target": self.target,
                "params": dict(self.params),
                "kind": self.operation.kind.value,
                "rounds": measured.rounds,
                "jobs_per_round": measured.jobs,
                "own_tracer_provider": self.foreign,
                "rows": [_row(measured, each) for each in measured.rows],
                "machine": {
                    "system": platform.system(),
                    "architecture": platform.machine(),
                    "cpus": os.cpu_count(),
                },
                "versions": {"python": platform.python_version()} | _versions(),
            },
            indent=2,
        )

    def _what(self) -> str:
        if self.target is None:
            return (
                "Measured: a built-in sample of 3 spans and 10 events that does no work of its "
                "own, so its ratios are about as high as they get; name an operation of yours to "
                "see what it is beside real work."
            )
        told = f"Measured: operation {self.operation.name} of {self.target}."
        if self.operation.kind is HandlerKind.PROCESS:
            told += (
                " It runs in a child process, whose CPU is counted; no call in this process does "
                "the same work, so there is nothing bare to compare with."
            )
        if self.foreign:
            told += (
                " Its module sets a tracer provider of its own: what it traces itself is in the "
                "bare calls too, and is exported as it says."
            )
        return told

    def _how(self) -> str:
        jobs, rounds = _many(self.measured.jobs, "job"), self.measured.rounds
        how = f"Medians of {rounds} rounds in turn" if rounds > 1 else "One round"
        return (
            f"{how}, {jobs} of each in a round, one after another, all in one process; "
            "exporting nothing, no sockets."
        )


def _added(measured: Measured) -> list[str]:
    """What narration adds to a bare call, if both were measured."""
    first, *others = measured.rows
    narrated = next((each for each in others if each.readers is not None), None)
    if first.readers is not None or narrated is None:
        return []
    more = measured.added(narrated)
    if more is None:
        return [f"What {narrated.name!r} adds to a job's CPU is less than its noise here."]
    return [f"{narrated.name!r} adds {duration(more)} of CPU to a job here."]


def _noise(measured: Measured) -> str:
    rounds = measured.rounds
    if rounds == 1:
        return "One round says nothing about noise: give it more --seconds."
    worst = max(measured.rows, key=lambda row: row.spread)
    # Of few rounds the spread is that of all, as `Row.spread` says.
    which = "all rounds" if rounds < 4 else "half of the rounds"  # noqa: PLR2004 — no quarters
    return (
        f"CPU varied most for {worst.name!r}: {which} lie within ±{worst.spread:.0%}. "
        "Another machine, or another hour, gives other times."
    )


def _line(cells: list[str], widths: list[int]) -> str:
    name, *figures = cells
    right = (figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True))
    return "  ".join([name.ljust(widths[0]), *right])


def _row(measured: Measured, row: Row) -> dict[str, Any]:
    return {
        "what": row.name,
        "readers": row.readers,
        "cpu_s": row.cpu,
        "ratio": measured.ratio(row),
        "wall_s": row.wall,
        "spread": row.spread,
        "cpu_s_of_rounds": row.cpu_s,
        "wall_s_of_rounds": row.wall_s,
    }


def _ratio(ratio: float | None) -> str:
    """In three figures; nothing where there is nothing to compare with."""
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.1f}"  # noqa: PLR2004 — in three figures it is 10.0


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a checkout, or Windows without uvloop
            found[package] = _UNKNOWN
    return found

"""The table says what was measured, whether the goal is met, and what has changed."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.benchmarks.figures import FIGURES, Figure, Goal, Measured
from tests.benchmarks.table import as_markdown, as_text, last_saved

FIGURE = Figure(
    key="work", name="a job's work", unit="µs", reference="bare", goal=Goal(at_most=1.1)
)
FOUND = Measured(key="work", ours=120.0, reference=100.0, ratio=1.21, rounds=3)


def saved(folder: Path, number: int, *found: Measured) -> None:
    """A run of pytest-benchmark as it saves one; later numbers are newer."""
    path = folder / "machine" / f"{number:04}_run.json"
    path.parent.mkdir(exist_ok=True)
    entries = [{"extra_info": {"figure": asdict(each)}} for each in found]
    path.write_text(json.dumps({"benchmarks": [*entries, {"extra_info": {}}]}))
    os.utime(path, (number, number))


def test_each_figure_has_a_key_of_its_own() -> None:
    assert len({figure.key for figure in FIGURES}) == len(FIGURES)


def test_a_row_has_both_values_the_ratio_and_how_far_the_goal_is() -> None:
    row = as_markdown([FIGURE], {"work": FOUND}).splitlines()[-1]

    assert (
        row == "| a job's work | 120 µs | bare | 100 µs | 1.21 | ≤ 1.1 | MISSED, 1.10 of the goal |"
    )


@pytest.mark.parametrize(
    ("goal", "ratio", "verdict"),
    [
        (Goal(at_most=1.1), 1.1, "met"),
        (Goal(at_most=1.1), 1.2, "MISSED"),
        (Goal(at_least=0.7), 0.7, "met"),
        (Goal(at_least=0.7), 0.69, "MISSED"),
        (Goal(at_least=1.0, strictly=True), 1.0, "MISSED"),
    ],
)
def test_a_goal_is_met_or_missed(goal: Goal, ratio: float, verdict: str) -> None:
    figure = Figure(key="work", name="work", unit="µs", goal=goal)
    found = Measured(key="work", ours=ratio, reference=1.0, ratio=ratio, rounds=1)

    assert verdict in as_text([figure], {"work": found})


def test_a_goal_without_a_reference_bounds_our_own_value() -> None:
    figure = Figure(key="memory", name="memory", unit="KB", goal=Goal(at_most=15))
    found = Measured(key="memory", ours=16.0, rounds=1)

    assert "MISSED" in as_text([figure], {"memory": found})


def test_a_figure_that_was_not_measured_has_no_row() -> None:
    assert "a job's work" not in as_text([FIGURE], {})


def test_a_change_is_told_beside_the_run_that_was_saved_last(tmp_path: Path) -> None:
    older = Measured(key="work", ours=1.0, reference=1.0, ratio=9.0, rounds=1)
    newer = Measured(key="work", ours=1.0, reference=1.0, ratio=1.1, rounds=1)
    other = Measured(key="job", ours=1.0, reference=1.0, ratio=1.6, rounds=1)
    saved(tmp_path, 1, older)
    saved(tmp_path, 2, newer)
    saved(tmp_path, 3, other)

    before = last_saved(tmp_path)

    assert before == {"work": newer, "job": other}
    assert (
        as_markdown([FIGURE], {"work": FOUND}, before).splitlines()[-1].endswith("| 1.10 | +10 % |")
    )


def test_what_was_never_saved_has_no_change() -> None:
    assert as_markdown([FIGURE], {"work": FOUND}, {}).splitlines()[-1].endswith("| - | - |")


def test_a_figure_that_is_not_measured_any_more_is_not_read(tmp_path: Path) -> None:
    saved(tmp_path, 1, Measured(key="gone", ours=1.0, rounds=1))

    assert last_saved(tmp_path) == {}

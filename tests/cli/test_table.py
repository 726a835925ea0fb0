"""Tables and units: what fits a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from app.cli.client.table import Column, table
from app.cli.units import number, seconds_of, short

COLUMNS = (Column(title="JOB"), Column(title="WHAT", least=6), Column(title="N", right=True))


def lines(rows: list[tuple[str, ...]], width: int | None) -> list[str]:
    return [
        line.plain for line in table(COLUMNS, [list(map(Text, row)) for row in rows], width=width)
    ]


def test_a_table_is_as_wide_as_it_takes_and_numbers_are_at_the_right() -> None:
    assert lines([("a", "a long word", "1"), ("bc", "", "22")], None) == [
        "JOB  WHAT          N",
        "a    a long word   1",
        "bc                22",
    ]


def test_columns_that_may_give_way_do() -> None:
    assert lines([("a", "a long word", "1")], 16) == ["JOB  WHAT      N", "a    a long …  1"]


def test_columns_that_are_empty_and_may_give_way_are_left_out() -> None:
    assert lines([("a", "", "1")], None) == ["JOB  N", "a    1"]


@given(
    rows=st.lists(st.tuples(st.text(max_size=30), st.text(max_size=60), st.text(max_size=5))),
    width=st.integers(10, 100),
)
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, ...]], width: int) -> None:
    cells = [list(map(Text, row)) for row in rows]

    assert all(line.cell_len <= width for line in table(COLUMNS, cells, width=width))


@given(seconds=st.floats(0, 1e7))
def test_a_duration_takes_at_most_seven_columns(seconds: float) -> None:
    assert 0 < len(short(seconds)) <= 7


@given(seconds=st.integers(0, 10**6))
def test_seconds_are_read_with_and_without_a_unit(seconds: int) -> None:
    assert seconds_of(str(seconds)) == seconds_of(f"{seconds}s") == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "5x", "m5", "1e400"])
def test_what_is_no_duration_says_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        seconds_of(text)


def test_a_number_that_is_none_is_still_told() -> None:
    assert number(float("nan")) == "nan"

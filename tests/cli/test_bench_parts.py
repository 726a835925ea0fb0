"""The parts of `narrator bench` that measure nothing: words as params, and what rounds say."""

import asyncio
from typing import Any

import pytest

from app.cli.bench.params import WordError, converted, params_of, types_of
from app.cli.bench.rounds import Measured, Row, Taken, measure
from app.handlers.discovery import operations_of
from app.handlers.operation import operation

# --- params -----------------------------------------------------------------------------------


def test_words_are_converted_as_the_schema_says() -> None:
    @operation
    def paint(
        name: str,
        count: int,
        sizes: list[float] | None = None,
        extra: Any = None,
        *,
        on: bool = False,
    ) -> None:
        """Take one param of each kind."""

    (loaded,) = operations_of([paint])
    words = ["name=3", "count=3", "sizes=[1, 2.5]", 'extra:={"a": "b=c"}', "on=yes"]

    assert params_of(loaded, words) == {
        "name": "3",
        "count": 3,
        "sizes": [1.0, 2.5],
        "extra": {"a": "b=c"},
        "on": True,
    }
    assert params_of(loaded, ["name=", "count=007", "sizes=null"])["sizes"] is None
    with pytest.raises(WordError, match="sizes"):
        params_of(loaded, ["name=a", "count=1", "sizes=1,2"])


def test_types_are_found_through_references_and_choices() -> None:
    root = {"$defs": {"A": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/A"}, {"type": "array"}]}}}

    assert types_of({"allOf": [{"$ref": "#/$defs/A"}]}, root) == {"null", "array"}
    assert types_of({"type": ["integer", "string"]}, root) == {"integer", "string"}
    assert converted("1", frozenset({"integer", "string"})) == "1"


# --- rounds -----------------------------------------------------------------------------------


class Fixed:
    """A form that says what it took."""

    readers = None

    def __init__(self, name: str, cpu_s: float, order: list[str]) -> None:
        self.name = name
        self._cpu_s = cpu_s
        self._order = order

    async def run(self, jobs: int) -> Taken:
        self._order.append(self.name)
        return Taken(cpu_s=self._cpu_s * jobs, wall_s=jobs * 1.0)


def test_forms_take_turns_and_change_places() -> None:
    order: list[str] = []
    told: list[str] = []
    forms = [Fixed("a", 1, order), Fixed("b", 3, order)]

    found = asyncio.run(measure(forms, seconds=0.2, told=lambda _spent, what: told.append(what)))

    assert order[:6] == ["a", "b", "a", "b", "b", "a"]
    assert told[:4] == ["warm-up: a", "warm-up: b", "a", "b"]
    assert found.jobs == 1
    assert [found.ratio(row) for row in found.rows] == [1, 3]


def row(*cpu_s: float) -> Row:
    return Row(name="", readers=None, cpu_s=cpu_s, wall_s=cpu_s)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    found = Measured(rows=(row(1, 2, 4), row(2, 4, 100)), jobs=1)

    assert found.ratio(found.rows[1]) == 2


def test_the_spread_is_half_of_the_middle_half() -> None:
    assert row(1, 9, 10, 11, 90).spread == 0.1
    assert row(9, 10, 11).spread == 0.1
    assert row(5).spread == 0


def test_what_is_added_is_told_only_where_it_is_more_than_noise() -> None:
    found = Measured(rows=(row(9, 10, 11), row(10, 10.5, 12), row(18, 20, 22)), jobs=1)

    assert found.added(found.rows[1]) is None
    assert found.added(found.rows[2]) == 10


def test_without_time_to_compare_with_there_is_no_ratio() -> None:
    assert Measured(rows=(row(0), row(1)), jobs=1).ratio(row(1)) is None

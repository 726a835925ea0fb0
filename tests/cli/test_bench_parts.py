"""The parts of `narrator bench` that measure nothing: what rounds say."""

import asyncio

from app.cli.bench.rounds import Measured, Row, Taken, measure

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

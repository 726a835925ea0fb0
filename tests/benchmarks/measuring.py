"""Ours and its reference, measured in turn, round by round, so that noise hits both alike.

It knows neither what is measured nor in which unit. Each of the two is a function that gives one
value; the order changes from round to round (ours first, ours last), so that a drift of the machine
does not favour one. Garbage collection is on: what the other one left is collected before a round,
untimed, and what a round itself makes the collector do is its own cost.
"""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

Measure = Callable[[], float]
"""Does the work once and gives its value."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The values of each round, in order; ours and the reference's of one round were neighbours."""

    ours: list[float]
    reference: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        pairs = zip(self.ours, self.reference, strict=True)
        return statistics.median(ours / reference for ours, reference in pairs)


def in_turn(
    benchmark: BenchmarkFixture,
    ours: Measure,
    reference: Measure,
    *,
    rounds: int,
    warmup: int = 1,
) -> Rounds:
    """Measure both `rounds` times, after `warmup` rounds that do not count."""
    values: dict[Measure, list[float]] = {ours: [], reference: []}
    turn = 0

    def measure(which: Measure) -> None:
        values[which].append(which())

    def before() -> None:
        if turn % 2 == 0:
            measure(reference)

    def after() -> None:
        nonlocal turn
        if turn % 2:
            measure(reference)
        turn += 1

    untyped: Any = benchmark  # its methods have no types
    untyped.pedantic(
        lambda: measure(ours),
        setup=before,
        teardown=after,
        rounds=rounds,
        warmup_rounds=warmup,
    )
    return Rounds(ours=values[ours][warmup:], reference=values[reference][warmup:])


def alone(
    benchmark: BenchmarkFixture, ours: Measure, *, rounds: int, warmup: int = 0
) -> list[float]:
    """The values of `rounds` rounds of what has no reference."""
    values: list[float] = []
    untyped: Any = benchmark
    untyped.pedantic(lambda: values.append(ours()), rounds=rounds, warmup_rounds=warmup)
    return values[warmup:]


def cpu_each(work: Callable[[], object], count: int, clock: Clock = time.process_time) -> Measure:
    """Measures `work`, which does a thing `count` times: CPU microseconds each."""

    def measure() -> float:
        gc.collect()
        began = clock()
        work()
        return (clock() - began) / count * 1e6

    return measure

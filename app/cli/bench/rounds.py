"""Several forms of one work, measured in turn, round by round, so that noise hits all alike.

The order changes from round to round, so that a drift of the machine favours none. It knows neither
what the work is nor how its figures are shown. Every value is seconds for one job.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

ROUNDS: Final = 25
"""How many rounds are aimed at."""

FEW_ROUNDS: Final = 5
FEW_JOBS: Final = 10
"""A job or two after another form's are run with cold caches: rather fewer rounds, of more jobs."""

MAX_JOBS: Final = 500
"""Of one form in one round: more would only make fewer rounds."""

_QUICK_S: Final = 0.02
_WARM: Final = 25  # jobs after which a quick one has filled the caches that it has

Told = Callable[[float, str], None]
"""Is told the seconds spent so far, and what is measured now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What some jobs took together: seconds of CPU, and seconds."""

    cpu_s: float
    wall_s: float


class Watch:
    """Looks at CPU (of this process, all threads, and of children that have ended) and at time."""

    __slots__ = ("_began", "_cpu_began")

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._cpu_began = _cpu_s()

    def taken(self) -> Taken:
        """What has gone by since it was made."""
        cpu_s = _cpu_s() - self._cpu_began
        return Taken(cpu_s=cpu_s, wall_s=time.perf_counter() - self._began)


class Form(Protocol):
    """One way to do the work."""

    @property
    def name(self) -> str:
        """What it is called in the table."""
        ...

    @property
    def readers(self) -> int | None:
        """How many read each job's story; None where there is no story."""
        ...

    async def run(self, jobs: int) -> Taken:
        """Do it `jobs` times, one after another."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one form took, for one job, in each round."""

    name: str
    readers: int | None
    cpu_s: tuple[float, ...]
    wall_s: tuple[float, ...]

    @property
    def cpu(self) -> float:
        """The median, seconds."""
        return statistics.median(self.cpu_s)

    @property
    def wall(self) -> float:
        """The median, seconds."""
        return statistics.median(self.wall_s)

    @property
    def spread(self) -> float:
        """Half the width of the middle half of the rounds' CPU times, as a share of the median.

        Of fewer than four rounds: of all of them. 0 for a single one.
        """
        if len(self.cpu_s) < 4:  # noqa: PLR2004 — there are no quarters
            low, high = min(self.cpu_s), max(self.cpu_s)
        else:
            low, _, high = statistics.quantiles(self.cpu_s, n=4, method="inclusive")
        return (high - low) / 2 / self.cpu if self.cpu else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All rows, the one that the others are compared with first; `jobs` of each form a round."""

    rows: tuple[Row, ...]
    jobs: int

    @property
    def rounds(self) -> int:
        """How many there were."""
        return len(self.rows[0].cpu_s)

    def ratio(self, row: Row) -> float | None:
        """CPU of `row` over that of the first one: the median of the rounds' ratios.

        None where the first one took no time that the clock sees.
        """
        pairs = zip(row.cpu_s, self.rows[0].cpu_s, strict=True)
        ratios = [cpu / first for cpu, first in pairs if first > 0]
        return statistics.median(ratios) if ratios else None

    def added(self, row: Row) -> float | None:
        """CPU that `row` takes more than the first one, seconds a job: the median of the rounds.

        None where that is less than what the rounds of either vary by.
        """
        first = self.rows[0]
        more = statistics.median(a - b for a, b in zip(row.cpu_s, first.cpu_s, strict=True))
        return more if more > max(each.spread * each.cpu for each in (row, first)) else None


async def measure(forms: Sequence[Form], *, seconds: float, told: Told) -> Measured:
    """Measure `forms` for about `seconds`, after a warm-up that does not count; one round at least.

    Raises:
        what a form raises.

    """
    expected_s = 0.0
    for form in forms:
        told(0.0, f"warm-up: {form.name}")
        expected_s += await _warmed(form)
    jobs = _jobs_of_round(seconds / max(expected_s, 1e-9))
    taken: dict[int, list[Taken]] = {number: [] for number in range(len(forms))}
    begun = time.perf_counter()
    spent, rounds = 0.0, 0
    while not rounds or spent + spent / rounds / 2 < seconds:
        order = range(len(forms))
        for number in order if rounds % 2 == 0 else reversed(order):
            told(time.perf_counter() - begun, forms[number].name)
            taken[number].append(await forms[number].run(jobs))
        rounds += 1
        spent = time.perf_counter() - begun
    rows = (_row(form, taken[number], jobs) for number, form in enumerate(forms))
    return Measured(rows=tuple(rows), jobs=jobs)


def _jobs_of_round(whole: float) -> int:
    """How many jobs of each form make a round, where there is time for `whole` in all.

    >>> _jobs_of_round(10_000), _jobs_of_round(100), _jobs_of_round(20), _jobs_of_round(0.5)
    (400, 10, 4, 1)
    """
    enough = max(whole / ROUNDS, min(FEW_JOBS, whole / FEW_ROUNDS))
    return min(max(round(enough), 1), MAX_JOBS)


async def _warmed(form: Form) -> float:
    """Seconds of one job, once the first ones have run."""
    first = await form.run(1)
    if first.wall_s > _QUICK_S:
        return first.wall_s
    await form.run(_WARM)
    return (await form.run(_WARM)).wall_s / _WARM


def _row(form: Form, taken: Sequence[Taken], jobs: int) -> Row:
    return Row(
        name=form.name,
        readers=form.readers,
        cpu_s=tuple(each.cpu_s / jobs for each in taken),
        wall_s=tuple(each.wall_s / jobs for each in taken),
    )


def _cpu_s() -> float:
    own = time.process_time()
    if sys.platform == "win32":
        return own
    import resource  # noqa: PLC0415 — not there on Windows

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own + children.ru_utime + children.ru_stime

"""Every figure that the benchmarks measure, with its reference and its goal, as data.

The order is the order of the table. What a figure is in detail stands in the README beside this
file; how it is measured, in the test that names its key.
"""

from dataclasses import dataclass
from typing import Final

MICROSECONDS: Final = "µs"
MILLISECONDS: Final = "ms"
KILOBYTES: Final = "KB"
PER_SECOND: Final = "/s"
NONE: Final = "none"
S_PER_MILLION: Final = "s/M"
"""CPU seconds of the server per million deliveries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound on the ratio, or on our own value where there is no reference; one of the two."""

    at_most: float | None = None
    at_least: float | None = None
    strictly: bool = False

    def met(self, value: float) -> bool:
        """Whether `value` is within it."""
        if self.at_most is not None:
            return value <= self.at_most
        if self.at_least is None:
            return True
        return value > self.at_least if self.strictly else value >= self.at_least

    def __str__(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return f"{'>' if self.strictly else '≥'} {self.at_least:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the table; without a goal it is published for what it says."""

    key: str
    name: str
    unit: str
    reference: str = NONE
    goal: Goal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found: medians in the figure's unit, the ratio of each round to its reference.

    Without a reference both `reference` and `ratio` are None.
    """

    key: str
    ours: float
    reference: float | None = None
    ratio: float | None = None
    rounds: int


def _at_most(bound: float) -> Goal:
    return Goal(at_most=bound)


def _at_least(bound: float) -> Goal:
    return Goal(at_least=bound)


_BARE: Final = "the same on the bare SDK"
_ALL_ON: Final = "all on"
_NCHAN: Final = "nginx + nchan"
_HUNDRED: Final = "the same with 100"
_TASKIQ: Final = "taskiq in memory"


def _stream(key: str, name: str, bound: float) -> Figure:
    return Figure(
        key=f"stream-{key}",
        name=f"server CPU per delivery, {name}",
        unit=S_PER_MILLION,
        reference=_NCHAN,
        goal=_at_most(bound),
    )


def _switched(key: str, name: str) -> Figure:
    return Figure(key=key, name=f"the whole job, {name}", unit=MICROSECONDS, reference=_ALL_ON)


def _scaled(key: str, name: str) -> Figure:
    return Figure(
        key=f"scale-{key}",
        name=name,
        unit=MICROSECONDS,
        reference=_HUNDRED,
        goal=_at_most(1.2),
    )


def _collector(key: str, name: str) -> Figure:
    return Figure(
        key=f"collector-{key}",
        name=f"the whole job, a collector that {name}",
        unit=MICROSECONDS,
        reference="a healthy collector",
        goal=_at_most(1.05),
    )


def _memory(key: str, name: str, kilobytes: float) -> Figure:
    return Figure(
        key=f"memory-{key}",
        name=f"memory of {name}",
        unit=KILOBYTES,
        goal=_at_most(kilobytes),
    )


FIGURES: Final = (
    Figure(
        key="emit-thread",
        name="emit one event with two attributes, on the job's thread",
        unit=MICROSECONDS,
        reference="bare SDK add_event",
        goal=_at_most(1.10),
    ),
    Figure(
        key="emit-encoded",
        name="emit → encoded in the job's log, no reader",
        unit=MICROSECONDS,
        reference="bare SDK add_event",
        goal=_at_most(2.0),
    ),
    Figure(
        key="span",
        name="a span with two attributes, no event",
        unit=MICROSECONDS,
        reference=_BARE,
    ),
    Figure(
        key="work",
        name="a job's work, 3 spans + 10 events, encoded into the log",
        unit=MICROSECONDS,
        reference=_BARE,
        goal=_at_most(1.10),
    ),
    Figure(
        key="job",
        name="the whole job, all on, one reader (job, wait, attempt + 10 events)",
        unit=MICROSECONDS,
        reference="3 spans + 10 events on the bare SDK",
        goal=_at_most(1.6),
    ),
    Figure(
        key="job-unread",
        name="the same, no reader",
        unit=MICROSECONDS,
        reference="3 spans + 10 events on the bare SDK",
    ),
    Figure(
        key="job-own-spans",
        name="the whole job, all on, one reader, the handler makes 3 spans more",
        unit=MICROSECONDS,
        reference="3 spans + 10 events on the bare SDK",
    ),
    _switched("off-reader", "no reader"),
    _switched("off-narration", "narration off"),
    _switched("off-metrics", "metrics off"),
    _switched("off-tracing", "tracing off"),
    _switched("off-all", "narration, metrics and tracing off"),
    _switched("off-fast-events", "fast_events off"),
    Figure(
        key="throughput",
        name="narrated jobs, 3 spans + 10 events each",
        unit=PER_SECOND,
        reference=f"{_TASKIQ}, traced, no events",
        goal=Goal(at_least=1.0, strictly=True),
    ),
    Figure(
        key="throughput-noop",
        name="no-op jobs, what can be switched off is off",
        unit=PER_SECOND,
        reference=f"{_TASKIQ}, plain",
        goal=_at_least(0.7),
    ),
    Figure(
        key="durable",
        name="narrated jobs, 10 events each, kept in SQLite",
        unit=PER_SECOND,
        reference="the same in memory",
    ),
    Figure(
        key="durable-full",
        name="the same, safe from a loss of power",
        unit=PER_SECOND,
        reference="safe from a kill",
    ),
    Figure(
        key="durable-alone",
        name="one narrated job at a time, kept in SQLite",
        unit=MICROSECONDS,
        reference="the same in memory",
    ),
    Figure(
        key="durable-dbos",
        name="narrated jobs, 10 events each, kept in SQLite, synced",
        unit=PER_SECOND,
        reference="DBOS on SQLite, synced, nothing narrated",
    ),
    Figure(
        key="durable-huey",
        name="the same, not synced",
        unit=PER_SECOND,
        reference="huey on SQLite, not synced, nothing narrated",
    ),
    Figure(
        key="post",
        name="POST, keep-alive, jobs that only wait",
        unit=PER_SECOND,
        reference="FastAPI endpoint, same model, same instrumentation",
        goal=_at_least(0.75),
    ),
    Figure(
        key="post-bare",
        name="the same",
        unit=PER_SECOND,
        reference="FastAPI endpoint, same model, no instrumentation",
    ),
    _stream("100", "100 readers of one job", 1.0),
    _stream("1000", "1,000 readers of one job", 1.0),
    _stream("5000", "5,000 readers of one job", 1.0),
    _stream("500x2", "500 jobs of 2 readers each", 1.0),
    _stream("bursts", "1,000 readers, bursts of 16", 0.2),
    Figure(
        key="latency",
        name="narrate() → reader, p99, 10 messages/s, 1,000 readers",
        unit=MILLISECONDS,
        reference=_NCHAN,
        goal=_at_most(1.5),
    ),
    _memory("stream", "an idle stream", 15),
    _memory("queued", "a queued job", 4),
    _memory("finished", "a finished job with 10 messages, its trace served", 8),
    _scaled("job", "the whole job, at 100,000 jobs"),
    _scaled("submit", "a submission, at 100,000 jobs"),
    _scaled("emit", "emit → encoded, on a log of 100,000 messages"),
    _scaled("read", "emit → read by one reader, on a log of 100,000 messages"),
    _collector("hang", "hangs"),
    _collector("refuse", "refuses"),
    _collector("500", "answers 500"),
    Figure(
        key="collector-healthy",
        name="the whole job, a healthy collector",
        unit=MICROSECONDS,
        reference="no exporter",
    ),
)

BY_KEY: Final = {figure.key: figure for figure in FIGURES}

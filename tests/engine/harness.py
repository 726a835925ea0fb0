"""The real engine on virtual time, wired by `Narrator` as in production; only time is replaced.

Whatever a test looks for, every run also holds the engine to what is true of all: when it ends,
each story that is kept is dense, legal and ended, no slot is taken and no count has drifted.
"""

import asyncio
import math
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from prometheus_client import CollectorRegistry

from app.engine.engine import Engine
from app.handlers.operation import Operation
from app.jobs.lifecycle import TRANSITIONS
from app.jobs.record import JobRecord
from app.jobs.registry import JobFilter
from app.jobs.submission import Submission
from app.service import Narrator
from app.settings import Settings
from app.virtual_time import EPOCH_NS, VirtualClock, run_virtual
from telemetry.names import TERMINAL, MetricName, Moment, State, StreamEvent

Handler = Callable[..., Any] | Operation
Test = Callable[["Bench"], Coroutine[Any, Any, None]]

WAITING = (State.QUEUED, State.RETRYING)

PATIENCE_S = 10_000.0
"""Virtual seconds for which a test waits for an end."""


_store_in: ContextVar[Path | None] = ContextVar("store_in", default=None)


def store_folder() -> Path | None:
    """Where the engines that are made now keep their jobs; None: in memory."""
    return _store_in.get()


@contextmanager
def keeping_in(folder: Path | None) -> Iterator[None]:
    """Have the engines that are made meanwhile keep their jobs in `folder`; None: in memory."""
    token = _store_in.set(folder)
    try:
        yield
    finally:
        _store_in.reset(token)


class Bench:
    """A running engine, and all that it tells."""

    def __init__(
        self, narrator: Narrator, clock: VirtualClock, spans: InMemorySpanExporter
    ) -> None:
        self.narrator = narrator
        self.clock = clock
        self.engine: Engine = narrator.engine
        self._spans = spans

    # --- doing --------------------------------------------------------------------------------

    def submit(self, operation: str, params: dict[str, Any] | None = None, **fields: Any) -> str:
        """The id of a new job."""
        submission = Submission.model_validate(
            {"operation": operation, "params": params or {}, **fields}
        )
        taken = self.engine.submit(submission)
        assert (taken.created, taken.status) == (True, 202)
        return taken.job_id

    def record(self, job_id: str) -> JobRecord:
        """The job as it is now."""
        return self.engine.record(job_id)

    async def ended(self, job_id: str) -> JobRecord:
        """The job once it has ended."""
        record = await self.engine.wait(job_id, PATIENCE_S)
        assert record.state in TERMINAL, record
        return record

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def at(self, seconds: float) -> None:
        """Sleep until `seconds` after the start; what is due then has happened."""
        await asyncio.sleep(seconds - self.now)
        await self.settle()

    def hold(self) -> AbstractContextManager[None]:
        """Let time pass as it really does."""
        return self.clock.hold()

    # --- looking ------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.clock.monotonic()

    def state(self, job_id: str) -> str:
        """The job's state, with its reason if it has one: `failed/timeout`."""
        return _state(self.record(job_id).state, self.record(job_id).reason)

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """The story so far: each event's data, its name under `event`."""
        return events_of(self.engine, job_id)

    def states(self, job_id: str) -> list[str]:
        """The states told in the story, in order."""
        return [
            _state(each["state"], each["reason"])
            for each in self.events(job_id)
            if each["event"] == StreamEvent.STATE
        ]

    def messages(self, job_id: str) -> list[dict[str, Any]]:
        """The narration."""
        return [each for each in self.events(job_id) if each["event"] == StreamEvent.NARRATION]

    def texts(self, job_id: str) -> list[str]:
        """The narration's texts, the server's own left out."""
        return [each["text"] for each in self.messages(job_id) if each["kind"] != "lifecycle"]

    def moments(self, job_id: str) -> list[str]:
        """The lifecycle moments, without their `job.`."""
        told = [each["action"] for each in self.messages(job_id) if each["kind"] == "lifecycle"]
        assert all(Moment(f"job.{action}") for action in told)
        return told

    def moment(self, job_id: str, action: str) -> dict[str, Any]:
        """The fields of the last moment of that name."""
        told = [each for each in self.messages(job_id) if each["action"] == action]
        fields: dict[str, Any] = told[-1]["fields"]
        return fields

    def progress(self, job_id: str) -> list[float]:
        """How far the job was said to be, each time."""
        return [
            each["done"] for each in self.events(job_id) if each["event"] == StreamEvent.PROGRESS
        ]

    def output(self, job_id: str) -> list[Any]:
        """The chunks."""
        return [
            each["chunk"] for each in self.events(job_id) if each["event"] == StreamEvent.OUTPUT
        ]

    def outcomes(self, job_id: str) -> list[str | None]:
        """How each attempt ended."""
        return [each.outcome and each.outcome.value for each in self.record(job_id).attempts]

    def spans(self, name: str, job_id: str | None = None) -> list[ReadableSpan]:
        """The spans of that name that have ended, of one job or of all."""
        return [
            span
            for span in self._spans.get_finished_spans()
            if span.name == name
            and (job_id is None or (span.attributes or {}).get("job.id") == job_id)
        ]

    def metric(self, name: MetricName, suffix: str = "", **labels: str) -> float:
        """The value of one sample; 0 where there is none. `suffix` is a histogram's."""
        return Scrape(self.narrator).sample(name, suffix, **labels)

    def total(self, name: MetricName) -> float:
        """The sum of a counter over its labels."""
        return Scrape(self.narrator).total(name)


def seconds(time: str | None) -> float:
    """A record's time in virtual seconds since the start."""
    assert time is not None
    return datetime.fromisoformat(time).timestamp() - EPOCH_NS / 1e9


def run(test: Test, *operations: Handler, uniform: float = 0.5, **settings: Any) -> None:
    """Run `test` on a bench that serves `operations`; the draw of every jitter is `uniform`."""

    async def main(clock: VirtualClock) -> None:
        narrator, spans = make_narrator(clock, operations, uniform=uniform, **settings)
        async with narrator.running():
            engine = narrator.engine
            await test(Bench(narrator, clock, spans))
        check_end(narrator, engine)

    run_virtual(main)


def make_narrator(
    clock: VirtualClock,
    operations: Iterable[Handler],
    *,
    uniform: float = 0.5,
    sampler: Sampler | None = None,
    **settings: Any,
) -> tuple[Narrator, InMemorySpanExporter]:
    """A narrator that reads no environment, and where its spans go."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    folder = store_folder()
    if folder is not None:
        settings.setdefault("store", folder / f"{uuid.uuid4()}.db")
    narrator = Narrator(
        operations,
        settings=Settings.model_construct(**settings),
        tracer_provider=provider,
        clock=clock,
        uniform=lambda: uniform,
    )
    return narrator, spans


def registry(narrator: Narrator) -> CollectorRegistry:
    """Its metrics, which are on."""
    assert narrator.metrics is not None
    return narrator.metrics.registry


class Scrape:
    """All samples as they were at one moment: the registry is read once, however much is asked."""

    def __init__(self, narrator: Narrator) -> None:
        self._values = {
            (each.name, frozenset(each.labels.items())): each.value
            for family in registry(narrator).collect()
            for each in family.samples
        }

    def sample(self, name: MetricName, suffix: str = "", **labels: str) -> float:
        """The value of one sample; 0 where there is none."""
        return self._values.get((f"{name}{suffix}", frozenset(labels.items())), 0.0)

    def total(self, name: MetricName) -> float:
        """The sum of a metric's samples over their labels."""
        return math.fsum(value for (each, _), value in self._values.items() if each == name)


def events_of(engine: Engine, job_id: str) -> list[dict[str, Any]]:
    """The story of a job so far, decoded."""
    return [
        {"event": each.name, **msgspec.json.decode(each.data)}
        for each in engine.log(job_id).entries()
    ]


def check_end(narrator: Narrator, engine: Engine, *, restored: bool = False) -> None:
    """What holds when every job has ended, or waits for another process.

    The counts of an engine that has `restored` jobs begin in the middle.
    """
    core = engine._core
    records = engine.find(JobFilter(), limit=1000).jobs
    left = {each.id for each in records if each.state not in TERMINAL}
    for record in records:
        assert record.id not in left or (core.journal.durable and record.state in WAITING), record
        check_story(events_of(engine, record.id), record)
    assert core.free_slots == core.settings.concurrency
    assert len(core.queue) <= len(left)
    assert set(core.entries) == left
    if narrator.metrics is not None and not left and not restored:
        check_counts(narrator, kept=len(core.kept))


def check_counts(narrator: Narrator, *, kept: int) -> None:
    """No count has drifted when every job has ended, and `kept` of them are kept."""
    total = Scrape(narrator).total
    assert total(MetricName.FINISHED) == total(MetricName.SUBMITTED)
    assert total(MetricName.RUNNING) == total(MetricName.RETRYING) == 0
    assert total(MetricName.QUEUE_DEPTH) == total(MetricName.DEFERRED) == 0
    assert total(MetricName.RETAINED_JOBS) == kept


def check_story(events: list[dict[str, Any]], record: JobRecord) -> None:
    """A story is dense, goes the ways that the table allows, and ends once, by `state`, `end`."""
    first = events[0]["seq"] if events else 1
    assert [each["seq"] for each in events] == [*range(first, first + len(events))]
    states = [each for each in events if each["event"] == StreamEvent.STATE]
    if first == 1:
        assert states[0]["state"] == State.QUEUED
    for before, after in pairwise(states):
        legal = TRANSITIONS[State(before["state"])].values()
        # a deferred job is told as queued twice: when it is made, and when it is queued
        assert after["state"] in legal or (before["state"] == after["state"] == State.QUEUED)
    names = Counter(each["event"] for each in events)
    if record.state not in TERMINAL:
        assert names[StreamEvent.END] == 0
        return
    assert names[StreamEvent.END] == 1
    told, end = events[-2:]
    assert (told["event"], end["event"]) == (StreamEvent.STATE, StreamEvent.END)
    for each in (told, end):
        assert (each["state"], each["reason"]) == (record.state, record.reason)
    assert end["result"] == record.result
    assert end["failure"] == (record.failure and record.failure.model_dump(mode="json"))


def _state(state: str, reason: str | None) -> str:
    return f"{state}/{reason}" if reason else str(state)

"""A story whose messages are emitted as log records too."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceFlags, TraceState
from opentelemetry.util.types import Attributes

from narration import narrate
from narration.events import NarrationEvent
from narration.hub import Narration, OpenStory
from narration.log_events import LogEvents, record_of
from narration.logs import NarrationHandler, install_logs
from narration.story import HANDOFF_LIMIT
from telemetry import names
from tests.narration.serving import bounded


class Kept(LogRecordProcessor):
    """Keeps the records; `also` runs at each."""

    def __init__(self, also: Callable[[], object] = lambda: None) -> None:
        self.records: list[ReadWriteLogRecord] = []
        self._also = also

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Keep it."""
        self.records.append(log_record)
        self._also()

    def shutdown(self) -> None:
        """Nothing to shut down."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits."""
        return True

    @property
    def bodies(self) -> list[Any]:
        """What was said, in order."""
        return [each.log_record.body for each in self.records]


class Bench:
    """A narration whose log events are kept."""

    def __init__(self, kept: Kept | None = None, *, provider: TracerProvider | None = None) -> None:
        self.kept = kept or Kept()
        self.dropped = 0
        self.logs = LoggerProvider(shutdown_on_exit=False)
        self.logs.add_log_record_processor(self.kept)
        self.narration = Narration(
            provider or TracerProvider(shutdown_on_exit=False),
            log_events=LogEvents(self.logs.get_logger(names.SCOPE), dropped=self._drop),
        )

    def _drop(self, count: int) -> None:
        self.dropped += count

    def told(self) -> list[dict[str, Any]]:
        """The narration in the log of the story."""
        opened = self.narration.find("job-1")
        assert isinstance(opened, OpenStory)
        entries = opened.log.entries()
        return [json.loads(each.data) for each in entries if each.name == "narration"]

    def sampled(self) -> list[tuple[Any, bool]]:
        """What was said, and whether its span is marked as sampled."""
        records = [each.log_record for each in self.kept.records]
        return [(each.body, TraceFlags(each.trace_flags or 0).sampled) for each in records]

    def tell(self, work: Callable[[], object]) -> None:
        """Tell a story on a loop, in which `work` happens; its log events are emitted after it."""

        async def run() -> None:
            with self.narration.story("job-1", actor="shop"):
                work()
            await asyncio.sleep(0)

        bounded(run())


def said(text: str, *, at: str = "2026-01-01T00:00:00.000000Z") -> NarrationEvent:
    """A message of no span."""
    return NarrationEvent(
        at=at,
        job_id="job-1",
        kind="narrate",
        level="info",
        actor="shop",
        action="say",
        text=text,
        fields={},
        attempt=1,
    )


def everything() -> None:
    """Spans, events, an exception and narration, all of which have a fast road."""
    span = trace.get_current_span()
    span.add_event("seen", {"n": 1})
    narrate("load", "Loading {shelf}", shelf="oak", cute="psst", story="Once")
    span.record_exception(ValueError("empty"))
    narrate("warned", "careful", level="warn")


def test_each_message_that_is_stored_is_emitted_in_order() -> None:
    bench = Bench()
    bench.tell(everything)

    told = bench.told()
    assert len(told) == 4
    assert bench.kept.bodies == [each["text"] for each in told]
    assert [each.log_record.attributes["narration.seq"] for each in bench.kept.records] == [  # type: ignore[index]  # there are some
        each["seq"] for each in told
    ]


def test_the_stream_tells_the_same_as_without_log_events() -> None:
    def told(narration: Narration) -> list[dict[str, Any]]:
        async def run() -> list[dict[str, Any]]:
            with narration.story("job-1", actor="shop"):
                everything()
            opened = narration.find("job-1")
            assert opened is not None
            return [json.loads(each.data) for each in opened.log.entries()]

        varies = ("at", "trace_id", "span_id")
        return [
            {k: v for k, v in each.items() if k not in varies and k != "fields"}
            for each in asyncio.run(run())
        ]

    provider = TracerProvider(shutdown_on_exit=False)
    assert told(Bench().narration) == told(Narration(provider))


def test_a_message_says_its_event_severity_and_place() -> None:
    bench = Bench()
    bench.tell(lambda: narrate("warned", "careful", level="warn", shelf="oak"))
    (told,), (kept,) = bench.told(), bench.kept.records
    record = kept.log_record

    assert record.event_name == "narration.message"
    assert (record.severity_number, record.severity_text) == (SeverityNumber.WARN, "WARN")
    assert (f"{record.trace_id:032x}", f"{record.span_id:016x}") == (
        told["trace_id"],
        told["span_id"],
    )
    assert bench.sampled() == [("careful", True)]
    assert dict(record.attributes or {}) == {
        "shelf": "oak",
        "job.id": "job-1",
        "job.attempt": 0,
        "narration.seq": told["seq"],
        "narration.kind": "narrate",
        "narration.actor": "shop",
        "narration.action": "warned",
    }


def test_a_story_without_a_loop_is_emitted_at_once() -> None:
    bench = Bench()
    with bench.narration.story("job-1", actor="shop"):
        everything()

        assert len(bench.kept.records) == 4


def test_what_a_loop_has_left_behind_is_emitted_by_the_next_one() -> None:
    kept = Kept()
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(kept)
    events = LogEvents(logs.get_logger(names.SCOPE))
    events.take(said("early"), TraceFlags.get_default(), lambda _: None)  # it never turns again
    events.take(said("late"), TraceFlags.get_default(), lambda emit: emit())

    assert kept.bodies == ["early", "late"]


def test_what_a_third_party_may_not_show_is_not_emitted() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    bench = Bench(provider=provider)

    def work() -> None:
        with provider.get_tracer("thirdparty").start_as_current_span("q", attributes={"sql": "x"}):
            pass

    bench.tell(work)

    assert bench.kept.bodies[0] == "q started"
    assert "sql" not in dict(bench.kept.records[0].log_record.attributes or {})


def test_a_field_does_not_hide_what_is_ours_to_say() -> None:
    bench = Bench()
    bench.tell(lambda: trace.get_current_span().add_event("a", {"job.id": "other", "n": 9}))
    attributes = dict(bench.kept.records[0].log_record.attributes or {})

    assert (attributes["job.id"], attributes["n"]) == ("job-1", 9)


def test_it_is_not_narrated_again_by_the_providers_own_processor() -> None:
    bench = Bench()
    install_logs(bench.logs)
    bench.tell(everything)

    assert len(bench.told()) == len(bench.kept.records) == 4


def test_what_an_applications_processor_logs_is_told_in_no_story() -> None:
    root, handler = logging.getLogger(), NarrationHandler()
    bench = Bench(Kept(also=lambda: logging.getLogger("shop").error("a record has come")))
    root.addHandler(handler)
    try:
        bench.tell(everything)
    finally:
        root.removeHandler(handler)

    assert len(bench.told()) == 4


def test_an_applications_processor_may_use_the_span_that_was_spoken_on() -> None:
    bench = Bench(Kept(also=lambda: trace.get_current_span().set_attribute("seen", 1)))
    bench.tell(everything)  # emitted under the span's lock, it would wait for ever

    assert len(bench.kept.records) == 4


def test_a_processor_that_raises_costs_records_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ValueError("broken")

    bench = Bench(Kept(also=fail))
    bench.tell(everything)

    assert len(bench.told()) == 4
    assert bench.dropped == 4
    assert caplog.text.count("was not emitted as a log record") == 1


def test_a_burst_that_the_loop_has_no_time_for_is_bounded_and_counted() -> None:
    bench = Bench()

    def work() -> None:
        for number in range(HANDOFF_LIMIT + 5):
            narrate("step", "step {number}", number=number)

    bench.tell(work)

    assert (len(bench.kept.records), bench.dropped) == (HANDOFF_LIMIT, 5)


class Whim(Sampler):
    """Samples what is called `kept`, and nothing else."""

    def should_sample(  # noqa: PLR0917 - the signature is the SDK's
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """By the name alone."""
        return SamplingResult(Decision.RECORD_AND_SAMPLE if name == "kept" else Decision.DROP)

    def get_description(self) -> str:
        """A name for it."""
        return "Whim"


def test_a_record_has_the_flags_of_its_span() -> None:
    provider = TracerProvider(sampler=Whim(), shutdown_on_exit=False)
    bench = Bench(provider=provider)

    def work() -> None:
        narrate("outside", "outside")
        with provider.get_tracer("shop").start_as_current_span("kept"):
            narrate("inside", "inside")
        narrate("outside", "outside")

    bench.tell(work)

    outside = ("outside", False)
    assert bench.sampled()[:3] == [outside, ("kept started", True), ("inside", True)]
    assert bench.sampled()[-1] == outside


def test_an_unsampled_story_is_emitted() -> None:
    bench = Bench(provider=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    bench.tell(everything)

    assert len(bench.kept.records) == 4
    assert not any(sampled for _, sampled in bench.sampled())


@given(st.integers(min_value=-(10**9), max_value=10**11))
def test_a_time_that_otlp_cannot_tell_is_left_out(at_s: int) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)
    event = said("a", at=at.strftime("%Y-%m-%dT%H:%M:%S.000001Z"))
    record = record_of(event, TraceFlags.get_default(), observed_ns=1)
    expected = at_s * 10**9 + 1000

    assert record.timestamp == (expected if 0 <= expected < 2**64 else None)
    assert (record.trace_id, record.span_id) == (0, 0)

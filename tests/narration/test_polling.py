import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import Event, Span, TracerProvider
from opentelemetry.sdk.util import BoundedList

from narration.processor import NarrationSpanProcessor
from narration.scope import current_scope
from telemetry.names import DropReason, Kind
from tests.narration.otel import Told, provider_of, run_all

NEVER_S = 3_600.0


class Polled:
    """A provider whose spans are polled; with the default interval only when the test says so."""

    def __init__(self, *, interval_s: float = NEVER_S, max_events: int = 128) -> None:
        self.provider = provider_of(max_events=max_events)
        self.processor = NarrationSpanProcessor(live=False, poll_interval_s=interval_s)
        self.provider.add_span_processor(self.processor)


@pytest.fixture
def polled() -> Iterator[Callable[..., Polled]]:
    made: list[Polled] = []

    def make(**options: Any) -> Polled:
        made.append(Polled(**options))
        return made[-1]

    yield make
    for each in made:
        each.provider.shutdown()
    until(lambda: poll_threads() == [])


def start(provider: TracerProvider, told: Told) -> Span:
    span = provider.get_tracer("shop").start_span("work", told.context)
    assert isinstance(span, Span)
    return span


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def poll_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "narration-poll"]


def test_events_are_told_while_the_span_lives(polled: Callable[..., Polled]) -> None:
    poll = polled(interval_s=0.01)
    told = Told()
    span = start(poll.provider, told)

    span.add_event("step")

    until(lambda: told.lines == ["span_start work", "event step"])


def test_a_flush_polls_at_once(polled: Callable[..., Polled]) -> None:
    poll = polled()
    told = Told()
    span = start(poll.provider, told)
    span.add_event("step")

    assert poll.provider.force_flush()

    assert told.lines == ["span_start work", "event step"]


def test_what_was_not_polled_is_told_at_the_end_and_nothing_twice(
    polled: Callable[..., Polled],
) -> None:
    poll = polled()
    told = Told()
    span = start(poll.provider, told)
    span.add_event("first")
    poll.provider.force_flush()
    span.add_event("last")
    span.end()
    span.add_event("late")
    poll.provider.force_flush()

    assert told.lines == ["span_start work", "event first", "event last", "span_end work"]


@pytest.mark.parametrize("limit", [0, 4])
def test_events_that_were_dropped_before_a_poll_are_told_as_missed(
    polled: Callable[..., Polled], limit: int
) -> None:
    poll = polled(max_events=limit)
    told = Told(attempt=2)
    span = start(poll.provider, told)
    for _ in range(2):
        for n in range(10):
            span.add_event(f"{n}")
        poll.provider.force_flush()

    kept = [f"event {n}" for n in range(10 - limit, 10)]
    assert told.lines == ["span_start work", *2 * ["dropped dropped", *kept]]
    missed = [event for event in told.log.events if event.kind == Kind.DROPPED]
    assert [event.fields for event in missed] == 2 * [{"count": 10 - limit}]
    assert missed[0].attempt == 2
    assert missed[0].span_id == f"{span.get_span_context().span_id:016x}"
    assert told.counts.dropped_by == {DropReason.OVERFLOW: 2 * (10 - limit)}


class Racing(BoundedList):  # type: ignore[type-arg]  # generic only for the type checker
    """Another thread adds events just while the poll reads."""

    def __init__(self, maxlen: int, *, before: bool) -> None:
        super().__init__(maxlen)
        self.before = before
        self.to_add: list[object] = []

    def __iter__(self) -> Iterator[Any]:
        copied = list(super().__iter__())
        while self.to_add:
            self.append(self.to_add.pop(0))
        return super().__iter__() if self.before else iter(copied)


@pytest.mark.parametrize("before", [True, False])
def test_a_span_that_changes_while_it_is_read_is_read_again(
    polled: Callable[..., Polled],
    before: bool,
) -> None:
    poll = polled(max_events=4)
    told = Told()
    span = start(poll.provider, told)
    racing = span._events = Racing(4, before=before)
    for n in range(4):
        span.add_event(f"{n}")
    racing.to_add = [Event("4"), Event("5")]

    poll.provider.force_flush()
    poll.provider.force_flush()

    assert told.lines[1:] == ["dropped dropped", *(f"event {n}" for n in (2, 3, 4, 5))]


def test_threads_that_outrun_the_poll_have_each_event_told_once_or_counted_as_missed(
    polled: Callable[..., Polled],
) -> None:
    poll = polled(interval_s=0.001, max_events=64)
    told = Told()
    span = start(poll.provider, told)

    def say(thread: int) -> None:
        for n in range(500):
            span.add_event(f"{thread}-{n}")

    run_all(*[lambda thread=thread: say(thread) for thread in range(4)])
    span.end()

    heard = [event for event in told.log.events if event.kind == Kind.EVENT]
    missed = [event.fields["count"] for event in told.log.events if event.kind == Kind.DROPPED]
    assert len({event.action for event in heard}) == len(heard)
    assert len(heard) + sum(missed) == 2_000
    assert told.lines[-1] == "span_end work"


def test_there_is_no_thread_while_there_is_nothing_to_poll(polled: Callable[..., Polled]) -> None:
    poll = polled(interval_s=0.01)
    assert poll_threads() == []

    spans = [start(poll.provider, Told()) for _ in range(3)]
    assert len(poll_threads()) == 1
    assert all(thread.daemon for thread in poll_threads())

    for span in spans:
        span.end()
    until(lambda: poll_threads() == [])

    start(poll.provider, Told()).end()
    until(lambda: poll_threads() == [])


def test_a_span_that_is_dropped_without_an_end_is_not_polled_for_ever(
    polled: Callable[..., Polled],
) -> None:
    poll = polled(interval_s=0.01)
    start(poll.provider, Told())
    gc.collect()

    until(lambda: poll_threads() == [])
    assert poll.processor._poller._watched == {}


def test_the_thread_does_not_carry_the_story_that_began_it(
    polled: Callable[..., Polled], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    bare = threading.Thread.start

    def instrumented(self: threading.Thread) -> None:
        if self.name == "narration-poll":
            seen.append(current_scope())
        bare(self)

    monkeypatch.setattr(threading.Thread, "start", instrumented)
    poll = polled()
    told = Told()

    token = otel_context.attach(told.context)
    try:
        start(poll.provider, told).end()
    finally:
        otel_context.detach(token)

    assert seen == [None]


def test_after_a_shutdown_a_span_is_still_told_at_its_end(polled: Callable[..., Polled]) -> None:
    poll = polled()
    told = Told()
    span = start(poll.provider, told)
    span.add_event("step")
    poll.provider.shutdown()
    assert told.lines == ["span_start work", "event step"]

    later = start(poll.provider, told)
    later.add_event("more")
    later.end()

    assert told.lines[2:] == ["span_start work", "event more", "span_end work"]
    until(lambda: poll_threads() == [])


def test_a_story_that_raises_is_counted_and_the_others_are_polled(
    polled: Callable[..., Polled],
) -> None:
    class Unclear(Span):
        @property
        def events(self) -> tuple[Event, ...]:
            raise RuntimeError("no")

    poll = polled()
    broken, told = Told(), Told()
    span = start(poll.provider, broken)
    span.__class__ = Unclear
    start(poll.provider, told).add_event("lost with its span")
    other = start(poll.provider, told)
    other.add_event("step")

    poll.provider.force_flush()

    assert "event step" in told.lines
    assert broken.counts.dropped_by == {DropReason.ERROR: 1}

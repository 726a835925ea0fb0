import asyncio
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import Span
from opentelemetry.sdk.util import BoundedList

from narration import formatting
from narration.processor import install
from narration.story import Consumer, Make, Story
from tests.narration.otel import Told, exporting, provider_of, run_all


@pytest.fixture
def fast_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Interruptible(Story):
    """Gives another thread every chance to end the span just before an event is handed off."""

    __slots__ = ("ended", "handing_off")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.handing_off = threading.Event()
        self.ended = threading.Event()

    def put(self, make: Make, *args: Any) -> None:
        """Hand off late."""
        if make is formatting.span_event:
            self.handing_off.set()
            self.ended.wait(0.2)  # in vain, if the span cannot end meanwhile
        super().put(make, *args)
        if make is formatting.span_ended:
            self.ended.set()


def test_a_span_cannot_end_between_the_append_and_the_hand_off_of_its_event() -> None:
    told, provider = Told(story=Interruptible), provider_of()
    install(provider)
    exported = exporting(provider)
    story = told.story
    assert isinstance(story, Interruptible)
    span = provider.get_tracer("shop").start_span("work", told.context)

    def end() -> None:
        story.handing_off.wait(10)
        span.end()

    run_all(lambda: span.add_event("step"), end)

    assert told.lines == ["span_start work", "event step", "span_end work"]
    assert [event.name for event in exported()[0].events] == ["step"]


class Narrow(BoundedList):  # type: ignore[type-arg]  # generic only for the type checker
    """Lets another thread end the span just before an event is appended."""

    def __init__(self, appending: threading.Event, ended: threading.Event) -> None:
        super().__init__(128)
        self.appending, self.ended = appending, ended

    def append(self, item: Any) -> None:
        """Append late."""
        self.appending.set()
        self.ended.wait(0.2)  # in vain, if the span cannot end meanwhile
        super().append(item)


def test_a_span_cannot_end_between_the_look_whether_it_lives_and_the_append() -> None:
    told, provider = Told(), provider_of()
    install(provider)
    span = provider.get_tracer("shop").start_span("work", told.context)
    assert isinstance(span, Span)
    appending, ended = threading.Event(), threading.Event()
    span._events = Narrow(appending, ended)

    def end() -> None:
        appending.wait(10)
        span.end()
        ended.set()

    run_all(lambda: span.add_event("step"), end)

    assert told.lines == ["span_start work", "event step", "span_end work"]


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.filterwarnings("ignore")
def test_whatever_the_threads_do_the_story_has_what_the_trace_has_and_ends_last() -> None:
    provider = provider_of(max_events=1_000)
    install(provider)
    exported = exporting(provider)
    for run in range(60):
        told = Told()
        span = provider.get_tracer("shop").start_span("work", told.context)

        def say(span: Any = span) -> None:
            for _ in range(20):
                span.add_event("step")

        run_all(say, say, span.end)

        kept = len(exported()[run].events)
        assert told.lines == ["span_start work", *["event step"] * kept, "span_end work"]


def test_eight_threads_lose_no_event_and_keep_each_threads_order() -> None:
    provider = provider_of(max_events=16)
    install(provider)

    async def story_of_eight() -> Told:
        told = Told(consumer=Consumer(asyncio.get_running_loop()))
        span = provider.get_tracer("shop").start_span("work", told.context)

        def say(thread: int) -> None:
            for n in range(500):
                span.add_event(f"{thread}", {"n": n})

        await asyncio.to_thread(
            run_all, *[lambda thread=thread: say(thread) for thread in range(8)]
        )
        span.end()
        return told

    told = asyncio.run(story_of_eight())

    said: dict[str, deque[int]] = {}
    for event in told.log.events[1:-1]:
        said.setdefault(event.action, deque()).append(event.fields["n"])
    assert Counter(map(len, said.values())) == {500: 8}
    assert all(list(numbers) == sorted(numbers) for numbers in said.values())
    assert told.lines[-1] == "span_end work"

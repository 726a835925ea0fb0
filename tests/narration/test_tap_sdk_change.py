"""An open change of the SDK lets spans be edited while they end; the tap must not lose the edit."""

from typing import Any

import pytest
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.trace import Span, SpanProcessor

from narration.processor import install
from tests.narration.otel import Told, exporting, provider_of


class Editor(SpanProcessor):
    """Adds an event to a span that is ending."""

    def _on_ending(self, span: Span) -> None:
        span.add_event("edited")


@pytest.fixture
def editable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK as it would be: `_add_event` takes what is said during `_on_ending`."""

    def add_event(self: Any, event: Any) -> None:
        with self._lock:
            if self._end_time is None or getattr(self, "_ending", False):
                self._events.append(event)

    def end(self: Any, end_time: int | None = None) -> None:
        with self._lock:
            self._end_time = 1
        self._ending = True
        self._span_processor._on_ending(self)
        self._ending = False
        self._span_processor.on_end(self._readable_span())

    monkeypatch.setattr(sdk_trace.Span, "_add_event", add_event)
    monkeypatch.setattr(sdk_trace.Span, "end", end)


@pytest.mark.usefixtures("editable")
def test_an_event_that_the_sdk_takes_while_the_span_ends_is_exported_and_told() -> None:
    told, provider = Told(), provider_of()
    processor = install(provider)
    provider.add_span_processor(Editor())
    exported = exporting(provider)

    provider.get_tracer("shop").start_span("work", told.context).end()

    assert processor.live
    assert [event.name for event in exported()[0].events] == ["edited"]
    assert told.lines == ["span_start work", "event edited", "span_end work"]


def test_an_event_that_the_sdk_refuses_while_the_span_ends_is_not_told() -> None:
    told, provider = Told(), provider_of()
    install(provider)
    provider.add_span_processor(Editor())
    exported = exporting(provider)

    provider.get_tracer("shop").start_span("work", told.context).end()

    assert exported()[0].events == ()
    assert told.lines == ["span_start work", "span_end work"]

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import Event, Span, SpanProcessor

from narration import canary
from narration.processor import NarrationSpanProcessor, install
from tests.narration.otel import Told, exporting, provider_of


def test_the_tap_fits_the_sdk_that_is_installed() -> None:
    assert canary.fault(NarrationSpanProcessor) is None


HOSTILE_ENVIRONMENTS = [
    {"OTEL_SPAN_EVENT_COUNT_LIMIT": "1"},
    {"OTEL_SPAN_EVENT_COUNT_LIMIT": "0"},
    {"OTEL_TRACES_SAMPLER": "always_off"},
    {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
    {"OTEL_SDK_DISABLED": "true"},
    {"OTEL_ATTRIBUTE_COUNT_LIMIT": "0", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "0"},
    {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "0"},
    {"OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true"},
]


@pytest.mark.parametrize("environment", HOSTILE_ENVIRONMENTS, ids=str)
def test_no_variable_fails_the_canary(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert canary.fault(NarrationSpanProcessor) is None


@pytest.mark.parametrize("environment", HOSTILE_ENVIRONMENTS, ids=str)
def test_no_variable_lets_the_canary_pass_untested(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert canary.fault(lambda: NarrationSpanProcessor(live=False)) is not None


def another_road(monkeypatch: pytest.MonkeyPatch) -> None:
    """`add_event` no longer goes through `_add_event`."""

    def add_event(self: Any, name: str, attributes: Any = None, timestamp: Any = None) -> None:
        if self._end_time is None:
            self._events.append(Event(name, attributes, timestamp))

    monkeypatch.setattr(Span, "add_event", add_event)


def another_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are kept elsewhere than in `_events`."""

    def add_event(self: Any, event: Any) -> None:
        self.__dict__.setdefault("_kept", []).append(event)

    monkeypatch.setattr(Span, "_add_event", add_event)
    monkeypatch.setattr(
        Span, "events", property(lambda self: tuple(self.__dict__.get("_kept", ())[-2:]))
    )
    monkeypatch.setattr(Span, "_readable_span", lambda self: self)


def another_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span ends without taking `_lock`."""

    def end(self: Any, end_time: int | None = None) -> None:
        self._end_time = 1
        self._span_processor.on_end(self._readable_span())

    monkeypatch.setattr(Span, "end", end)


def another_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is no longer kept in `_end_time`, so that late events look live to the tap."""

    def end(self: Any, end_time: int | None = None) -> None:
        with self._lock:
            self._ended_at = 1
        self._span_processor.on_end(self._readable_span())

    def add_event(self: Any, event: Any) -> None:
        with self._lock:
            if not hasattr(self, "_ended_at"):
                self._events.append(event)

    monkeypatch.setattr(Span, "end", end)
    monkeypatch.setattr(Span, "_add_event", add_event)


def no_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span's class cannot be changed."""

    def refuse(self: Any, name: str, value: Any) -> None:
        if name == "__class__":
            raise TypeError("no")
        object.__setattr__(self, name, value)

    monkeypatch.setattr(Span, "__setattr__", refuse, raising=False)


@pytest.mark.parametrize("breaks", [another_road, another_list, another_lock, another_end, no_swap])
def test_an_sdk_that_the_tap_does_not_fit_is_found_and_polled(
    breaks: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    breaks(monkeypatch)
    told, provider = Told(), provider_of()

    processor = install(provider, poll_interval_s=60)
    with provider.get_tracer("shop").start_as_current_span("work", told.context) as span:
        span.add_event("step")
    provider.shutdown()

    assert not processor.live
    assert "span events are polled" in caplog.text
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    assert told.lines == ["span_start work", "event step", "span_end work"]


def test_a_processor_that_cannot_even_be_made_is_a_fault() -> None:
    def make() -> SpanProcessor:
        raise ZeroDivisionError("no")

    assert canary.fault(make) == "ZeroDivisionError: no"


def test_the_canary_leaves_no_trace_in_the_application(caplog: pytest.LogCaptureFixture) -> None:
    told, provider = Told(), provider_of()
    exported = exporting(provider)
    token = otel_context.attach(told.context)
    try:
        with caplog.at_level(logging.DEBUG):
            install(provider)
    finally:
        otel_context.detach(token)

    assert caplog.records == []
    assert exported() == ()
    assert told.lines == []
    assert logging.getLogger("opentelemetry.sdk.trace").filters == []

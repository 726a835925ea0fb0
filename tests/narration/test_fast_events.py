"""Events with plain attributes are made directly, and are those that the SDK makes."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, SpanLimits, TracerProvider

from narration import fast_events
from narration.fast_events import clean_event, fault
from narration.processor import install
from narration.scope import with_scope
from tests.narration.otel import Told

LIMITS = SpanLimits(max_event_attributes=4, max_attribute_length=SpanLimits.UNSET)
CLEAN = st.text(max_size=5) | st.integers() | st.floats(allow_nan=False) | st.booleans()
ODD = st.none() | st.binary(max_size=3) | st.lists(st.integers(), max_size=2)


def made_by_the_sdk(attributes: Any) -> Event:
    return Event(
        name="read",
        attributes=BoundedAttributes(
            LIMITS.max_event_attributes,
            attributes,
            max_value_len=LIMITS.max_attribute_length,
            immutable=True,
        ),
        timestamp=7,
    )


@given(st.none() | st.dictionaries(st.text(max_size=4), CLEAN | ODD, max_size=6))
def test_what_is_made_directly_is_what_the_sdk_makes(attributes: dict[str, Any] | None) -> None:
    event = clean_event(LIMITS, "read", attributes, 7)

    if event is not None:
        expected = made_by_the_sdk(attributes)
        assert type(event) is Event
        assert (event.name, event.timestamp) == (expected.name, expected.timestamp)
        assert dict(event.attributes or {}) == dict(expected.attributes or {})
        assert vars(event).keys() == vars(expected).keys()


@pytest.mark.parametrize(
    "attributes",
    [
        {"a": None},
        {"a": [1]},
        {"a": b"x"},
        {"": 1},
        {1: "x"},
        {f"k{n}": n for n in range(5)},
        (("a", 1),),
    ],
)
def test_what_needs_a_look_is_left_to_the_sdk(attributes: Any) -> None:
    assert clean_event(LIMITS, "read", attributes, 7) is None


def test_a_limit_on_lengths_leaves_all_to_the_sdk() -> None:
    limits = SpanLimits(max_attribute_length=3)

    assert clean_event(limits, "read", {"a": "long enough"}, 7) is None


def test_its_attributes_are_its_own_and_do_not_change() -> None:
    given_ = {"a": 1}
    event = clean_event(LIMITS, "read", given_, None)
    assert event is not None
    given_["a"] = 2

    attributes: Any = event.attributes
    assert dict(attributes) == {"a": 1}
    with pytest.raises(TypeError):
        attributes["b"] = 1
    assert event.timestamp > 0


def test_the_canary_finds_no_fault_in_this_sdk() -> None:
    assert fault() is None


def test_the_canary_tells_what_the_sdk_keeps_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    class Heavier(BoundedAttributes):
        def __init__(self, *given_: Any, **named: Any) -> None:
            super().__init__(*given_, **named)
            self.colour = "new"

    monkeypatch.setattr(fast_events, "BoundedAttributes", Heavier)

    assert "colour" in str(fault())


def test_the_canary_tells_what_it_cannot_even_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fast_events, "Event")

    assert str(fault()).startswith("NameError")


def test_a_faulty_fast_road_is_not_taken_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fast_events, "fault", lambda: "it keeps a colour")
    provider = TracerProvider(shutdown_on_exit=False)

    with caplog.at_level(logging.WARNING):
        processor = install(provider)

    assert (processor.live, processor.fast) == (True, False)
    assert "it keeps a colour" in caplog.text


@pytest.mark.parametrize("fast", [True, False])
def test_an_event_is_told_and_exported_alike_on_either_road(fast: bool) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    processor = install(provider, fast=fast)
    told = Told()
    span: Any = provider.get_tracer("jobs").start_span("work", with_scope(told.scope))

    span.add_event("read", {"shard": 3, "state": "ok"}, 7)
    span.add_event("odd", {"shards": [1, 2]})

    assert processor.fast is fast
    assert [event.name for event in span.events] == ["read", "odd"]
    assert dict(span.events[0].attributes) == {"shard": 3, "state": "ok"}
    assert told.log.lines[-2:] == ["event read", "event odd"]

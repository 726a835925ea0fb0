from collections.abc import Iterator

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from narration.capture import capture
from narration.narrate import narrate
from narration.scope import current_scope, with_scope
from telemetry import names
from telemetry.clock import SystemClock
from telemetry.names import DropReason


class Hostile:
    """An object that cannot be printed or formatted."""

    def __str__(self) -> str:
        raise RuntimeError

    def __format__(self, spec: str) -> str:
        raise RuntimeError


class StoppedClock(SystemClock):
    """One second after the epoch, for ever."""

    @staticmethod
    def wall_ns() -> int:
        """Always the same."""
        return 1_000_000_000


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    provider = TracerProvider()
    yield provider
    provider.shutdown()


def _events(span: trace.Span) -> list[tuple[str, dict[str, object]]]:
    assert isinstance(span, ReadableSpan)
    return [(event.name, dict(event.attributes or {})) for event in span.events]


def test_a_message_is_told_in_its_three_voices_with_its_fields() -> None:
    with capture(actor="render") as captured:
        narrate("load", "Loading {scene}", cute="Waking {scene}", story="“{scene}!”", scene="barn")

    (said,) = captured.messages
    assert (said.kind, said.level, said.actor, said.action) == ("narrate", "info", "render", "load")
    assert (said.text, said.cute, said.story) == ("Loading barn", "Waking barn", "“barn!”")
    assert said.fields == {"scene": "barn"}


def test_a_message_names_its_own_actor_and_level() -> None:
    with capture() as captured:
        narrate("load", "Loading", actor="worker", level="warn")

    assert (captured.messages[0].actor, captured.messages[0].level) == ("worker", "warn")


def test_a_message_on_a_span_of_the_story_is_told_once_and_is_in_the_trace(
    provider: TracerProvider,
) -> None:
    with (
        capture(provider=provider, first_party=["jobs"]) as captured,
        provider.get_tracer("jobs").start_as_current_span("work") as span,
    ):
        narrate("load", "Loading {scene}", scene="barn")

    (said,) = captured.find(kind="narrate")
    assert said.span_id == f"{span.get_span_context().span_id:016x}"
    assert _events(span) == [("load", {"scene": "barn", names.NARRATION_TEXT: "Loading barn"})]


def test_a_message_on_a_span_of_nobody_is_told_and_is_in_the_trace(
    provider: TracerProvider,
) -> None:
    with (
        provider.get_tracer("server").start_as_current_span("GET /") as span,
        capture() as captured,
    ):
        narrate("load", "Loading")

    (said,) = captured.messages
    assert said.span_id == f"{span.get_span_context().span_id:016x}"
    assert [name for name, _ in _events(span)] == ["load"]


def test_a_message_never_reaches_the_story_of_another_span(provider: TracerProvider) -> None:
    tracer = provider.get_tracer("jobs")
    with capture(provider=provider) as theirs, tracer.start_as_current_span("work") as span:
        before = len(theirs.messages)
        with capture() as ours:
            narrate("load", "Loading")

        assert ours.texts == ["Loading"]
        assert len(theirs.messages) == before
        assert _events(span) == []


def test_a_message_in_a_span_that_has_ended_is_told(provider: TracerProvider) -> None:
    with capture(provider=provider) as captured:
        span = provider.get_tracer("jobs").start_span("work")
        span.end()
        with trace.use_span(span):
            narrate("load", "Loading")

    assert len(captured.find("Loading")) == 1


def test_a_message_in_an_unsampled_span_is_told() -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF)
    with capture() as captured, provider.get_tracer("jobs").start_as_current_span("work"):
        narrate("load", "Loading")
    provider.shutdown()

    assert captured.texts == ["Loading"]


def test_a_message_outside_of_any_story_is_an_event_of_its_span_only(
    provider: TracerProvider,
) -> None:
    with provider.get_tracer("jobs").start_as_current_span("work") as span:
        narrate("load", "Loading")

    assert [name for name, _ in _events(span)] == ["load"]


def test_a_message_outside_of_everything_is_nothing() -> None:
    narrate("load", "Loading")


@pytest.mark.parametrize("text", ["{missing}", "{", "}", "{} {}", "{scene!z}", "{scene:q}"])
def test_a_template_that_cannot_be_filled_is_told_as_it_is(text: str) -> None:
    with capture() as captured:
        narrate("load", text, scene=3)

    assert captured.texts == [text]


def test_a_template_cannot_reach_into_the_insides_of_a_field() -> None:
    with capture() as captured:
        narrate("load", "{scene.__class__.__init__.__globals__}", scene=Hostile())

    assert captured.texts == ["{scene.__class__.__init__.__globals__}"]


def test_fields_may_be_called_like_parameters_of_the_message() -> None:
    with capture() as captured:
        narrate("load", "{text} {action}", text="a", action="b")

    assert captured.texts == ["a b"]
    assert captured.messages[0].fields == {"text": "a", "action": "b"}


def test_a_field_cannot_pass_for_the_messages_own_attributes() -> None:
    with capture() as captured:
        narrate("load", "Loading", **{names.NARRATION_TEXT: "forged", names.NARRATION_ACTOR: "x"})

    assert captured.texts == ["Loading"]
    assert captured.messages[0].actor == "captured"
    assert captured.messages[0].fields == {}


def test_fields_of_any_kind_are_told() -> None:
    with capture() as captured:
        narrate("load", "{what}", what=Hostile(), deep={"a": [1, None]}, huge=2**70, text="\ud800")

    assert captured.messages[0].fields == {
        "what": "<unprintable Hostile>",
        "deep": {"a": [1, None]},
        "huge": str(2**70),
        "text": "\ufffd",
    }


def test_what_reaches_the_trace_can_be_exported(provider: TracerProvider) -> None:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("jobs").start_as_current_span("work"):
        narrate("load", "\ud800", what=Hostile(), huge=2**70, deep={"a": {1, 2}})

    (event,) = exporter.get_finished_spans()[0].events
    assert dict(event.attributes or {}) == {
        "what": "<unprintable Hostile>",
        "huge": str(2**70),
        "deep": {"a": (1, 2)},
        names.NARRATION_TEXT: "\ufffd",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ((None, None), {}),
        ((1, 2), {"cute": 3, "story": b"x", "level": 4, "actor": 5}),
        (("load", "x"), {"level": "loud"}),
    ],
)
def test_arguments_of_the_wrong_kind_are_told_as_text(
    arguments: tuple[tuple[object, ...], dict[str, object]],
) -> None:
    positional, options = arguments
    with capture() as captured:
        narrate(*positional, **options)  # type: ignore[arg-type]  # that is the point

    assert captured.messages[0].level == "info"


def test_a_failure_is_counted_and_not_raised() -> None:
    with capture() as captured:
        narrate("load", Hostile())  # type: ignore[arg-type]  # that is the point

    assert captured.drops == {DropReason.ERROR: 1}
    assert captured.messages == []


def test_the_time_is_the_storys_own(provider: TracerProvider) -> None:
    with (
        capture(provider=provider, clock=StoppedClock()) as captured,
        provider.get_tracer("jobs").start_as_current_span("work"),
    ):
        narrate("load", "Loading")

    assert captured.find("Loading")[0].at == "1970-01-01T00:00:01.000000Z"


def test_a_message_belongs_to_the_scope_that_is_attached_last() -> None:
    with capture() as outer:
        scope = current_scope()
        with capture() as inner:
            narrate("a", "inner")
            token = otel_context.attach(with_scope(scope)) if scope else None
            narrate("b", "outer")
            if token:
                otel_context.detach(token)

    assert (outer.texts, inner.texts) == (["outer"], ["inner"])

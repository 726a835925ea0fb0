from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, TracerProvider
from opentelemetry.trace import Status, StatusCode

from narration import formatting
from narration.capture import Captured
from narration.events import NarrationEvent
from narration.formatting import LogLine, ProcessLine
from narration.masking import MASK, masker
from narration.message import place_of
from narration.scope import Disclosure, Scope
from narration.story import Story
from telemetry import names
from telemetry.clock import SystemClock
from telemetry.names import Kind, Level, Moment

THIRD = "opentelemetry.instrumentation.sqlite3"
AT_NS = 1_700_000_000_123_456_789
AT = "2023-11-14T22:13:20.123456Z"


def _scope(*, max_bytes: int = 1_000, allowed: frozenset[str] = frozenset()) -> Scope:
    captured = Captured()
    story = Story(
        "job-1",
        log=captured,
        spans=captured,
        clock=SystemClock(),
        counters=captured,
        mask=masker(["s3cret"]),
        max_message_bytes=max_bytes,
        consumer=None,
    )
    disclosure = Disclosure(first_party=frozenset({"jobs"}), allowed=allowed)
    return Scope(story=story, actor="render", attempt=2, disclosure=disclosure)


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    provider = TracerProvider()
    yield provider
    provider.shutdown()


def _span(provider: TracerProvider, source: str, name: str = "fetch") -> Span:
    span = provider.get_tracer(source).start_span(name, start_time=AT_NS)
    assert isinstance(span, Span)
    return span


def _ended(span: Span, after_ns: int) -> ReadableSpan:
    span.end(AT_NS + after_ns)
    return span


def test_an_event_is_told_with_its_time_place_and_attributes(provider: TracerProvider) -> None:
    span = _span(provider, "jobs.render")
    told = formatting.span_event(_scope(), span, Event("saved", {"n": 3, "to": "disk"}, AT_NS))

    assert told == NarrationEvent(
        at=AT,
        job_id="job-1",
        kind="event",
        level="info",
        actor="render",
        action="saved",
        text="saved n=3 to=disk",
        fields={"n": 3, "to": "disk"},
        attempt=2,
        trace_id=f"{span.get_span_context().trace_id:032x}",
        span_id=f"{span.get_span_context().span_id:016x}",
    )


def test_a_third_party_event_shows_its_name_and_withholds_its_attributes(
    provider: TracerProvider,
) -> None:
    event = Event("query", {"db.statement": "SELECT 1", "db.rows": 2}, AT_NS)
    span = _span(provider, THIRD)

    withheld = formatting.span_event(_scope(), span, event)
    allowed = formatting.span_event(_scope(allowed=frozenset({"db.rows"})), span, event)

    assert (withheld.actor, withheld.text, withheld.fields) == ("sqlite3", "query", {})
    assert (allowed.text, allowed.fields) == ("query db.rows=2", {"db.rows": 2})


def test_a_narrated_event_is_first_party_on_any_span(provider: TracerProvider) -> None:
    attributes = {
        names.NARRATION_ACTOR: "worker",
        names.NARRATION_TEXT: "Loading barn",
        names.NARRATION_CUTE: "Waking barn",
        names.NARRATION_STORY: "“Up!”",
        names.NARRATION_LEVEL: "warn",
        "scene": "barn",
    }
    told = formatting.span_event(_scope(), _span(provider, THIRD), Event("load", attributes, AT_NS))

    assert (told.kind, told.level, told.actor, told.action) == ("narrate", "warn", "worker", "load")
    assert (told.text, told.cute, told.story) == ("Loading barn", "Waking barn", "“Up!”")
    assert told.fields == {"scene": "barn"}


def test_a_first_party_exception_is_told_with_its_message(provider: TracerProvider) -> None:
    span = _span(provider, "jobs")
    span.record_exception(ValueError("no such scene"))
    told = formatting.span_event(_scope(), span, span.events[0])

    assert (told.kind, told.level) == ("exception", "error")
    assert told.text == "ValueError: no such scene"
    assert "Traceback" not in told.text
    assert names.EXCEPTION_STACKTRACE in told.fields


def test_a_third_party_exception_shows_only_its_type(provider: TracerProvider) -> None:
    span = _span(provider, THIRD)
    span.record_exception(ValueError("near 'SELECT'"))
    told = formatting.span_event(_scope(), span, span.events[0])

    assert told.text == "ValueError"
    assert told.fields == {names.EXCEPTION_TYPE: "ValueError"}


def test_a_third_party_exception_shows_its_message_when_allowed(provider: TracerProvider) -> None:
    span = _span(provider, THIRD)
    span.record_exception(ValueError("near 'SELECT'"))
    scope = _scope(allowed=frozenset({names.EXCEPTION_MESSAGE}))

    assert formatting.span_event(scope, span, span.events[0]).text == "ValueError: near 'SELECT'"


def test_a_lifecycle_moment_is_phrased_in_three_voices(provider: TracerProvider) -> None:
    attributes: dict[str, str | float] = {
        names.JOB_OPERATION: "render",
        names.JOB_ATTEMPT: 1,
        names.JOB_RUN_S: 1.5,
    }
    event = Event(Moment.COMPLETED, attributes, AT_NS)
    told = formatting.span_event(_scope(), _span(provider, names.SCOPE), event)

    assert (told.kind, told.level, told.actor) == ("lifecycle", "info", "narrator")
    assert told.action == "completed"
    assert told.text == "render completes on attempt 1 after 1.5 s"
    assert isinstance(told.cute, str)
    assert isinstance(told.story, str)
    assert told.fields == attributes


def test_nobody_else_can_tell_a_lifecycle_moment(provider: TracerProvider) -> None:
    event = Event(Moment.COMPLETED, {}, AT_NS)

    assert formatting.span_event(_scope(), _span(provider, "jobs"), event).kind == "event"


def test_a_span_is_told_when_it_starts_and_ends(provider: TracerProvider) -> None:
    scope = _scope()
    span = _span(provider, "jobs")
    started = formatting.span_started(scope, span)
    ended = formatting.span_ended(scope, _ended(span, 12_000_000))

    assert started is not None
    assert ended is not None
    assert (started.kind, started.text, started.at) == ("span_start", "fetch started", AT)
    assert (ended.kind, ended.level, ended.text) == ("span_end", "info", "fetch ended after 12 ms")


def test_a_failed_span_says_why(provider: TracerProvider) -> None:
    span = _span(provider, "jobs")
    span.set_status(Status(StatusCode.ERROR, "ValueError: bad"))
    ended = formatting.span_ended(_scope(), _ended(span, 2_500_000_000))

    assert ended is not None
    assert ended.level == "error"
    assert ended.text == "fetch failed after 2.5 s: ValueError: bad"


def test_a_failed_third_party_span_does_not_say_why(provider: TracerProvider) -> None:
    span = _span(provider, THIRD)
    span.set_status(Status(StatusCode.ERROR, "near 'SELECT'"))
    ended = formatting.span_ended(_scope(), _ended(span, 1))

    assert ended is not None
    assert ended.text == "fetch failed after 0.001 µs"


def test_our_own_spans_are_kept_and_not_told(provider: TracerProvider) -> None:
    scope = _scope()
    span = _span(provider, names.SCOPE)

    assert formatting.span_started(scope, span) is None
    assert formatting.span_ended(scope, _ended(span, 1)) is None
    assert scope.story.spans.spans == [span]  # type: ignore[attr-defined]  # Captured's own


def test_a_child_knows_its_parent(provider: TracerProvider) -> None:
    tracer = provider.get_tracer("jobs")
    with tracer.start_as_current_span("outer") as outer:
        inner = tracer.start_span("inner")

    assert place_of(inner).parent_span_id == place_of(outer).span_id


def test_a_log_record_is_told_with_its_error() -> None:
    line = LogLine(
        logger="jobs.load",
        level=Level.WARN,
        at_ns=AT_NS,
        text="could not load",
        attributes={"scene": "barn"},
        exception_type="ValueError",
        exception_message="bad",
    )
    told = formatting.log_record(_scope(), line)

    assert (told.kind, told.level, told.actor, told.action) == ("log", "warn", "load", "log")
    assert told.text == "could not load: ValueError: bad"
    assert told.fields == {"scene": "barn", names.EXCEPTION_TYPE: "ValueError"}


def test_a_third_party_log_record_shows_its_text_and_no_more() -> None:
    line = LogLine(
        logger="urllib3.pool",
        level=Level.INFO,
        at_ns=AT_NS,
        text="retrying",
        attributes={"url": "/x"},
        exception_type="OSError",
        exception_message="refused",
    )
    told = formatting.log_record(_scope(), line)

    assert told.text == "retrying: OSError"
    assert told.fields == {names.EXCEPTION_TYPE: "OSError"}


def test_a_log_based_event_is_an_event() -> None:
    line = LogLine(
        logger="jobs",
        level=Level.INFO,
        at_ns=AT_NS,
        text="",
        attributes={"n": 1},
        event_name="page.read",
    )
    told = formatting.log_record(_scope(), line)

    assert (told.kind, told.action, told.text) == ("event", "page.read", "page.read n=1")


def test_a_line_of_a_process_is_told_with_its_true_length() -> None:
    line = ProcessLine(
        kind=Kind.STDERR, at_ns=AT_NS, actor="ffmpeg", action="stderr", text="abc", size=5_000_000
    )
    told = formatting.process_line(_scope(), line)

    assert (told.kind, told.actor, told.text) == ("stderr", "ffmpeg", "abc")
    assert told.truncated == {"bytes": 5_000_000}


def test_texts_names_and_fields_are_masked(provider: TracerProvider) -> None:
    attributes = {
        names.NARRATION_TEXT: "text s3cret",
        names.NARRATION_CUTE: "cute s3cret",
        names.NARRATION_STORY: "story s3cret",
        names.NARRATION_ACTOR: "s3cret",
        "s3cret": "s3cret",
        "url": "ftp://ann:pw@host",
        "password": "plain",
    }
    event = Event("s3cret", attributes, AT_NS)
    told = formatting.span_event(_scope(), _span(provider, "jobs"), event)

    assert "s3cret" not in msgspec.json.encode(told).decode()
    assert told.fields == {MASK: MASK, "url": f"ftp://ann:{MASK}@host", "password": MASK}


def test_a_long_text_is_cut_and_tells_its_true_length(provider: TracerProvider) -> None:
    attributes = {names.NARRATION_TEXT: "é" * 700, names.NARRATION_CUTE: "c" * 20_000}
    event = Event("load", attributes, AT_NS)
    told = formatting.span_event(_scope(), _span(provider, "jobs"), event)

    assert told.text == "é" * 500
    assert told.truncated == {"bytes": 1_400, "cute": 20_000}


def test_a_secret_at_the_cut_is_not_shown_in_half() -> None:
    line = ProcessLine(
        kind=Kind.STDOUT, at_ns=AT_NS, actor="a", action="b", text="x" * 996 + "s3cret" * 4_000
    )

    assert "s3c" not in formatting.process_line(_scope(), line).text


def test_an_actor_and_an_action_are_one_short_line(provider: TracerProvider) -> None:
    event = Event("two\nlines " + "x" * 5_000, {}, AT_NS)
    told = formatting.span_event(_scope(), _span(provider, "jobs.a\tb"), event)

    assert told.actor == "a b"
    assert told.action.startswith("two lines xxx")
    assert len(told.action.encode()) == 256


@pytest.mark.parametrize("at_ns", [None, "soon", -(10**30), 10**30, float("nan")])
def test_an_absurd_time_is_replaced_by_our_own(provider: TracerProvider, at_ns: object) -> None:
    event = Event("saved", {}, AT_NS)
    event._timestamp = at_ns  # type: ignore[assignment]  # the SDK takes what it is given
    told = formatting.span_event(_scope(), _span(provider, "jobs"), event)

    assert told.at.startswith("20")


@pytest.mark.parametrize(
    ("label", "level"),
    [
        ("warn", Level.WARN),
        ("ERROR", Level.ERROR),
        (Level.DEBUG, Level.DEBUG),
        ("loud", Level.INFO),
    ],
)
def test_an_unknown_level_counts_as_info(label: object, level: Level) -> None:
    assert formatting.level_named(label) is level


@given(
    st.text(st.characters()),
    st.dictionaries(st.text(st.characters()), st.text(st.characters()) | st.binary(), max_size=3),
)
def test_whatever_an_event_holds_can_be_encoded(name: str, attributes: dict[str, str]) -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("jobs").start_span("s")
    assert isinstance(span, Span)
    told = formatting.span_event(_scope(), span, Event(name, attributes, AT_NS))

    assert msgspec.json.encode(told)

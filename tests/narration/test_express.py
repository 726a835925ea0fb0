"""The fast road gives the same bytes as the one that formats, or leaves the message to it."""

import asyncio
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from narration import formatting
from narration.encoding import encode
from narration.express import FIELDS, TEXT_LIMIT, span_ended, span_event, span_started
from narration.hub import Limits, Narration
from narration.masking import masker
from narration.phrases import PHRASES
from narration.scope import Disclosure, Scope, with_scope
from narration.voice import Voice
from narration.voice import voice_of as voice_of_span
from telemetry import names
from telemetry.metrics import Metrics
from telemetry.names import Moment

WORDS = st.sampled_from(
    ["ok", "bearer", "Bearer", "token", "password", "key", "api_key", "eyJhbGciOi", "secret", "a b"]
)
TEXTS = st.one_of(
    WORDS,
    st.text(max_size=20),
    st.text(alphabet="abeky=:-/ @token", max_size=30),
    st.just("--password hunter2"),
    st.just("x" * (TEXT_LIMIT + 1)),
    st.sampled_from(["half \ud83c", "\ud800"]),
)
VALUES = st.one_of(
    TEXTS,
    st.integers(),
    st.floats(),
    st.booleans(),
    st.lists(st.integers(), max_size=2),
    st.binary(max_size=4),
)
NAMES = st.one_of(st.sampled_from(["shard", "state", "my_token", "pwd", "x.y", ""]), TEXTS)
FIELD_SETS = st.dictionaries(NAMES, VALUES, max_size=FIELDS + 1)
SOURCES = st.sampled_from(["jobs", "jobs.inner", "requests", names.SCOPE])


class Bench:
    """A story on a loop, with one span of `source` in it."""

    def __init__(self, source: str = "jobs", **options: Any) -> None:
        self.narration = Narration(
            counters=Metrics(),
            mask=masker(options.pop("secrets", ())),
            limits=Limits(**options),
        )
        self.told = self.narration.open_story("job-1")
        self.scope = Scope(
            story=self.told.story,
            actor="render",
            attempt=2,
            disclosure=Disclosure(first_party=frozenset({"jobs"})),
        )
        provider = TracerProvider(shutdown_on_exit=False)
        self.span = provider.get_tracer(source).start_span("work", context=with_scope(self.scope))
        self.voice = voice_of_span(self.scope, self.span)  # type: ignore[arg-type]  # an SDK span

    @property
    def lines(self) -> list[bytes]:
        """What is in the log."""
        return [entry.data for entry in self.told.log.entries()]


def bench(source: str = "jobs", **options: Any) -> Bench:
    """One made on a loop, as a server's is."""

    async def make() -> Bench:
        return Bench(source, **options)

    return asyncio.run(make())


def formatted(event: Any) -> bytes:
    """The bytes of the slow road, as the first of a log."""
    event.seq = 1
    return encode(event)


def told_fast(made: Bench, event: Any) -> bytes | None:
    """What the fast road stored; None if it left the event to the other."""
    assert isinstance(made.voice, Voice)
    returned = span_event(made.voice, made.span, event)  # type: ignore[arg-type]
    if returned is not None:
        assert made.lines == []
        return None
    (line,) = made.lines
    return line


@given(source=SOURCES, name=NAMES, fields=FIELD_SETS)
@example(source="jobs", name="run", fields={"argv": "--password hunter2"})
@example(source="jobs", name="auth", fields={"scheme": "bearer", "next": "abc"})
@example(source="jobs", name="bearer", fields={"x": "abc"})
@example(source="jobs", name="run", fields={"xpwd": "abc"})
@example(source="jobs", name="my_token", fields={" ": "abc"})
@example(source="jobs", name="my_token", fields={"=x": "abc"})
def test_an_event_is_told_as_formatting_tells_it(
    source: str, name: str, fields: dict[str, Any]
) -> None:
    made = bench(source)
    made.span.add_event(name, fields)
    (event,) = made.span.events  # type: ignore[attr-defined]

    expected = formatted(formatting.span_event(made.scope, made.span, event))  # type: ignore[arg-type]

    assert told_fast(made, event) in {None, expected}


@given(
    name=NAMES,
    text=TEXTS,
    extra=st.fixed_dictionaries(
        {},
        optional={
            names.NARRATION_CUTE: TEXTS,
            names.NARRATION_STORY: TEXTS,
            names.NARRATION_ACTOR: TEXTS,
            names.NARRATION_LEVEL: TEXTS,
        },
    ),
    fields=FIELD_SETS,
)
def test_what_is_narrated_is_told_as_formatting_tells_it(
    name: str, text: str, extra: dict[str, str], fields: dict[str, Any]
) -> None:
    made = bench(names.SCOPE)
    made.span.add_event(name, {**fields, **extra, names.NARRATION_TEXT: text})
    (event,) = made.span.events  # type: ignore[attr-defined]

    expected = formatted(formatting.span_event(made.scope, made.span, event))  # type: ignore[arg-type]

    assert told_fast(made, event) in {None, expected}


@given(source=st.sampled_from(["jobs", "requests"]), name=NAMES, fields=FIELD_SETS)
def test_a_spans_start_and_end_are_told_as_formatting_tells_them(
    source: str, name: str, fields: dict[str, Any]
) -> None:
    made = bench(source)
    assert isinstance(made.voice, Voice)
    made.span.update_name(name)
    made.span.set_attributes(fields)
    expected = [
        formatting.span_started(made.scope, made.span),  # type: ignore[arg-type]
    ]
    made.span.end()
    readable = made.span._readable_span()  # type: ignore[attr-defined]
    expected.append(formatting.span_ended(made.scope, readable))

    returned = [
        span_started(made.voice, made.span),  # type: ignore[arg-type]
        span_ended(made.voice, readable),
    ]

    fast = [slow for slow, made_slowly in zip(expected, returned, strict=True) if not made_slowly]
    for sequence, event in enumerate(fast, start=1):
        assert event is not None
        event.seq = sequence
    assert made.lines == [encode(event) for event in fast]


PLAIN = st.sampled_from(["render", 'nor\'mal "x"', 3, 0.25, 61.0, False])


@given(
    moment=st.sampled_from(list(Moment)),
    values=st.lists(VALUES | PLAIN, min_size=6, max_size=6)
    | st.lists(PLAIN, min_size=6, max_size=6),
    secrets=st.sampled_from([(), ("hunter2",), ("render",), ("comfy chair",), ("render is",)]),
)
@example(moment=Moment.QUEUED, values=["x", "y", 1], secrets=("job.priority",))
@example(moment=Moment.QUEUED, values=["x", "y", 1], secrets=("queued",))
@example(moment=Moment.QUEUED, values=["x", "y", 1], secrets=("narrator",))
@example(moment=Moment.QUEUED, values=["x", 'say "y"', 1], secrets=('say "y", 1',))
def test_a_moment_is_told_as_formatting_tells_it(
    moment: Moment, values: list[Any], secrets: tuple[str, ...]
) -> None:
    made = bench(names.SCOPE, secrets=secrets)
    fields = dict(zip(PHRASES[moment].attributes, values, strict=False))
    made.span.add_event(moment.value, fields)
    (event,) = made.span.events  # type: ignore[attr-defined]

    expected = formatted(formatting.span_event(made.scope, made.span, event))  # type: ignore[arg-type]

    assert told_fast(made, event) in {None, expected}


@pytest.mark.parametrize("secrets", [(), ("hunter2",)])
def test_a_moment_that_goes_well_takes_the_fast_road(secrets: tuple[str, ...]) -> None:
    made = bench(names.SCOPE, secrets=secrets)
    values: tuple[Any, ...] = ("render", 2, 3, 0.25)
    fields: dict[str, Any] = dict(zip(PHRASES[Moment.STARTED].attributes, values, strict=True))
    made.span.add_event(Moment.STARTED.value, fields)
    (event,) = made.span.events  # type: ignore[attr-defined]

    line = told_fast(made, event)

    assert line is not None
    assert b'"attempt":2' in line


@pytest.mark.parametrize(
    ("name", "fields"),
    [("chunk read", {"shard": 3, "state": "ok"}), ("done", {}), ("rate", {"of": 0.25, "ok": True})],
)
def test_a_plain_event_takes_the_fast_road(name: str, fields: dict[str, Any]) -> None:
    made = bench()
    made.span.add_event(name, fields)
    (event,) = made.span.events  # type: ignore[attr-defined]

    assert told_fast(made, event) is not None


def test_a_third_partys_attributes_do_not_pass_on_the_fast_road() -> None:
    made = bench("requests")
    made.span.add_event("sent", {"http.url": "private"})
    (event,) = made.span.events  # type: ignore[attr-defined]

    line = told_fast(made, event)

    assert line is not None
    assert b"private" not in line


def test_a_configured_secret_is_masked_though_it_is_one_word() -> None:
    made = bench(secrets=["hunter2secretword"])
    made.span.add_event("login", {"with": "hunter2secretword"})
    (event,) = made.span.events  # type: ignore[attr-defined]
    assert isinstance(made.voice, Voice)

    returned = span_event(made.voice, made.span, event)  # type: ignore[arg-type]

    assert returned is not None
    assert b"hunter2secretword" not in formatted(returned)


def test_a_story_with_a_low_limit_has_no_fast_road() -> None:
    assert bench(message_bytes=1024).voice is None

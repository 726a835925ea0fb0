import gc
import math
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer
from opentelemetry.trace.span import TraceState

from narration.span_record import (
    EventRecord,
    SpanRecord,
    decode_record,
    encode_record,
    event_of,
    record_of,
    to_readable,
)
from narration.spans import LOOSE_LIMIT, OPEN_EVENTS_LIMIT, SpanLog
from telemetry import names

RESOURCE = Resource({"service.name": "test"})


class _Sink(SpanProcessor):
    """What the story does with its spans: tells the log of starts and ends."""

    def __init__(self, log: SpanLog) -> None:
        self.log = log

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.log.started(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.log.ended(span)


def tracer_into(log: SpanLog, scope: str = "handler", **limits: int) -> Tracer:
    provider = TracerProvider(
        shutdown_on_exit=False, span_limits=SpanLimits(**limits), resource=RESOURCE
    )
    provider.add_span_processor(_Sink(log))
    return provider.get_tracer(scope)


def made(**changes: Any) -> SpanRecord:
    fields: dict[str, Any] = {
        "trace_id": "0" * 31 + "1",
        "span_id": "0" * 15 + "2",
        "parent_span_id": None,
        "parent_is_remote": False,
        "trace_state": "",
        "flags": 1,
        "name": "child",
        "kind": 0,
        "start": 1_000,
        "end": None,
        "status": 0,
        "description": None,
        "scope": "handler",
        "scope_version": "",
        "attributes": {},
        "events": [],
        "links": [],
    }
    return SpanRecord(**{**fields, **changes})


# --- running and finished -------------------------------------------------------------------------


def test_a_running_span_is_there_with_its_events_so_far() -> None:
    log = SpanLog(10)
    span = tracer_into(log).start_span("work", attributes={"a": 1})
    span.add_event("first", {"b": 2}, timestamp=5)
    [record] = log.records()

    assert (record.name, record.end, record.attributes) == ("work", None, {"a": 1})
    assert record.events == [EventRecord("first", 5, {"b": 2})]


def test_a_finished_span_is_there_as_it_ended() -> None:
    log = SpanLog(10)
    span = tracer_into(log).start_span("work", start_time=10)
    span.set_attribute("late", value=True)
    span.set_status(StatusCode.ERROR, "broken")
    span.end(20)
    [record] = log.records()

    assert (record.start, record.end) == (10, 20)
    assert (record.status, record.description) == (StatusCode.ERROR.value, "broken")
    assert record.attributes == {"late": True}


def test_spans_are_told_in_the_order_of_their_starts() -> None:
    log = SpanLog(10)
    tracer = tracer_into(log)
    tracer.start_span("second", start_time=20).end(30)
    tracer.start_span("running", start_time=15)
    tracer.start_span("first", start_time=10).end(90)

    assert [record.name for record in log.records()] == ["first", "running", "second"]


def test_making_compact_changes_nothing_that_is_told() -> None:
    log = SpanLog(10)
    tracer_into(log).start_span("work", attributes={"list": [1, 2]}).end()
    before = log.records()
    log.compact()

    assert log.records() == before


def test_many_finished_spans_are_made_compact_at_once() -> None:
    log = SpanLog(1000)
    tracer = tracer_into(log)
    for _ in range(LOOSE_LIMIT + 1):
        tracer.start_span("s").end()

    assert log.size < 200 * (LOOSE_LIMIT + 1)
    assert len(log.records()) == LOOSE_LIMIT + 1


def pack(log: SpanLog) -> None:
    for _ in log.pack():
        pass


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=20), st.booleans())
def test_packing_changes_nothing_that_is_told(spans: list[tuple[int, bool]], twice: bool) -> None:
    log = SpanLog(100)
    tracer = tracer_into(log)
    for number, (start, is_running) in enumerate(spans):
        span = tracer.start_span(f"span {number}", start_time=start, attributes={"n": number})
        span.add_event("event", {"list": [1, 2]})
        if not is_running:
            span.end()
    before, count = log.records(), len(log)
    pack(log)
    if twice:
        pack(log)

    assert log.records() == before
    assert len(log) == count


def test_a_span_that_ends_after_the_packing_is_kept_too() -> None:
    log = SpanLog(10)
    tracer = tracer_into(log)
    late = tracer.start_span("late", start_time=20)
    tracer.start_span("early", start_time=10).end()
    steps = log.pack()
    next(steps)
    late.end()
    list(steps)
    tracer.start_span("last", start_time=30).end()

    assert [record.name for record in log.records()] == ["early", "late", "last"]
    assert all(record.end is not None for record in log.records())


def test_many_packed_spans_take_little_room() -> None:
    log = SpanLog(1000)
    tracer = tracer_into(log)
    for number in range(500):
        tracer.start_span("work", attributes={"number": number, "path": "/a/b/c"}).end()
    log.compact()
    compact = log.size
    pack(log)

    assert log.size < compact / 2


def test_a_span_that_was_never_seen_to_start_is_kept_when_it_ends() -> None:
    log = SpanLog(10)
    log.ended_record(made(end=5_000))

    assert [record.end for record in log.records()] == [5_000]


# --- bounds ---------------------------------------------------------------------------------------


def test_beyond_the_limit_spans_are_counted_and_not_kept() -> None:
    log = SpanLog(8)
    tracer = tracer_into(log)
    spans = [tracer.start_span(f"{number}", start_time=number + 1) for number in range(10)]
    for span in spans:
        span.end()

    assert log.dropped == 4
    assert [record.name for record in log.records()] == ["0", "1", "2", "3", "4", "5"]


def test_a_handler_with_many_spans_leaves_room_for_our_own() -> None:
    log = SpanLog(8)
    handlers, ours = tracer_into(log), tracer_into(log, names.SCOPE)
    for _ in range(20):
        handlers.start_span("sql").end()
    ours.start_span(names.SPAN_ATTEMPT).end()

    assert names.SPAN_ATTEMPT in [record.name for record in log.records()]


def test_a_span_whose_parts_raise_costs_no_other_span() -> None:
    class Nasty:
        def __str__(self) -> str:
            raise RuntimeError("no")

    log = SpanLog(10)
    tracer = tracer_into(log)
    tracer.start_span("good").end()
    bad = tracer.start_span("bad")
    bad.update_name(Nasty())  # type: ignore[arg-type] # a mistake that the SDK lets through
    running = [record.name for record in log.records()]
    bad.end()

    assert running == ["good"]
    assert [record.name for record in log.records()] == ["good"]
    assert log.dropped == 1


def a_job(tracer: Tracer) -> None:
    """Three spans and ten events, with the attributes that the engine sets."""
    identity = "6f1c2b1e-8a4d-4c5e-9f00-0123456789ab"
    job = tracer.start_span(
        "job render",
        attributes={
            names.JOB_ID: identity,
            names.JOB_OPERATION: "render",
            names.JOB_PRIORITY: "normal",
        },
    )
    context = trace.set_span_in_context(job)
    tracer.start_span(names.SPAN_WAIT, context).end()
    attempt = tracer.start_span(
        names.SPAN_ATTEMPT,
        context,
        attributes={names.JOB_ID: identity, names.JOB_OPERATION: "render", names.JOB_ATTEMPT: 1},
    )
    for frame in range(7):
        attempt.add_event(
            "frame", {names.NARRATION_TEXT: f"Rendering frame {frame} of seven", "frame": frame}
        )
    attempt.end()
    for _ in range(3):
        job.add_event(names.Moment.STARTED, {names.JOB_ATTEMPT: 1, names.JOB_WAIT_S: 0.25})
    job.end()


def test_a_finished_job_takes_less_than_three_kilobytes() -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    logs = [SpanLog(1000) for _ in range(50)]
    tracers = [tracer_into(log, names.SCOPE) for log in logs]
    gc.collect()
    tracemalloc.start()
    try:
        for tracer, log in zip(tracers, logs, strict=True):
            a_job(tracer)
            log.compact()
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] / len(logs)
    finally:
        tracemalloc.stop()

    assert kept < 3_000
    assert logs[0].size < 2_000


# --- threads --------------------------------------------------------------------------------------


def test_a_span_may_change_in_other_threads_while_it_is_read() -> None:
    log = SpanLog(10)
    span = tracer_into(log, max_span_attributes=16).start_span("busy")
    stop = threading.Event()
    failures: list[BaseException] = []

    def change(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            span.set_attribute(f"{number}-{count % 40}", count)
            span.add_event("tick", {"count": count})

    def read() -> None:
        try:
            for _ in range(300):
                [record] = log.records()
                assert len(record.attributes) <= 16
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    read()
    stop.set()
    for thread in threads:
        thread.join()

    assert failures == []


# --- any value ------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=8)
    | st.text(st.characters(codec=None), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(st.text(st.characters(codec=None), max_size=5), VALUES, max_size=4)


@given(ATTRIBUTES, ATTRIBUTES)
def test_whatever_the_sdk_lets_through_is_kept(
    attributes: dict[str, Any], of_event: dict[str, Any]
) -> None:
    log = SpanLog(10)
    span = tracer_into(log).start_span("odd", attributes=attributes)
    span.add_event("event", of_event)
    running = log.records()
    span.end()
    finished = log.records()

    assert [len(running), len(finished), log.dropped] == [1, 1, 0]
    assert len(finished[0].attributes) == len(attributes.keys() - {""})


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"\x00\xff", b"\x00\xff"),
        (None, None),
        (2**70, str(2**70)),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
        ([1, [None, b"x"]], [1, [None, b"x"]]),
        ({"a": {"b": [1.5]}}, {"a": {"b": [1.5]}}),
        (math.inf, math.inf),
    ],
)
def test_odd_values_are_kept_as_near_as_can_be(value: Any, kept: Any) -> None:
    log = SpanLog(10)
    tracer_into(log).start_span("odd", attributes={"value": value}).end()

    assert log.records()[0].attributes == {"value": kept}


def test_nan_stays_nan() -> None:
    log = SpanLog(10)
    tracer_into(log).start_span("odd", attributes={"value": math.nan}).end()

    assert math.isnan(log.records()[0].attributes["value"])


@pytest.mark.parametrize("timestamp", [-5, 2**80, math.nan, math.inf, "soon"])
def test_a_time_that_is_none_does_no_harm(timestamp: Any) -> None:
    log = SpanLog(10)
    span = tracer_into(log).start_span("odd")
    span.add_event("when", timestamp=timestamp)
    [record] = log.records()

    assert record.events[0].at in {0, 2**63 - 1}


# --- child processes ------------------------------------------------------------------------------


def test_a_span_of_a_child_process_is_told_while_it_runs() -> None:
    log = SpanLog(10)
    record = made()
    log.started_record(record)
    log.event_record(record.trace_id, record.span_id, EventRecord("tick", 1_500, {"n": 1}))
    [running] = log.records()

    assert (running.end, running.events) == (None, [EventRecord("tick", 1_500, {"n": 1})])

    ended = made(end=2_000, events=[EventRecord("tick", 1_500, {"n": 1})])
    log.ended_record(ended)

    assert log.records() == [ended]


def test_the_events_of_a_running_child_are_bounded_and_the_rest_counted() -> None:
    log = SpanLog(10)
    record = made()
    log.started_record(record)
    for number in range(OPEN_EVENTS_LIMIT + 3):
        log.event_record(record.trace_id, record.span_id, EventRecord("tick", number, {}))
    [running] = log.records()

    assert (len(running.events), running.dropped_events) == (OPEN_EVENTS_LIMIT, 3)
    assert running.events[0].at == 3


def test_an_event_of_an_unknown_span_is_ignored() -> None:
    log = SpanLog(10)
    log.event_record("0" * 31 + "9", "0" * 15 + "9", EventRecord("tick", 1, {}))

    assert log.records() == []


def test_what_a_killed_child_left_open_is_closed_and_handed_out() -> None:
    log = SpanLog(10)
    ours = tracer_into(log).start_span("in this process")
    record = made(attributes={"a": 1})
    log.started_record(record)
    log.event_record(record.trace_id, record.span_id, EventRecord("tick", 1_500, {}))
    [closed] = log.close_open(
        9_000,
        status=StatusCode.ERROR,
        description="killed by SIGKILL",
        attributes={names.JOB_OUTCOME: "lost"},
    )

    assert (closed.end, closed.status, closed.description) == (9_000, 2, "killed by SIGKILL")
    assert closed.attributes == {"a": 1, names.JOB_OUTCOME: "lost"}
    assert [event.name for event in closed.events] == ["tick"]
    assert closed in log.records()
    assert ours.is_recording()
    assert log.close_open(9_500) == []


def test_a_clock_that_was_set_back_closes_no_span_before_its_start() -> None:
    log = SpanLog(10)
    log.started_record(made(start=5_000))

    assert [record.end for record in log.close_open(4_000)] == [5_000]


def test_children_beyond_the_limit_are_counted() -> None:
    log = SpanLog(4)
    for number in range(5):
        log.started_record(made(span_id=f"{number + 1:016x}"))

    assert (len(log), log.dropped) == (3, 2)


# --- there and back -------------------------------------------------------------------------------


def full_span() -> ReadableSpan:
    """A span that has all a span can have."""
    ended: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    provider = TracerProvider(
        shutdown_on_exit=False,
        resource=RESOURCE,
        span_limits=SpanLimits(max_events=2, max_span_attributes=2, max_links=2),
    )
    provider.add_span_processor(Keep())
    remote = SpanContext(
        7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("v", "1")])
    )
    span = provider.get_tracer("scope", "1.2").start_span(
        "full",
        trace.set_span_in_context(trace.NonRecordingSpan(remote)),
        kind=SpanKind.CONSUMER,
        attributes={"a": 1, "b": [True], "c": "x"},
        links=[Link(remote, {"l": 1}), Link(SpanContext(9, 10, is_remote=False))],
    )
    for number in range(3):
        span.add_event("e", {"n": number}, timestamp=100 + number)
    span.set_status(StatusCode.ERROR, "broken")
    span.end()
    return ended[0]


def test_a_record_becomes_the_span_that_it_was_made_of() -> None:
    span = full_span()
    record = decode_record(encode_record(record_of(span)))
    again = to_readable(record, RESOURCE)

    assert record_of(again) == record_of(span)
    assert again.to_json() == span.to_json()
    assert (again.dropped_attributes, again.dropped_events) == (1, 1)
    assert again.parent is not None
    assert again.parent.is_remote


def test_an_event_becomes_a_record() -> None:
    assert event_of(full_span().events[0]) == EventRecord("e", 101, {"n": 1})

"""Resume rules: what a client may ask, and which place in the log it means."""

import pytest

from narration.events import EndEvent, NarrationEvent, OutputEvent
from narration.log import NarrationLog
from narration.resume import InvalidStreamQuery, Position, StreamQuery, parse_query, resolve
from narration.view import Format, Gap, Mode, View
from telemetry.names import Level

AT = "2026-01-01T00:00:00.000000Z"
UNKNOWN = Gap(from_=None, to=None, reason="unknown_id")


def a_log(events: int, *, limit: int = 100, ended: bool = False) -> NarrationLog:
    """A log with `events` outputs, the last of which is the end where it is `ended`."""
    log = NarrationLog("j", epoch="e", limit=limit, schedule=lambda _: None)
    for _ in range(events - ended):
        log.append(OutputEvent(at=AT, chunk="x"))
    if ended:
        log.append(EndEvent(at=AT, state="completed", marker="[DONE]"))
    return log


def evicted(from_: int, to: int) -> Gap:
    return Gap(from_=from_, to=to, reason="evicted")


def test_a_query_without_parameters_is_the_whole_story_followed() -> None:
    assert parse_query({}) == StreamQuery(
        mode=Mode.HUMAN,
        format=Format.JSON,
        level=Level.TRACE,
        from_=None,
        tail=None,
        follow=True,
        last_event_id=None,
    )


def test_every_parameter_is_taken() -> None:
    query = parse_query(
        {
            "mode": "cute",
            "format": "ndjson",
            "level": "warn",
            "from": "3",
            "tail": "0",
            "follow": "false",
            "last_event_id": "e.4",
            "other": "x",
        }
    )

    assert query.view == View(mode=Mode.CUTE, format=Format.NDJSON, level=Level.WARN)
    assert (query.from_, query.tail, query.follow, query.last_event_id) == (3, 0, False, "e.4")


@pytest.mark.parametrize(
    ("field", "value", "legal"),
    [
        ("mode", "silly", ("human", "cute", "story")),
        ("mode", "", ("human", "cute", "story")),
        ("format", "xml", ("json", "text", "ndjson")),
        ("level", "INFO", ("trace", "debug", "info", "warn", "error", "fatal")),
        ("follow", "maybe", ("true", "false")),
        *(
            (field, value, ("a whole number from 0 to 999999999999999999",))
            for field in ("from", "tail")
            for value in ("-1", "x", "", "1.5", "1e9", " 1", "²", "9" * 19, "9" * 5000)
        ),
    ],
)
def test_a_value_that_means_nothing_is_refused_with_the_legal_ones(
    field: str, value: str, legal: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidStreamQuery) as caught:
        parse_query({field: value})

    assert (caught.value.field, caught.value.value) == (field, value)
    assert caught.value.legal == legal
    assert len(str(caught.value)) < 300


def test_the_header_goes_before_its_query_form_and_an_empty_id_is_none() -> None:
    assert parse_query({"last_event_id": "q"}, "h").last_event_id == "h"
    assert parse_query({"last_event_id": "q"}, "").last_event_id == "q"
    assert parse_query({"last_event_id": ""}, None).last_event_id is None


def test_a_stream_begins_with_the_first_event() -> None:
    assert resolve(a_log(5), StreamQuery()) == Position(start=1)
    assert resolve(a_log(0), StreamQuery()) == Position(start=1)


def test_a_join_after_evictions_says_what_is_missing() -> None:
    assert resolve(a_log(9, limit=4), StreamQuery()) == Position(start=6, gaps=(evicted(1, 5),))


def test_an_id_resumes_after_its_event() -> None:
    assert resolve(a_log(5), StreamQuery(last_event_id="e.3")) == Position(start=4)
    assert resolve(a_log(5), StreamQuery(last_event_id="e.5")) == Position(start=6)


def test_an_id_resumes_after_evicted_events_with_a_gap() -> None:
    log = a_log(9, limit=4)

    assert resolve(log, StreamQuery(last_event_id="e.2")) == Position(
        start=6, gaps=(evicted(3, 5),)
    )
    assert resolve(log, StreamQuery(last_event_id="e.5")) == Position(start=6)


@pytest.mark.parametrize(
    "text", ["other.3", "e.6", "e.0", "garbage", "e.99999999999999999999", "\0"]
)
def test_an_id_that_means_nothing_here_gets_the_whole_story_after_a_gap(text: str) -> None:
    assert resolve(a_log(5), StreamQuery(last_event_id=text)) == Position(start=1, gaps=(UNKNOWN,))


def test_an_unknown_id_on_an_evicted_log_is_told_both() -> None:
    assert resolve(a_log(9, limit=4), StreamQuery(last_event_id="?")) == Position(
        start=6, gaps=(UNKNOWN, evicted(1, 5))
    )


def test_the_last_id_of_an_ended_story_is_complete() -> None:
    log = a_log(5, ended=True)

    assert resolve(log, StreamQuery(last_event_id="e.5")).complete
    assert not resolve(log, StreamQuery(last_event_id="e.4")).complete
    assert not resolve(log, StreamQuery(last_event_id="e.6")).complete
    assert not resolve(a_log(5), StreamQuery(last_event_id="e.5")).complete


def test_from_includes_its_event() -> None:
    log = a_log(9, limit=4)

    assert resolve(log, StreamQuery(from_=7)) == Position(start=7)
    assert resolve(log, StreamQuery(from_=4)) == Position(start=6, gaps=(evicted(4, 5),))
    assert resolve(log, StreamQuery(from_=0)) == Position(start=6, gaps=(evicted(1, 5),))


def test_from_a_sequence_that_is_not_there_yet_waits_and_is_complete_if_it_never_comes() -> None:
    assert resolve(a_log(5), StreamQuery(from_=50)) == Position(start=50)
    assert resolve(a_log(5, ended=True), StreamQuery(from_=50)) == Position(start=50, complete=True)


def test_tail_gives_the_newest_events() -> None:
    log = a_log(9, limit=4)

    assert resolve(log, StreamQuery(tail=2)) == Position(start=8)
    assert resolve(log, StreamQuery(tail=4)) == Position(start=6)
    assert resolve(log, StreamQuery(tail=0)) == Position(start=10)
    assert resolve(a_log(3), StreamQuery(tail=10**17)) == Position(start=1)
    assert resolve(log, StreamQuery(tail=99)) == Position(start=6, gaps=(evicted(1, 5),))


def test_tail_of_nothing_on_an_ended_story_is_complete() -> None:
    assert resolve(a_log(3, ended=True), StreamQuery(tail=0)).complete
    assert not resolve(a_log(3, ended=True), StreamQuery(tail=1)).complete


def test_tail_counts_what_the_view_shows() -> None:
    log = a_log(0)
    for level in ("warn", "debug", "warn", "debug", "debug"):
        log.append(
            NarrationEvent(
                at=AT,
                job_id="j",
                kind="narrate",
                level=level,
                actor="a",
                action="b",
                text="c",
                fields={},
                attempt=1,
            )
        )

    assert resolve(log, StreamQuery(tail=2, level=Level.WARN)).start == 1
    assert resolve(log, StreamQuery(tail=1, level=Level.WARN)).start == 3
    assert resolve(log, StreamQuery(tail=2)).start == 4


def test_the_most_exact_way_to_ask_goes_first() -> None:
    log = a_log(9)

    assert resolve(log, StreamQuery(last_event_id="e.7", from_=2, tail=1)).start == 8
    assert resolve(log, StreamQuery(from_=2, tail=1)).start == 2

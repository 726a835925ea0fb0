"""A stream over several connections: when it comes back, with what, and when it gives up."""

import json
from collections.abc import Callable
from typing import Any, Unpack

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client.errors import Busy, Gap, NotFound, Unreachable, Unreadable
from app.client.events import DrainingEvent, EndEvent, GapEvent, OutputEvent, UnknownEvent
from app.client.resume import Following, Reconnect, StreamOptions
from app.client.steps import Request
from tests.clients.python.scripted import (
    Given,
    Scripted,
    always,
    answer,
    end,
    event,
    output,
    script,
    streamed,
)

BROKEN = httpx.RemoteProtocolError
GAP = event("gap", '{"from": 1, "to": 2, "reason": "evicted"}')


def follow(scripted: Scripted, **options: Unpack[StreamOptions]) -> Following:
    following = Following(scripted.link, "v1/jobs/a/stream", options)
    scripted.run(following.steps())
    return following


def chunks(scripted: Scripted) -> list[Any]:
    return [each.chunk for each in scripted.delivered if isinstance(each, OutputEvent)]


def ids(scripted: Scripted) -> list[str | None]:
    return [request.headers.get("last-event-id") for request in scripted.requests]


def test_it_ends_after_the_end() -> None:
    one = script([streamed(), output(1) + end(2)])

    following = follow(one)

    assert [type(each) for each in one.delivered] == [OutputEvent, EndEvent]
    assert (following.last_event_id, one.given) == ("e.2", [])


@pytest.mark.parametrize("broken", [None, BROKEN("x"), httpx.ReadTimeout("x"), httpx.ReadError("")])
def test_after_a_break_it_comes_back_after_the_last_complete_event(
    broken: httpx.RequestError | None,
) -> None:
    one = script(
        [streamed(), output(1) + output(2) + output(3)[:-1], broken, streamed(), output(3) + end(4)]
    )

    follow(one)

    assert chunks(one) == [1, 2, 3]
    assert ids(one) == [None, "e.2"]


def test_it_comes_back_when_the_server_has_asked_it_to() -> None:
    one = script([streamed(), b"retry: 2500\n" + output(1), None, streamed(), end(2)])

    follow(one)

    assert one.pauses == [2.5]


def test_pauses_grow_while_nothing_comes_and_are_short_again_when_something_has() -> None:
    refused = httpx.ConnectError
    one = script(
        [
            *(streamed(), output(1), None),
            *(refused("no"), refused("no"), refused("no"), refused("no")),
            *(streamed(), None),
            *(streamed(), b": keep-alive\n", None, streamed(), end(2)),
        ],
    )

    follow(one)

    assert one.pauses == [1, 2, 4, 8, 10, 10, 1]


def test_what_stands_before_a_server_that_restarts_is_waited_out() -> None:
    one = script([streamed(), output(1), None, answer(502), answer(503), streamed(), end(2)])

    follow(one)

    assert ids(one) == [None, "e.1", "e.1", "e.1"]


def test_a_server_that_says_when_to_come_back_is_obeyed() -> None:
    one = script([streamed(), None, answer(503, retry_after="7"), streamed(), end(1)])

    follow(one)

    assert one.pauses == [1, 10]  # twice 7, but no longer than the longest pause


def test_it_gives_up_when_the_server_is_away_for_too_long() -> None:
    one = script(
        [streamed(), output(1), None, *always(lambda: httpx.ConnectError("refused"))],
        streams_s=20,
    )

    with pytest.raises(Unreachable, match=r"refused.*tried 5 times.*NARRATOR_SERVER") as raised:
        follow(one)

    assert not raised.value.sent
    assert sum(one.pauses) <= 20


def test_a_server_that_is_busy_for_too_long_is_told_as_such() -> None:
    with pytest.raises(Busy):
        follow(script(always(lambda: answer(503)), streams_s=5))


def test_with_no_patience_the_first_break_is_an_error() -> None:
    with pytest.raises(Unreachable, match="closed before its end"):
        follow(script([streamed(), output(1), None], streams_s=0))


def test_a_server_that_can_be_reached_is_never_given_up() -> None:
    silent = [each for _ in range(100) for each in (streamed(), BROKEN("idle"))]
    one = script([*silent, streamed(), end(1)], streams_s=15)

    follow(one)

    assert len(one.pauses) == 100


def test_what_was_read_to_its_end_is_over_at_once() -> None:
    one = script([httpx.Response(204)])

    follow(one, last_event_id="e.9")

    assert (ids(one), one.delivered) == (["e.9"], [])


def test_a_job_that_is_gone_is_not_waited_for() -> None:
    problem = {"title": "Job not found", "detail": "there is no job 'a'"}
    one = script([streamed(), output(1), None, answer(404, json=problem)])

    with pytest.raises(NotFound, match="there is no job 'a'"):
        follow(one)


def test_a_failure_that_no_other_try_would_mend_is_told_at_once() -> None:
    one = script([httpx.UnsupportedProtocol("no such protocol")])

    with pytest.raises(Unreachable, match="no such protocol"):
        follow(one)

    assert one.pauses == []


def test_an_answer_that_is_no_stream_is_said_to_be_none() -> None:
    with pytest.raises(Unreadable, match=r"text/html.*is the address right"):
        follow(script([streamed(content_type="text/html")]))


def test_a_gap_is_an_event_unless_it_is_asked_for_as_an_error() -> None:
    told, raised = script([streamed(), GAP + end(3)]), script([streamed(), GAP + end(3)])

    follow(told)
    with pytest.raises(Gap, match=r"events 1 to 2 are missing .evicted.") as error:
        follow(raised, raise_on_gap=True)

    assert isinstance(told.delivered[0], GapEvent)
    assert (told.delivered[0].from_, told.delivered[0].to, told.delivered[0].id) == (1, 2, None)
    assert error.value.event == told.delivered[0]


def test_a_gap_that_is_said_again_after_a_break_is_told_once() -> None:
    unknown = event("gap", '{"from": null, "to": null, "reason": "unknown_id"}')
    one = script([streamed(), unknown + GAP, None, streamed(), unknown + GAP + output(3) + end(4)])

    follow(one, last_event_id="other.7")

    assert [type(each) for each in one.delivered] == [GapEvent, GapEvent, OutputEvent, EndEvent]
    assert ids(one) == ["other.7", "other.7"]


def test_draining_is_told_and_then_it_comes_back_in_that_time() -> None:
    draining = b"retry: 1500\n" + event("draining", '{"reason": "shutdown", "retry_ms": 1500}')
    one = script([streamed(), output(1) + draining, None, streamed(), end(2)])

    follow(one)

    assert [type(each) for each in one.delivered] == [OutputEvent, DrainingEvent, EndEvent]
    assert (one.pauses, ids(one)) == ([1.5], [None, "e.1"])


def test_who_asks_for_it_is_told_before_each_pause() -> None:
    heard: list[Reconnect] = []
    one = script([streamed(), output(1), None, httpx.ConnectError("no"), streamed(), end(2)])

    follow(one, on_reconnect=heard.append)

    assert [(each.pause_s, each.last_event_id, each.tries) for each in heard] == [
        (1.0, "e.1", 1),
        (2.0, "e.1", 2),
    ]
    assert "closed before its end" in heard[0].reason
    assert "no" in heard[1].reason


def test_what_on_reconnect_raises_ends_the_stream() -> None:
    def stop(_: Reconnect) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(script([streamed(), None]), on_reconnect=stop)


def test_without_following_the_close_is_the_end_and_a_break_is_not() -> None:
    one = script([streamed(), output(1), BROKEN("x"), streamed(), output(2), None])

    follow(one, follow=False)

    assert chunks(one) == [1, 2]
    assert one.requests[1].query == (("follow", "false"),)


def test_what_is_asked_of_a_stream_is_asked_again() -> None:
    one = script([streamed(), output(1), None, streamed(), end(2)])

    follow(one, mode="cute", level="info", from_seq=3, tail=5)

    asked = (("mode", "cute"), ("level", "info"), ("from", "3"), ("tail", "5"))
    assert [request.query for request in one.requests] == [asked, asked]


def test_an_event_of_a_newer_server_is_handed_over_as_it_is() -> None:
    one = script([streamed(), event("weather", "not json", id_="e.1") + end(2)])

    following = follow(one)

    (unknown, _) = one.delivered
    assert isinstance(unknown, UnknownEvent)
    assert (unknown.event, unknown.raw, unknown.id) == ("weather", "not json", "e.1")
    assert following.last_event_id == "e.2"


def test_fields_of_a_newer_server_are_in_raw_and_do_no_harm() -> None:
    body = {"seq": 1, "at": "2026-11-24T12:00:00Z", "chunk": 1, "id": 5, "raw": [], "new": {"a": 1}}
    one = script([streamed(), event("output", json.dumps(body), id_="e.1") + end(2)])

    follow(one)

    told = one.delivered[0]
    assert (told.id, told.chunk, json.loads(told.raw)) == ("e.1", 1, body)


@pytest.mark.parametrize("body", ["nonsense", '{"seq": 1}', '{"seq": "one", "at": 3, "chunk": 1}'])
def test_a_known_event_that_is_malformed_is_said_to_be(body: str) -> None:
    with pytest.raises(Unreadable, match="the event 'output' can't be read"):
        follow(script([streamed(), event("output", body)]))


# --- any break, any pieces ------------------------------------------------------------------------

STORY = [output(1), b": keep-alive\n", output(2), output(3), b": keep-alive\n", output(4), end(5)]
BREAKS: list[Callable[[], Given]] = [
    lambda: None,
    lambda: BROKEN("x"),
    lambda: httpx.ReadTimeout("x"),
]


def told_after(last_event_id: str | None) -> bytes:
    """What a server sends to who has read up to this id."""
    blocks = [b"retry: 10\n", *STORY]
    if last_event_id is not None:
        own = f"id: {last_event_id}\n".encode()
        (seen,) = [number for number, each in enumerate(blocks) if own in each]
        blocks = [blocks[0], *blocks[seen + 1 :]]
    return b"".join(blocks)


@given(
    st.lists(st.integers(0, 700), max_size=40),
    st.lists(st.integers(1, 300), min_size=1, max_size=5),
)
def test_whatever_the_breaks_and_the_pieces_every_event_comes_once_and_in_order(
    cuts: list[int], sizes: list[int]
) -> None:
    def connection(request: Request) -> list[Given]:
        body = told_after(request.headers.get("last-event-id"))
        passing = cuts.pop() if cuts else len(body)
        given: list[Given] = [streamed()]
        sent = body[:passing]
        while sent:
            size = sizes[len(sent) % len(sizes)]
            given.append(sent[:size])
            sent = sent[size:]
        return [*given, BREAKS[passing % len(BREAKS)]()]

    one = Scripted([], server=connection)

    follow(one)

    assert chunks(one) == [1, 2, 3, 4]
    assert [type(each) for each in one.delivered] == [OutputEvent] * 4 + [EndEvent]

"""The parser of event streams against WHATWG HTML, section 9.2.6."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client.sse import Message, Parser


def read(*chunks: bytes, parser: Parser | None = None) -> list[Message]:
    reader = parser or Parser()
    return [message for chunk in chunks for message in reader.feed(chunk)]


def told(*chunks: bytes) -> list[tuple[str, str]]:
    return [(each.event, each.data) for each in read(*chunks)]


def test_the_examples_of_the_text() -> None:
    stocks = b"data: YHOO\ndata: +2\ndata: 10\n\n"
    four = (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event"
    )
    empty = b"data\n\ndata\ndata\n\ndata:"
    spaces = b"data:test\n\ndata: test\n\n"

    assert told(stocks) == [("message", "YHOO\n+2\n10")]
    assert [(each.data, each.id) for each in read(four)] == [
        ("first event", "1"),
        ("second event", ""),
    ]
    assert told(empty) == [("message", ""), ("message", "\n")]
    assert told(spaces) == [("message", "test"), ("message", "test")]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_each_kind_of_line_end_ends_a_line(end: bytes) -> None:
    block = end.join([b"event: a", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""])

    assert told(block) == [("a", "1\n2"), ("message", "3")]


def test_a_line_end_that_is_cut_in_two_is_one() -> None:
    assert told(b"data: 1\r", b"\ndata: 2\r", b"\n\r", b"\n") == [("message", "1\n2")]


def test_a_carriage_return_completes_an_event_without_waiting_for_what_follows() -> None:
    assert told(b"data: 1\r\r") == [("message", "1")]


def test_no_other_character_ends_a_line() -> None:
    assert told("data: a\u2028b\x0bc\x0cd\x85e\n\n".encode()) == [
        ("message", "a\u2028b\x0bc\x0cd\x85e")
    ]


def test_one_byte_order_mark_is_left_out_at_the_beginning_only() -> None:
    mark = "\ufeff".encode()

    assert told(mark[:1], mark[1:] + b"data: 1\n\n" + mark + b"data: 2\n\ndata: 3\n\n") == [
        ("message", "1"),
        ("message", "3"),
    ]


def test_what_is_not_utf8_is_replaced() -> None:
    assert told(b"data: \xff\xe4\n\n") == [("message", "\ufffd\ufffd")]


def test_a_character_may_be_cut_in_two() -> None:
    data = "data: grün\n\n".encode()
    cut = data.index(b"\xc3") + 1

    assert told(data[:cut], data[cut:]) == [("message", "grün")]


def test_an_id_lasts_until_another_one_and_with_a_null_is_none() -> None:
    parser = Parser("before")
    first = read(b"data: 1\n\nid: a\ndata: 2\n\ndata: 3\n\nid: b\0\ndata: 4\n\n", parser=parser)

    assert [each.id for each in first] == [None, "a", None, None]
    assert parser.last_event_id == "a"


def test_an_id_of_a_block_that_was_not_completed_does_not_count() -> None:
    parser = Parser()
    read(b"id: 1\ndata: 1\n\nid: 2\ndata: 2\n", parser=parser)

    assert parser.last_event_id == "1"


def test_an_id_without_data_counts_and_dispatches_nothing() -> None:
    parser = Parser()

    assert read(b"event: x\nid: 7\n\ndata: 1\n\n", parser=parser) == [
        Message(event="message", data="1", id=None)
    ]
    assert parser.last_event_id == "7"


def test_an_empty_id_resets_it() -> None:
    parser = Parser("7")
    read(b"id\n\n", parser=parser)

    assert parser.last_event_id == ""


@pytest.mark.parametrize(
    ("line", "retry_ms"),
    [
        (b"retry: 250", 250),
        (b"retry:0", 0),
        (b"retry: -1", None),
        (b"retry: 1.5", None),
        (b"retry:", None),
        ("retry: ٣".encode(), None),
        (b"retry: " + b"9" * 5000, None),
    ],
)
def test_a_time_to_come_back_is_digits(line: bytes, retry_ms: int | None) -> None:
    parser = Parser()

    assert read(line + b"\n", parser=parser) == []
    assert parser.retry_ms == retry_ms


def test_comments_and_unknown_fields_say_nothing() -> None:
    parser = Parser()

    assert read(b": hello\n:\nfoo: 1\ndata : 2\nDATA: 3\n\n", parser=parser) == []
    assert parser.comments == 2


LINE = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["data", "event", "id", "retry", "", "other"]),
        st.sampled_from([":", ": ", ":  ", ""]),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=8),
    ),
    st.just(""),
)
STREAM = st.lists(st.tuples(LINE, st.sampled_from(["\n", "\r", "\r\n"])), max_size=40)


@given(STREAM, st.booleans(), st.lists(st.integers(0, 400), max_size=30))
def test_any_cut_into_pieces_gives_the_same(
    lines: list[tuple[str, str]], marked: bool, cuts: list[int]
) -> None:
    whole = ("\ufeff" * marked + "".join(line + end for line, end in lines)).encode()
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[start:end] for start, end in pairwise(places)]
    at_once, in_pieces, by_byte = Parser(), Parser(), Parser()

    expected = read(whole, parser=at_once)

    assert read(*pieces, parser=in_pieces) == expected
    assert read(*(bytes([each]) for each in whole), parser=by_byte) == expected
    for parser in (in_pieces, by_byte):
        assert parser.last_event_id == at_once.last_event_id
        assert parser.retry_ms == at_once.retry_ms
        assert parser.comments == at_once.comments


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))))
def test_what_was_written_is_read(texts: list[str]) -> None:
    blocks = "".join(f"id: {number}\ndata: {text}\n\n" for number, text in enumerate(texts))

    assert [(each.id, each.data) for each in read(blocks.encode())] == [
        (str(number), text) for number, text in enumerate(texts)
    ]

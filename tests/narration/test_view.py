"""Views: what one run of entries looks like in each mode, format and level."""

import json
from typing import Any

import pytest
from httpx_sse._decoders import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from narration.events import EndEvent, Event, NarrationEvent, OutputEvent, ProgressEvent, StateEvent
from narration.log import NarrationLog
from narration.reader import Reader
from narration.resume import StreamQuery
from narration.view import Draining, Format, Gap, Mode, View, document, notice, render
from telemetry.names import GapReason, Level

AT = "2026-01-01T00:00:00.000000Z"


def message(text: str = "Loading", **more: Any) -> NarrationEvent:
    known: dict[str, Any] = {"level": "info", "actor": "worker", "action": "load", "fields": {}}
    return NarrationEvent(at=AT, job_id="j", kind="narrate", text=text, attempt=1, **(known | more))


def output(chunk: Any) -> OutputEvent:
    return OutputEvent(at=AT, chunk=chunk)


def end(marker: str = "[DONE]") -> EndEvent:
    return EndEvent(at=AT, state="completed", marker=marker)


def log_of(*events: Event) -> NarrationLog:
    log = NarrationLog("j", epoch="e", limit=100, schedule=lambda _: None)
    for event in events:
        log.append(event)
    return log


def shown(view: View, *events: Event) -> str:
    log = log_of(*events)
    return render(view, log, 1, log.entries()).data.decode()


def data_of(frames: str) -> list[str]:
    """The data of each event, as a browser would dispatch it."""
    decoder = SSEDecoder()
    events = [decoder.decode(line) for line in frames.removesuffix("\n").split("\n")]
    return [event.data for event in events if event is not None]


def test_the_default_view_frames_the_bytes_of_the_log_as_they_are() -> None:
    log = log_of(message(), end())
    first, last = log.entries()

    assert render(View(), log, 1, log.entries()).data == (
        b"id: e.1\nevent: narration\ndata: " + first.data + b"\n\n"
        b"id: e.2\nevent: end\ndata: " + last.data + b"\n\n"
    )


@pytest.mark.parametrize("mode", [Mode.CUTE, Mode.STORY])
def test_a_mode_replaces_the_text_where_the_message_has_that_phrasing(mode: Mode) -> None:
    frames = shown(View(mode=mode), message(cute="Yawn", story="Once"), message("Plain"))
    texts = [json.loads(data)["text"] for data in data_of(frames)]

    assert texts == [{"cute": "Yawn", "story": "Once"}[mode.value], "Plain"]


def test_a_message_that_only_quotes_a_phrasing_keeps_its_text() -> None:
    frames = shown(View(mode=Mode.CUTE), message("x", fields={"cute": "no"}))

    assert json.loads(data_of(frames)[0])["text"] == "x"


def test_a_level_filters_narration_and_nothing_else() -> None:
    view = View(level=Level.WARN)
    log = log_of(message(), message(level="warn"), output("x"), end())

    assert render(view, log, 1, log.entries()).shown == 3
    assert "id: e.1\n" not in render(view, log, 1, log.entries()).data.decode()


def test_ndjson_is_one_object_a_line() -> None:
    lines = shown(View(format=Format.NDJSON), message("a\nb"), end()).splitlines()
    events = [json.loads(line) for line in lines]

    assert [(event["id"], event["event"]) for event in events] == [
        ("e.1", "narration"),
        ("e.2", "end"),
    ]
    assert events[0]["data"]["text"] == "a\nb"
    assert events[0]["data"]["seq"] == 1


def test_ndjson_is_filtered_by_level_too() -> None:
    lines = shown(View(format=Format.NDJSON, level=Level.WARN), message(), end()).splitlines()

    assert [json.loads(line)["id"] for line in lines] == ["e.2"]


def test_text_is_plain_lines_then_the_marker_without_names() -> None:
    frames = shown(
        View(format=Format.TEXT),
        StateEvent(at=AT, state="running"),
        message("Loading the scene"),
        ProgressEvent(at=AT, done=1),
        output("frame 1"),
        output({"n": 1}),
        end("[ERROR] a\r\nb\nc"),
    )

    assert "event:" not in frames
    assert frames.startswith("id: e.2\n")
    assert data_of(frames) == [
        "[worker    ] load           : Loading the scene",
        "frame 1",
        '{"n":1}',
        "[ERROR] a\\r\\nb\\nc",
    ]
    assert frames.splitlines()[-2] == "data: [ERROR] a\\r\\nb\\nc"


def test_text_takes_the_mode_that_is_asked_for() -> None:
    frames = shown(View(format=Format.TEXT, mode=Mode.CUTE), message(cute="Waking it"))

    assert data_of(frames) == ["[worker    ] load           : Waking it"]


@given(st.text())
def test_any_output_comes_through_text_whole_but_for_the_kind_of_its_line_breaks(
    chunk: str,
) -> None:
    frames = shown(View(format=Format.TEXT), output(chunk))
    expected = chunk.replace("\r\n", "\n").replace("\r", "\n")

    assert data_of(frames) == [expected]


@given(st.text())
def test_no_text_of_a_message_breaks_a_json_frame(text: str) -> None:
    frames = shown(View(), message(text))

    assert [json.loads(data)["text"] for data in data_of(frames)] == [text]


def test_a_gap_has_neither_id_nor_sequence() -> None:
    gap = Gap(from_=3, to=9, reason=GapReason.EVICTED)

    assert notice(View(), gap) == (b'event: gap\ndata: {"from":3,"to":9,"reason":"evicted"}\n\n')
    assert json.loads(notice(View(format=Format.NDJSON), gap)) == {
        "id": None,
        "event": "gap",
        "data": {"from": 3, "to": 9, "reason": "evicted"},
    }


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (Gap(from_=3, to=9, reason="evicted"), "Events 3 to 9 are missing here (evicted)"),
        (Gap(from_=3, to=None, reason="forgotten"), "Events 3 to the newest are missing here"),
        (Gap(from_=None, to=None, reason="unknown_id"), "This may not continue"),
    ],
)
def test_a_gap_is_told_in_text_by_the_narrator(gap: Gap, words: str) -> None:
    frame = notice(View(format=Format.TEXT), gap).decode()

    assert frame.startswith("data: [narrator  ] gap            : " + words)
    assert frame.endswith("\n\n")


def test_a_drain_carries_a_retry_line_and_no_id() -> None:
    told = Draining(reason="shutdown", retry_ms=2500)

    assert notice(View(), told) == (
        b'retry: 2500\nevent: draining\ndata: {"reason":"shutdown","retry_ms":2500}\n\n'
    )
    assert notice(View(format=Format.TEXT), told).startswith(b"retry: 2500\ndata: [narrator  ]")
    assert b"retry:" not in notice(View(format=Format.NDJSON), told)


def reading(log: NarrationLog, count: int) -> list[Reader]:
    """Readers that are attached."""
    readers = [Reader(log, StreamQuery()) for _ in range(count)]
    for each in readers:
        each.attach()
    return readers


def test_one_burst_is_rendered_once_for_all_readers_in_one_place() -> None:
    log = log_of(message(), message())
    readers = reading(log, 2)
    entries = log.entries()
    ours = render(View(), log, 1, entries)

    assert render(View(), log, 1, entries) is ours
    assert render(View(level=Level.INFO), log, 1, entries) is not ours
    assert render(View(), log, 2, entries[1:]) is not ours

    for each in readers:
        each.close()

    assert log.renderings == {}


def test_shared_renderings_are_few_and_none_where_one_reads_alone() -> None:
    log = log_of(*(message() for _ in range(10)))
    reading(log, 1)
    render(View(), log, 1, log.entries())

    assert log.renderings == {}

    reading(log, 1)
    for start in range(1, 10):
        render(View(), log, start, log.entries()[start - 1 :])

    assert len(log.renderings) == 4


def test_the_rendering_of_a_whole_long_story_is_not_kept() -> None:
    log = log_of(*(message("w" * 10_000) for _ in range(50)))
    reading(log, 2)

    assert render(View(), log, 1, log.entries()).shown == 50
    assert log.renderings == {}


def test_a_document_holds_the_story_so_far() -> None:
    log = NarrationLog("j", epoch="e", limit=3, schedule=lambda _: None)
    for _ in range(5):
        log.append(message(cute="Yawn"))
    whole = json.loads(document(View(mode=Mode.CUTE), log, 1))

    assert (whole["epoch"], whole["first"], whole["next"]) == ("e", 3, 6)
    assert [event["id"] for event in whole["events"]] == ["e.3", "e.4", "e.5"]
    assert [event["event"] for event in whole["events"]] == ["narration"] * 3
    assert {event["data"]["text"] for event in whole["events"]} == {"Yawn"}
    assert [event["id"] for event in json.loads(document(View(), log, 5))["events"]] == ["e.5"]
    assert json.loads(document(View(level=Level.ERROR), log, 9))["events"] == []


def test_each_view_has_its_content_type() -> None:
    assert {form: View(format=form).media_type for form in Format} == {
        Format.JSON: "text/event-stream",
        Format.TEXT: "text/event-stream",
        Format.NDJSON: "application/x-ndjson",
    }

"""The stream's contract over a real socket to a real server, sentence by sentence."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.server import WAIT_S, ServerProcess, serving, until
from tests.clients.wire import Frame, read, sequences, stream
from tests.plain_http import PLAIN


@pytest.fixture(scope="module", params=["app.cli.main", "tests.clients.sending_server"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server that writes streams to their connections, and one that sends them."""
    with serving(module=request.param, heartbeat_s=0.2, log_limit=2000) as started:
        yield started


@pytest.fixture(scope="module")
def told(server: ServerProcess) -> dict[str, Any]:
    """The record of a job that has ended, with one event of each kind in its story."""
    return server.ended(server.submit("talk")["id"])


@pytest.fixture(scope="module")
def path(told: dict[str, Any]) -> str:
    return str(told["links"]["stream"])


@pytest.fixture(scope="module")
def whole(server: ServerProcess, path: str) -> list[Frame]:
    """Its whole story."""
    return read(server.client, path)


@pytest.fixture
def running(server: ServerProcess, gate: Path) -> str:
    """The stream of a job that has said `before 0` and waits for the gate."""
    job = server.submit("gated", params={"gate": str(gate)})
    with stream(server.client, job["links"]["stream"]) as heard:
        heard.until("before 0")
    return str(job["links"]["stream"])


# --- events, ids, heartbeats --------------------------------------------------------------------


def test_every_event_has_an_id_with_the_seq_of_its_data_and_rises_by_one(
    whole: list[Frame],
) -> None:
    epochs = {str(frame.id).partition(".")[0] for frame in whole}

    assert len(epochs) == 1
    assert [f"{min(epochs)}.{number}" for number in range(1, len(whole) + 1)] == [
        frame.id for frame in whole
    ]
    assert sequences(whole) == list(range(1, len(whole) + 1))


def test_each_job_has_an_epoch_of_its_own(server: ServerProcess, whole: list[Frame]) -> None:
    other = read(server.client, server.submit("talk")["links"]["stream"])

    assert str(other[0].id).partition(".")[0] != str(whole[0].id).partition(".")[0]


def test_every_data_has_a_time_in_utc_with_microseconds(whole: list[Frame]) -> None:
    shape = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

    assert all(shape.fullmatch(frame.body["at"]) for frame in whole)


def test_each_kind_of_event_has_its_fields_and_none_is_called_error(whole: list[Frame]) -> None:
    fields = {frame.event: set(frame.body) - {"seq", "at"} for frame in whole}

    assert fields.pop("narration") >= {
        *("job_id", "kind", "level", "actor", "action", "text", "fields", "attempt"),
        *("trace_id", "span_id", "parent_span_id"),
    }
    assert fields == {
        "state": {"state", "reason", "attempt", "next_retry_at"},
        "progress": {"done", "total", "text"},
        "output": {"chunk"},
        "end": {"state", "reason", "result", "failure", "marker"},
    }


def test_a_story_ends_with_its_state_and_then_its_end(whole: list[Frame]) -> None:
    state, end = whole[-2:]

    assert (state.event, state.body["state"]) == ("state", "completed")
    assert (end.event, end.body["result"], end.body["marker"]) == ("end", {"ok": 1}, "[DONE]")


@pytest.mark.parametrize(("form", "escaped"), [("json", "two\nlines"), ("text", r"two\nlines")])
def test_a_failed_job_has_the_marker_of_an_error(
    server: ServerProcess, form: str, escaped: str
) -> None:
    job = server.submit("fails")

    last = read(server.client, job["links"]["stream"], format=form)[-1]

    marker = last.data if form == "text" else last.body["marker"]
    assert marker == f"[ERROR] {escaped}"


def test_a_cancelled_job_has_the_marker_of_a_cancellation(
    server: ServerProcess, running: str
) -> None:
    server.client.post(running.removesuffix("stream") + "cancel", json={})

    state, end = read(server.client, running)[-2:]

    assert (state.body["state"], end.body["state"]) == ("cancelled", "cancelled")
    assert end.body["marker"] == "[CANCELLED]"


def test_retry_is_sent_once_and_differs_between_readers(server: ServerProcess, path: str) -> None:
    retries: list[list[int]] = []
    for _ in range(8):
        with stream(server.client, path) as heard:
            heard.rest()
            retries.append(heard.parser.retries)

    assert {len(each) for each in retries} == {1}
    assert len({each[0] for each in retries}) > 1


def test_a_silent_stream_gets_comments_that_carry_no_id(
    server: ServerProcess, running: str, gate: Path
) -> None:
    silent = b""
    with contextlib.closing(raw_stream(server, running)) as connection:
        while silent.count(b"\n:") < 3:
            silent += connection.recv(4096)
    gate.touch()

    beats = silent.split(b"\n:", 1)[1]
    assert b"id:" not in beats
    assert b"data:" not in beats


def raw_stream(server: ServerProcess, path: str, *, buffer: int | None = None) -> socket.socket:
    """A connection on which a stream was asked for."""
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(WAIT_S)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def test_the_headers_are_those_of_a_stream_that_nobody_keeps_or_compresses(
    server: ServerProcess, path: str
) -> None:
    with stream(server.client, path, headers={"Accept-Encoding": "gzip, br"}) as heard:
        headers = heard.response.headers

    assert headers["content-type"].partition(";")[0] == "text/event-stream"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in headers
    assert "content-length" not in headers


def test_head_has_the_headers_and_does_not_count_as_watching(server: ServerProcess) -> None:
    job = server.submit("talk", start="on_stream")

    for asked in ("stream", "stream?follow=false", "narration"):
        answer = server.client.request(
            "GET" if asked != "stream" else "HEAD", f"/v1/jobs/{job['id']}/{asked}"
        )
        assert answer.status_code == 200
    still = server.record(job["id"])
    read(server.client, job["links"]["stream"])

    assert (still["state"], still["queue_position"]) == ("queued", None)
    assert server.ended(job["id"])["state"] == "completed"


# --- where it begins ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["header", "query"])
def test_an_id_resumes_after_its_event(
    server: ServerProcess, path: str, whole: list[Frame], form: str
) -> None:
    last = str(whole[4].id)
    if form == "header":
        heard = read(server.client, path, headers={"Last-Event-ID": last})
    else:
        heard = read(server.client, path, last_event_id=last)

    assert heard == whole[5:]


def test_the_header_goes_before_its_query_form_that_before_from_and_from_before_tail(
    server: ServerProcess, path: str, whole: list[Frame]
) -> None:
    asked: dict[str, Any] = {"last_event_id": whole[1].id, "from_": 5, "tail": 1}
    header = {"Last-Event-ID": str(whole[6].id)}

    assert read(server.client, path, headers=header, **asked) == whole[7:]
    assert read(server.client, path, **asked) == whole[2:]
    del asked["last_event_id"]
    assert read(server.client, path, **asked) == whole[4:]
    del asked["from_"]
    assert read(server.client, path, **asked) == whole[-1:]


@pytest.mark.parametrize("form", ["json", "text", "ndjson"])
def test_one_who_has_seen_the_end_gets_a_204(
    server: ServerProcess, path: str, whole: list[Frame], form: str
) -> None:
    last = {"Last-Event-ID": str(whole[-1].id)}

    answer = server.client.get(path, headers=last, params={"format": form})

    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("last", ["nonsense", "1", "deadbeef.3", ".", "\N{SNOWMAN}"])
def test_an_id_that_means_nothing_gets_a_gap_and_the_whole_story(
    server: ServerProcess, path: str, whole: list[Frame], last: str
) -> None:
    gap, *rest = read(server.client, path, last_event_id=last)

    assert (gap.event, gap.id) == ("gap", None)
    assert gap.body == {"from": None, "to": None, "reason": "unknown_id"}
    assert rest == whole


def test_an_id_of_another_job_means_nothing(server: ServerProcess, whole: list[Frame]) -> None:
    other = server.ended(server.submit("talk")["id"])["links"]["stream"]

    gap, first, *_ = read(server.client, other, last_event_id=whole[-1].id)

    assert (gap.event, first.body["seq"]) == ("gap", 1)


def test_an_id_that_means_nothing_is_answered_on_a_running_job_too(
    server: ServerProcess, running: str, gate: Path
) -> None:
    with stream(server.client, running, headers={"Last-Event-ID": "x.999"}) as heard:
        first = heard.next()
        gate.touch()
        rest = heard.rest()

    assert first.event == "gap"
    assert sequences(rest) == list(range(1, len(rest) + 1))


def test_from_includes_its_event_and_0_is_the_whole_story(
    server: ServerProcess, path: str, whole: list[Frame]
) -> None:
    assert read(server.client, path, from_=3) == whole[2:]
    assert read(server.client, path, from_=0) == whole
    assert server.client.get(path, params={"from": len(whole) + 1}).status_code == 204


def test_tail_counts_after_filtering(server: ServerProcess, path: str, whole: list[Frame]) -> None:
    shown = [frame for frame in whole if frame.body.get("level") not in {"debug", "info"}]

    assert read(server.client, path, tail=6, level="warn") == shown[-6:]
    assert read(server.client, path, tail=999) == whole


def test_tail_0_is_what_comes_from_now_on(server: ServerProcess, running: str, gate: Path) -> None:
    with stream(server.client, running, tail=0) as heard:
        assert heard.response.status_code == 200
        gate.touch()
        texts = [frame.body.get("text", "") for frame in heard.rest()]

    assert "after 0" in texts
    assert "before 0" not in texts


def test_without_follow_it_ends_with_what_is_there(server: ServerProcess, running: str) -> None:
    heard = read(server.client, running, follow="false")

    assert heard[-1].body["text"] == "before 0"
    server.client.post(running.removesuffix("stream") + "cancel", json={})


def test_what_the_log_no_longer_keeps_is_told_at_the_join(server: ServerProcess) -> None:
    """The server keeps 2,000 events of a job."""
    job = server.submit("count", params={"to": 2500, "pause_s": 0})
    server.ended(job["id"])

    gap, first, *rest = read(server.client, job["links"]["stream"])

    assert (gap.event, gap.id) == ("gap", None)
    assert gap.body == {"from": 1, "to": first.body["seq"] - 1, "reason": "evicted"}
    assert len(rest) == 1999


# --- how it looks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "greeting"),
    [("human", "Hello\nyou"), ("cute", "Hiya"), ("story", "Once there was a hello")],
)
def test_mode_replaces_the_text(server: ServerProcess, path: str, mode: str, greeting: str) -> None:
    texts = [frame.body.get("text") for frame in read(server.client, path, mode=mode)]

    assert greeting in texts
    assert "quiet" in texts  # what has one phrasing only keeps it


def test_level_is_a_minimum_and_filters_narration_only(
    server: ServerProcess, path: str, whole: list[Frame]
) -> None:
    heard = read(server.client, path, level="warn")

    assert [frame.body["text"] for frame in heard if frame.event == "narration"] == ["Hello\nyou"]
    assert [frame for frame in heard if frame.event != "narration"] == [
        frame for frame in whole if frame.event != "narration"
    ]


def test_text_is_plain_lines_and_the_marker_last(server: ServerProcess, path: str) -> None:
    heard = read(server.client, path, format="text")

    assert {frame.event for frame in heard} == {"message"}
    assert "[talk      ] greet          : Hello\nyou" in [frame.data for frame in heard]
    assert "a token\nand more" in [frame.data for frame in heard]
    assert heard[-1].data == "[DONE]"


def test_ndjson_is_an_event_a_line(server: ServerProcess, path: str, whole: list[Frame]) -> None:
    answer = server.client.get(path, params={"format": "ndjson"})

    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"id": frame.id, "event": frame.event, "data": frame.body} for frame in whole
    ]


@pytest.mark.parametrize(
    ("name", "value", "legal"),
    [
        ("mode", "loud", ["human", "cute", "story"]),
        ("format", "xml", ["json", "text", "ndjson"]),
        ("level", "deafening", ["trace", "debug", "info", "warn", "error", "fatal"]),
        ("follow", "maybe", ["true", "false"]),
        ("from", "-1", None),
        ("from", "1e3", None),
        ("tail", "many", None),
        ("tail", "9" * 400, None),
    ],
)
def test_an_unknown_value_is_a_422_that_names_the_legal_ones(
    server: ServerProcess, path: str, name: str, value: str, legal: list[str] | None
) -> None:
    for address in (path, "/v1/stream"):
        answer = server.client.get(address, params={name: value})

        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        told_legal = answer.json()["legal"][name]
        assert told_legal == legal if legal else "whole number" in told_legal[0]


def test_an_unknown_parameter_is_a_422_that_names_the_legal_ones(
    server: ServerProcess, path: str
) -> None:
    answer = server.client.get(path, params={"tali": "5"})

    assert answer.status_code == 422
    assert "tail" in json.dumps(answer.json()["legal"])


# --- the stream of all jobs ---------------------------------------------------------------------


def test_the_stream_of_all_jobs_has_ids_of_its_own_and_resumes_by_them(
    server: ServerProcess,
) -> None:
    with stream(server.client, "/v1/stream", tail=0) as heard:
        until(lambda: server.streams() > 0)
        first, second = (server.ended(server.submit("talk")["id"])["id"] for _ in "12")
        frames = [heard.next() for _ in range(6)]
    again = read(server.client, "/v1/stream", follow="false", last_event_id=frames[2].id)

    assert [frame.body["job_id"] for frame in frames] == [first] * 3 + [second] * 3
    assert [frame.body["state"] for frame in frames[:3]] == ["queued", "running", "completed"]
    assert [str(frame.id).rpartition(".")[2] for frame in frames] == [
        str(frame.body["seq"]) for frame in frames
    ]
    assert again[:3] == frames[3:]


# --- many readers, slow readers, drains ---------------------------------------------------------


def test_ten_readers_of_one_job_get_the_same_events(
    server: ServerProcess, running: str, gate: Path
) -> None:
    heard: list[list[Frame]] = []
    attached = threading.Barrier(11, timeout=WAIT_S)

    def follow() -> None:
        with (
            httpx.Client(base_url=server.url, timeout=WAIT_S, verify=PLAIN) as client,
            stream(client, running) as one,
        ):
            before = one.until("before 0")
            attached.wait()
            heard.append(before + one.rest())

    readers = [threading.Thread(target=follow) for _ in range(10)]
    for each in readers:
        each.start()
    attached.wait()
    gate.touch()
    for each in readers:
        each.join(WAIT_S)

    assert len(heard) == 10
    assert all(each == heard[0] for each in heard)
    assert heard[0][-1].event == "end"


def test_one_who_never_reads_slows_neither_the_job_nor_a_reader_and_is_told_what_it_missed(
    server: ServerProcess,
) -> None:
    """12 MB of output against a log of 2,000 events: a server that waited would never end it."""
    job = server.submit("flood", params={"chunks": 4000, "size": 3000}, start="on_stream")
    path = job["links"]["stream"]
    with contextlib.closing(raw_stream(server, path, buffer=4096)) as never:
        with stream(server.client, path) as quick:
            heard = quick.rest()
        ended = server.record(job["id"])
        never.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        received = bytearray()
        while b"event: end" not in received[-100_000:]:
            chunk = never.recv(1 << 20)
            assert chunk, "closed before the end"
            received += chunk

    assert ended["state"] == "completed"
    missing = [frame.body for frame in heard if frame.event == "gap"]
    lost = sum(gap["to"] - gap["from"] + 1 for gap in missing)
    assert len(sequences(heard)) + lost == heard[-1].body["seq"]
    assert b'"reason":"slow_reader"' in received


def test_one_who_leaves_is_let_go(server: ServerProcess, running: str) -> None:
    until(lambda: server.streams() == 0, what="the end of all streams")
    with contextlib.closing(raw_stream(server, running)):
        until(lambda: server.streams() == 1, what="the stream")

    until(lambda: server.streams() == 0, what="its end")
    server.client.post(running.removesuffix("stream") + "cancel", json={})

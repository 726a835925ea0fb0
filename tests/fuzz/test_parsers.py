"""Whatever comes in, each parser of ours gives what it promises, or the one error that it names."""

import string
from itertools import pairwise
from typing import Any, Final

import httpx
import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.context import Context

from app.access.key_text import hash_of, id_of
from app.access.keys_file import KeysFileError, entries_of, text_of
from app.cli.params import WordError, params_from
from app.client import answers, records
from app.client.errors import Refused, Unreadable
from app.client.events import Event, event_of
from app.client.sse import Message, Parser
from app.engine.runners import frames
from app.engine.runners.frames import Decoder, FrameError
from app.handlers.discovery import operations_of
from app.handlers.operation import operation
from app.http import body
from app.http.hosts import Hosts, host_part
from app.http.problems import Problem
from app.jobs.errors import InvalidCursor
from app.jobs.registry import JobFilter, JobRegistry
from narration.events import EndEvent, OutputEvent
from narration.log import NarrationLog
from narration.plain import parse_plain, plain_line
from narration.process import _Lines
from narration.resume import InvalidStreamQuery, parse_query, resolve
from telemetry.metrics import Metrics
from telemetry.names import DropReason, StreamEvent
from telemetry.propagation import extract
from tests.fuzz.conftest import Fuzz

AT: Final = "2026-01-01T00:00:00.000000Z"


def near(alphabet: str, *words: str, max_size: int = 40) -> st.SearchStrategy[str]:
    """Text of any kind, and text made of `words` and `alphabet`, which comes closer."""
    parts = st.one_of(st.sampled_from(words), st.text(alphabet, max_size=6))
    made = st.lists(parts, max_size=8).map("".join)
    return st.one_of(made, st.text(max_size=max_size))


def pieces(content: bytes, cuts: list[int]) -> list[bytes]:
    """`content` cut at these places."""
    places = sorted({min(each, len(content)) for each in cuts})
    bounds = [0, *places, len(content)]
    return [content[a:b] for a, b in pairwise(bounds)]


CUTS: Final = st.lists(st.integers(0, 200), max_size=8)


# --- streams: where to begin -----------------------------------------------------------------

IDS: Final = near("0123456789.e1-+ ", "e1.", "e1.1", "e1.0", "e1.99999999999999999999", ".", "e1")
NUMBERS: Final = near("0123456789+-_. ", "0", "1", "18446744073709551616", "\u0663", "1e3")
QUERIES: Final = st.fixed_dictionaries(
    {},
    optional={
        "from": NUMBERS,
        "tail": NUMBERS,
        "last_event_id": IDS,
        "mode": near("human", "human", "cute", "story"),
        "format": near("json", "json", "text", "ndjson"),
        "level": near("info", "info", "trace", "fatal"),
        "follow": near("true", "true", "false"),
    },
)


def a_log(said: int, *, ended: bool) -> NarrationLog:
    """A log that has forgotten its beginning, if it holds more than 16."""
    log = NarrationLog("job", epoch="e1", limit=16, schedule=lambda wake: wake())
    for number in range(said):
        log.append(OutputEvent(at=AT, chunk=number))
    if ended:
        log.append(EndEvent(at=AT, state="completed", marker="[DONE]"))
    return log


def test_where_a_stream_begins(fuzz: Fuzz) -> None:
    @given(QUERIES, st.none() | IDS, st.integers(0, 40), st.booleans())
    def attack(query: dict[str, str], header: str | None, said: int, ended: bool) -> None:
        log = a_log(said, ended=ended)
        try:
            asked = parse_query(query, header)
        except InvalidStreamQuery as error:
            assert query[error.field] == error.value
            assert error.legal
            return
        position = resolve(log, asked)

        assert position.start >= log.first
        assert position.complete <= (log.ended and position.start >= log.next)
        assert len(position.gaps) <= 2
        log.read(position.start, max_events=100, max_bytes=1 << 20)

    fuzz(attack)


def test_ids_of_events(fuzz: Fuzz) -> None:
    @given(IDS, st.integers(0, 40))
    def attack(text: str, said: int) -> None:
        log = a_log(said, ended=False)
        found = log.parse_id(text)

        assert found is None or (1 <= found < log.next and log.event_id(found) == text)

    fuzz(attack)


# --- child processes -------------------------------------------------------------------------

LINES: Final = near("[]: \tab\r\n", "[worker    ] ", "spawn          : ", "\r\n", "\0", "[DONE]")


def test_the_plain_form(fuzz: Fuzz) -> None:
    @given(LINES)
    def attack(line: str) -> None:
        said = parse_plain(line)
        if said is not None:
            assert said.text.strip()
            assert parse_plain(plain_line(*said)) == said

    fuzz(attack)


def test_lines_of_a_process(fuzz: Fuzz) -> None:
    content = st.one_of(st.binary(max_size=300), LINES.map(lambda text: text.encode()))

    @given(content, CUTS, st.integers(0, 64))
    def attack(content: bytes, cuts: list[int], max_bytes: int) -> None:
        whole, cut = _Lines(max_bytes), _Lines(max_bytes)
        expected = [*whole.feed(content), *whole.rest()]
        found = [line for piece in pieces(content, cuts) for line in cut.feed(piece)]
        found += cut.rest()

        assert found == expected
        assert all(len(line) <= size for line, size in found)
        for line, _ in found:
            parse_plain(line.decode("utf-8", "replace"))

    fuzz(attack)


FRAMES: Final = st.sampled_from(
    [
        frames.encode(frames.Progressed(1.0, None, "half")),
        frames.encode(frames.Output(b"[1]")),
        frames.encode(frames.AttemptEvent("packed", 1, {"a": 1})),
        frames.encode(frames.Dropped(DropReason.OVERFLOW, 3)),
        frames.encode(frames.Failure("error", "m", "E", ["E"], "no", "", None)),
    ]
)


def test_frames_of_a_child(fuzz: Fuzz) -> None:
    lengths = st.integers(0, 64).map(lambda size: size.to_bytes(4, "big"))
    parts = st.one_of(FRAMES, st.binary(max_size=40), lengths)
    damage = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3)

    @given(st.lists(parts, max_size=6).map(b"".join), damage, CUTS)
    def attack(content: bytes, damage: list[tuple[int, int]], cuts: list[int]) -> None:
        damaged = bytearray(content)
        for place, value in damage:
            if place < len(damaged):
                damaged[place] = value

        def read(parts: list[bytes]) -> tuple[list[Any], bool]:
            decoder, found = Decoder(), []
            try:
                for each in parts:
                    found += decoder.feed(each)
            except FrameError:
                return found, True
            return found, False

        whole, refused = read([bytes(damaged)])
        several, also_refused = read(pieces(bytes(damaged), cuts))

        assert refused == also_refused
        assert refused or whole == several

    fuzz(attack)


# --- the client ------------------------------------------------------------------------------

EVENTS: Final = near(
    ":\r\n 09\0", "data: ", "id: ", "event: state\n", "retry: ", "\n\n", "\ufeff", "\r\n\r\n", ": "
)


def test_event_streams(fuzz: Fuzz) -> None:
    content = st.one_of(st.binary(max_size=300), EVENTS.map(lambda text: text.encode()))

    @given(content, CUTS)
    def attack(content: bytes, cuts: list[int]) -> None:
        whole, cut = Parser("before"), Parser("before")
        expected = list(whole.feed(content))
        found = [message for piece in pieces(content, cuts) for message in cut.feed(piece)]

        assert found == expected
        assert cut.last_event_id == whole.last_event_id
        assert (cut.retry_ms, cut.comments) == (whole.retry_ms, whole.comments)

    fuzz(attack)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                [
                    *("seq", "at", "state", "reason", "result", "failure", "marker", "from", "to"),
                    *("type", "title", "status", "detail", "errors", "loc", "message", "legal"),
                    *("id", "operation", "jobs", "next", "total", "attempts", "progress", "chunk"),
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)
CONTENT: Final = st.one_of(
    JSON.map(lambda value: msgspec.json.encode(_plain(value))), st.binary(max_size=80)
)


def _plain(value: Any) -> Any:
    """`value` with whole numbers that msgspec takes, and text without lone surrogates."""
    match value:
        case dict():
            return {_plain(key): _plain(each) for key, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case int() if not isinstance(value, bool):
            return max(-(1 << 63), min(value, (1 << 64) - 1))
        case str():
            return value.encode("utf-8", "replace").decode()
        case _:
            return value


def test_events_and_records_of_a_server(fuzz: Fuzz) -> None:
    names = st.sampled_from([*(each.value for each in StreamEvent), "message", "new"])

    @given(CONTENT, names, st.booleans())
    def attack(content: bytes, name: str, of_changes: bool) -> None:
        message = Message(event=name, data=content.decode("utf-8", "replace"), id="e1.1")
        try:
            assert isinstance(event_of(message, of_changes=of_changes), Event)
        except Unreadable as error:
            assert str(error)
        for read in (records.job_of, records.page_of, records.operations_of):
            try:
                read(content)
            except Unreadable as error:
                assert str(error)

    fuzz(attack)


def test_problem_documents(fuzz: Fuzz) -> None:
    headers = st.dictionaries(
        st.sampled_from(["retry-after", "location", "content-type"]),
        near(string.printable, "1", "120", "-1", "Wed, 21 Oct 2015 07:28:00 GMT").map(
            lambda text: text.encode("utf-8", "replace")
        ),
    )
    statuses = st.integers(100, 999)

    @given(statuses, headers, CONTENT)
    def attack(status: int, headers: dict[str, bytes], content: bytes) -> None:
        response = httpx.Response(
            status,
            headers=[(name.encode(), value) for name, value in headers.items()],
            content=content,
            request=httpx.Request("GET", "http://127.0.0.1:8000/v1/jobs"),
        )
        error = answers.refused(response)

        assert isinstance(error, Refused)
        assert str(status) in str(error)

    fuzz(attack)


# --- requests --------------------------------------------------------------------------------


def test_cursors(fuzz: Fuzz) -> None:
    registry = JobRegistry()

    @given(
        near(string.ascii_letters + string.digits + "-_=", "Zg", "AA==", "MTI"), st.integers(1, 9)
    )
    def attack(cursor: str, limit: int) -> None:
        try:
            page = registry.find(JobFilter(), cursor, limit)
        except InvalidCursor as error:
            assert str(error)
        else:
            assert page.jobs == ()

    fuzz(attack)


AUTHORITIES: Final = near(
    "abc.:[]0123456789@%/-_ \t", "localhost", "127.0.0.1", "[::1]", ":8000", "0x7f.1", "evil.com"
)


def test_authorities(fuzz: Fuzz) -> None:
    hosts = Hosts(("localhost", "127.0.0.1", "::1"))

    @given(AUTHORITIES)
    def attack(authority: str) -> None:
        host = host_part(authority)

        assert hosts.accept(authority) == (host is not None and host in hosts.names)
        if hosts.accept(authority):
            assert (
                authority.strip().lower().lstrip("[").startswith(("localhost", "127.", "::1", "0"))
            )
            assert not set(authority) & set("/@%?#")

    fuzz(attack)


def test_bodies(fuzz: Fuzz) -> None:
    deep = st.integers(0, 3000).map(lambda depth: b"[" * depth + b"]" * depth)

    @given(CONTENT | deep)
    @example(b"\xef\xbb\xbf{}")
    def attack(content: bytes) -> None:
        try:
            body.decode(content)
        except Problem as problem:
            assert 400 <= problem.kind.status < 500

    fuzz(attack)


def test_trace_context(fuzz: Fuzz) -> None:
    values = near(
        "0123456789abcdef-,=;% ", "00-", "4bf92f3577b34da6a3ce929d0e0e4736", "-00f067aa0ba902b7-01"
    )
    names = st.sampled_from([b"traceparent", b"tracestate", b"baggage", b"b3"])
    pairs = st.tuples(names, values.map(lambda text: text.encode("utf-8", "replace")))

    @given(st.lists(pairs, max_size=5))
    def attack(headers: list[tuple[bytes, bytes]]) -> None:
        assert isinstance(extract(headers), Context)

    fuzz(attack)


def test_what_a_scrape_accepts(fuzz: Fuzz) -> None:
    metrics = Metrics()

    @given(
        near(
            string.ascii_lowercase + "/;=,. 0123456789*+",
            *("application/openmetrics-text", ";version=", "1.0.0", "text/plain", ";q=", "*/*"),
        )
    )
    def attack(accept: str) -> None:
        content, kind = metrics.render(accept)

        assert content
        assert kind

    fuzz(attack)


# --- keys ------------------------------------------------------------------------------------


def test_a_keys_file(fuzz: Fuzz) -> None:
    lines = (
        "[[key]]\n",
        'id = "k7f3q2m4x5ab"\n',
        'tenant = "acme"\n',
        'scopes = ["read"]\n',
        f'hash = "{"0" * 64}"\n',
        "expires_at = 2027-02-22T18:00:00Z\n",
        "expires_at = 9999-12-31T23:59:59-23:59\n",
        'note = "n"\n',
    )
    whole = st.permutations(lines[1:6]).map(lambda each: lines[0] + "".join(each))

    @given(st.lists(whole | near("=[]\"'.,\n\\ \x7fu", *lines), max_size=3).map("".join))
    def attack(text: str) -> None:
        try:
            entries = entries_of(text)
        except KeysFileError as error:
            assert str(error)
        else:
            assert entries_of(text_of(entries)) == entries

    fuzz(attack)


def test_what_is_sent_as_a_key(fuzz: Fuzz) -> None:
    @given(near("abcdefghij0123456789_-", "nk_", "k7f3q2m4x5ab", "_", "A" * 43, max_size=80))
    def attack(text: str) -> None:
        key_id = id_of(text)

        assert key_id is None or text.startswith(f"nk_{key_id}_")
        assert len(hash_of(text)) == 64

    fuzz(attack)


# --- the command line ------------------------------------------------------------------------


@operation("typed")
async def typed(
    count: int = 1, share: float = 0.5, name: str = "", tags: list[str] | None = None
) -> None:
    """Params of several types."""


def test_words_of_a_command_line(fuzz: Fuzz) -> None:
    (loaded,) = operations_of([typed])
    words = near(
        ":=[]{}\"',.0123456789-e", "count", "=", ":=", "share", "name", "tags", "[1]", "NaN", "null"
    )

    @given(st.lists(words, max_size=4), words)
    def attack(given_words: list[str], file: str) -> None:
        try:
            params = params_from(given_words, loaded.schema, read=lambda _: file)
        except WordError as error:
            assert str(error)
        else:
            named = {word.partition("=")[0].rstrip(":") for word in given_words if "=" in word}
            whole = any(word == "-" or word.startswith("@") for word in given_words)
            assert whole or set(params) <= named & {"count", "share", "name", "tags"}

    fuzz(attack)

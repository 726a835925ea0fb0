"""The request body: strict JSON within limits, every refusal with its place."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from app.http.body import MAX_DEPTH, decode, read_json
from app.http.problems import Problem


def request(*chunks: bytes, **headers: str) -> Request:
    """A POST with these chunks of body, and headers with `_` for `-`."""
    waiting: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return waiting.pop(0)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def read(given: Request, limit: int = 1000) -> object:
    return asyncio.run(read_json(given, limit=limit))


def refusal(body: bytes) -> tuple[int, str]:
    with pytest.raises(Problem) as raised:
        decode(body)
    return raised.value.kind.status, raised.value.detail


def test_a_body_in_chunks_is_read_whole() -> None:
    assert read(request(b'{"a"', b": [1, ", b"2]}", content_type="application/json")) == {
        "a": [1, 2]
    }


def test_no_body_needs_no_content_type() -> None:
    assert read(request()) is None


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/vnd.example+json",
    ],
)
def test_json_goes_by_several_names(content_type: str) -> None:
    assert read(request(b"1", content_type=content_type)) == 1


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/jsonp",
        "",
    ],
)
def test_another_content_type_is_a_415(content_type: str) -> None:
    with pytest.raises(Problem) as raised:
        read(request(b"{}", content_type=content_type))

    assert raised.value.kind.status == 415
    assert raised.value.members == {"legal": ["application/json"]}


def test_a_missing_content_type_is_a_415() -> None:
    with pytest.raises(Problem, match="it is none"):
        read(request(b"{}"))


def test_a_declared_length_over_the_limit_is_refused_before_reading() -> None:
    async def never() -> Message:
        raise AssertionError("the body was read")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(b"content-length", b"1001")],
    }

    with pytest.raises(Problem, match="At most 1000 bytes") as raised:
        asyncio.run(read_json(Request(scope, never), limit=1000))
    assert raised.value.kind.status == 413


@pytest.mark.parametrize("length", ["9" * 5000, "1001", "1000000000000000000000"])
def test_an_absurd_length_is_a_413(length: str) -> None:
    with pytest.raises(Problem) as raised:
        read(request(b"{}", content_type="application/json", content_length=length))

    assert raised.value.kind.status == 413


@pytest.mark.parametrize("length", ["-1", "+5", "two", "", "1_0", "²"])
def test_a_length_that_is_no_number_is_left_to_the_server(length: str) -> None:
    assert read(request(b"{}", content_type="application/json", content_length=length)) == {}


def test_chunks_over_the_limit_are_a_413_without_a_declared_length() -> None:
    with pytest.raises(Problem) as raised:
        read(request(b'"' + b"a" * 600, b"a" * 600 + b'"', content_type="application/json"))

    assert raised.value.kind.status == 413
    assert raised.value.members == {"legal": {"max_bytes": 1000}}


def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    body = b'"' + b"a" * 998 + b'"'

    assert read(request(body, content_type="application/json")) == "a" * 998


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"a": NaN}', "invalid character near line 1, column 7"),
        (b'{"a": 1,\n  "b": tru}', "invalid character near line 2, column 12"),
        (b'{"a": Infinity}', "invalid character near line 1, column 7"),
        (b"{} x", "trailing characters near line 1, column 5"),
        (b'{"a": 1e400}', "Number out of range"),
        (b"9" * 5000, "Integer value out of range"),
        (b'"abc', "it ends too early, or has an unpaired surrogate"),
        (b'"\\ud800"', "it ends too early, or has an unpaired surrogate"),
        (b'"\\udc00"', "invalid utf-16 surrogate pair near line 1, column 8"),
        (b'"a\x00b"', "invalid character near line 1, column 3"),
        (b"\xef\xbb\xbf{}", "invalid character near line 1, column 1"),
    ],
)
def test_what_is_not_json_says_where(body: bytes, told: str) -> None:
    status, detail = refusal(body)

    assert (status, detail) == (400, f"The body is not valid JSON: {told}.")


@pytest.mark.parametrize("body", [b'"\xff"', b'"\xed\xa0\x80"', b'{"\xc0\xaf": 1}'])
def test_what_is_not_utf8_says_so(body: bytes) -> None:
    status, detail = refusal(body)

    assert status == 400
    assert detail.startswith("The body is not UTF-8: ")


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b'{"a":' * 100_000])
def test_a_depth_bomb_is_a_400(bomb: bytes) -> None:
    status, detail = refusal(bomb)

    assert status == 400
    assert f"deeper than {MAX_DEPTH}" in detail


def test_the_deepest_legal_nesting_is_accepted_and_one_more_is_not() -> None:
    legal = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH

    assert msgspec.json.encode(decode(legal)) == legal
    assert refusal(b"[" + legal + b"]")[0] == 400


def test_of_repeated_keys_the_last_counts() -> None:
    assert decode(b'{"a": 1, "a": 2}') == {"a": 2}


def test_a_large_integer_stays_exact() -> None:
    assert decode(b"123456789012345678901234567890") == 123456789012345678901234567890


@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_the_reader(body: bytes) -> None:
    try:
        value = decode(body)
    except Problem as problem:
        assert problem.kind.status == 400  # noqa: PT017 — either end is right
    else:
        assert decode(msgspec.json.encode(value)) == value

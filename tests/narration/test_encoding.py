"""Encoding: whatever a handler says becomes JSON, and nothing raises."""

import json
from collections import UserDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narration.encoding import encode
from narration.events import OutputEvent


class Hostile:
    """Cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Named:
    """No type that JSON knows."""

    def __repr__(self) -> str:
        return "<named>"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("\ud83d\ude00", "😀"),
        ({"\udfff": 1}, {"\ufffd": 1}),
        ({(1, 2): "x"}, {"(1, 2)": "x"}),
        (Named(), "<named>"),
        (Hostile(), "<Hostile>"),
        ([{"deep": Named()}], [{"deep": "<named>"}]),
        (UserDict(a=1), {"a": 1}),
        (b"ab", "YWI="),
        (float("nan"), None),
        (2**70, 2**70),
        ([{1}, "\ud800"], [[1], "\ufffd"]),
    ],
)
def test_what_json_cannot_carry_is_made_plain(value: Any, expected: Any) -> None:
    assert json.loads(encode(value)) == expected


def test_a_value_that_contains_itself_is_cut_where_it_begins_again() -> None:
    value: list[Any] = [1]
    value.append(value)

    assert json.loads(encode(value)) == [1, "…"]


def test_a_value_that_is_nested_too_deep_is_cut() -> None:
    value: Any = Named()
    for _ in range(200):
        value = [value]

    assert "…" in encode(value).decode()


def test_an_event_with_odd_values_keeps_its_other_fields() -> None:
    event = OutputEvent(seq=7, at="now", chunk="\ud800")

    assert json.loads(encode(event)) == {"seq": 7, "at": "now", "chunk": "\ufffd"}


@given(st.text(st.characters(codec=None)) | st.binary() | st.floats() | st.integers())
def test_an_encoded_value_is_one_line_of_utf_8(value: Any) -> None:
    encoded = encode({"value": value})

    assert b"\n" not in encoded
    assert b"\r" not in encoded
    assert set(json.loads(encoded.decode())) == {"value"}

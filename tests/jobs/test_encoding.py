from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.encoding import MAX_DEPTH, NotJsonError, decode_json, encode_json

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@given(json_values)
def test_what_json_can_carry_comes_back_as_it_was(value: Any) -> None:
    assert decode_json(encode_json(value)) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "not JSON compliant"),
        ({"x": [float("inf")]}, "not JSON compliant"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        (b"bytes", "not JSON serializable"),
        pytest.param(10**5000, "digits", id="long integer"),
        (nested(MAX_DEPTH + 1), "nested deeper"),
        ({"x": (nested(MAX_DEPTH),)}, "nested deeper"),
        pytest.param(nested(100_000), "nested deeper", id="very deep"),
    ],
)
def test_what_json_cannot_carry_is_refused_with_the_cause(value: Any, words: str) -> None:
    with pytest.raises(NotJsonError, match=words):
        encode_json(value)


@pytest.mark.parametrize("value", [nested(MAX_DEPTH), [[]] * 1000, "[" * 1000, [{"a": {}}] * 100])
def test_what_is_wide_but_not_deep_is_accepted(value: Any) -> None:
    assert decode_json(encode_json(value)) == value


def test_the_order_of_keys_can_be_made_canonical() -> None:
    assert encode_json({"b": 1, "a": 2}, sort_keys=True) == b'{"a":2,"b":1}'

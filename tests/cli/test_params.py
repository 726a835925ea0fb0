"""Words of a command line as params: by the schema, as JSON, from files."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.params import WordError, converted, params_from, types_of
from app.handlers.discovery import operations_of
from app.handlers.operation import Operation, operation

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ANYTHING: dict[str, Any] = {"properties": {}}


def paint() -> Operation:
    """An operation with one param of each kind."""

    @operation
    def paint(
        name: str,
        count: int,
        sizes: list[float] | None = None,
        extra: Any = None,
        *,
        on: bool = False,
    ) -> None:
        """Take one param of each kind."""

    (loaded,) = operations_of([paint])
    return loaded


def files(**texts: str) -> Any:
    """Reads these and no others."""

    def read(name: str) -> str:
        if name not in texts:
            raise WordError(f"{name}: is not there")
        return texts[name]

    return read


def test_words_are_converted_as_the_schema_says() -> None:
    words = ["name=3", "count=3", "sizes=[1, 2.5]", 'extra:={"a": "b=c"}', "on=yes"]
    loaded = paint()

    assert loaded.validate(params_from(words, loaded.schema)) == {
        "name": "3",
        "count": 3,
        "sizes": [1.0, 2.5],
        "extra": {"a": "b=c"},
        "on": True,
    }


def test_what_is_no_json_stays_text_for_the_operation_to_read() -> None:
    loaded = paint()
    params = params_from(["name=", "count=007", "sizes=null"], loaded.schema)

    assert params == {"name": "", "count": "007", "sizes": None}
    assert loaded.validate(params)["count"] == 7


@given(name=NAMES, value=JSON)
def test_any_json_comes_through_raw(name: str, value: Any) -> None:
    assert params_from([f"{name}:={json.dumps(value)}"], ANYTHING) == {name: value}


@given(name=NAMES, text=st.text().filter(lambda text: not text.startswith("@")))
def test_any_text_comes_through_where_a_string_is_legal(name: str, text: str) -> None:
    schema = {"properties": {name: {"anyOf": [{"type": "string"}, {"type": "null"}]}}}

    assert params_from([f"{name}={text}"], schema) == {name: text}


@given(number=st.integers())
def test_any_integer_comes_through(number: int) -> None:
    schema = {"properties": {"n": {"type": "integer"}}}

    assert params_from([f"n={number}"], schema) == {"n": number}


@given(words=st.lists(st.text()))
def test_no_words_do_more_than_an_error_of_their_own(words: list[str]) -> None:
    schema = {"properties": {"n": {"type": "integer"}}, "additionalProperties": False}

    with contextlib.suppress(WordError):
        assert set(params_from(words, schema, read=files())) <= {"n"}


def test_a_value_may_come_from_a_file() -> None:
    read = files(poem="two\nlines", **{"sizes.json": "[1]"})

    assert params_from(["name=@poem", "sizes:=@sizes.json"], paint().schema, read=read) == {
        "name": "two\nlines",
        "sizes": [1],
    }


def test_all_params_may_come_from_a_file_or_standard_input_and_words_go_before() -> None:
    read = files(**{"p.json": '{"name": "a", "count": 1}', "-": '{"count": 2}'})

    assert params_from(["count=3", "@p.json"], paint().schema, read=read) == {
        "name": "a",
        "count": 3,
    }
    assert params_from(["@p.json", "-"], paint().schema, read=read) == {"name": "a", "count": 2}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["name"], "'name' is no param: write key=value"),
        (["=3"], "'=3' is no param"),
        ([":=3"], "':=3' is no param"),
        (["count=1", "count=2"], "count: is given twice"),
        (["count=1", "count:=2"], "count: is given twice"),
        (["extra:={"], "extra: '{' is not JSON"),
        (["cuont=1"], "cuont: is no param of this operation; did you mean 'count'?"),
        (["other=1"], "other: is no param of this operation; it takes name, count"),
        (["name=@nowhere"], "name: nowhere: No such file or directory"),
        (["@nowhere.json"], "nowhere.json: No such file or directory"),
    ],
)
def test_a_wrong_word_names_the_field_and_what_is_legal(words: list[str], told: str) -> None:
    with pytest.raises(WordError) as refused:
        params_from(words, paint().schema)

    assert str(refused.value).startswith(told)


def test_a_file_of_params_must_be_an_object() -> None:
    with pytest.raises(WordError, match=r"p\.json: params are a JSON object, not \[1\]"):
        params_from(["@p.json"], ANYTHING, read=files(**{"p.json": "[1]"}))


def test_types_are_found_through_references_and_choices() -> None:
    root = {"$defs": {"A": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/A"}, {"type": "array"}]}}}

    assert types_of({"allOf": [{"$ref": "#/$defs/A"}]}, root) == {"null", "array"}
    assert types_of({"type": ["integer", "string"]}, root) == {"integer", "string"}
    assert converted("1", frozenset({"integer", "string"})) == "1"

import datetime as dt
import enum
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narration.disclosure import is_first_party, json_safe, plain, render, visible, well_formed
from narration.masking import MASK, masker
from narration.scope import Disclosure
from telemetry.names import SCOPE, Level


class Colour(enum.Enum):
    """A value with a plain form."""

    RED = "red"


class Loud(str):
    """Text whose own methods fail."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


class Hostile:
    """An object that cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.text(st.characters())
    | st.just(Hostile())
    | st.just(Loud("x"))
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters()) | st.integers(), inner, max_size=4)
        | st.tuples(inner)
    ),
    max_leaves=12,
)


@given(_values)
def test_whatever_is_said_can_be_encoded_and_read_back(value: Any) -> None:
    safe = json_safe(value)

    assert json.loads(msgspec.json.encode(safe)) == safe


@given(_values, st.integers(min_value=0, max_value=200))
def test_the_budget_bounds_what_is_shown(value: Any, budget: int) -> None:
    size = len(msgspec.json.encode(json_safe(value, max_bytes=budget)))

    assert size <= 12 * budget + 300  # escapes and punctuation are not in the budget


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (float("inf"), "Infinity"),
        (2**63, str(2**63)),
        (2**63 - 1, 2**63 - 1),
        (b"caf\xc3\xa9 \xff", "café \\xff"),
        ("\ud800x", "\ufffdx"),
        ("\ud83d\ude00", "😀"),
        (Colour.RED, "red"),
        (Loud("x"), "x"),
        (Level.INFO, 9),
        (Hostile(), "<unprintable Hostile>"),
        ((1, [b"x"], {2: None}), [1, ["x"], {"2": None}]),
        ({"password": "x", "token": 5, "secret": None}, {"password": MASK, "token": MASK}),
        (dt.date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_a_value_takes_the_nearest_form_that_json_has(value: Any, safe: Any) -> None:
    shown = json_safe(value)
    if isinstance(shown, dict):
        shown = {key: one for key, one in shown.items() if key != "secret"}

    assert shown == safe


def test_an_absent_or_true_secret_says_so() -> None:
    assert json_safe({"password": None, "auth": True}) == {"password": None, "auth": True}


def test_a_huge_integer_is_told_without_its_quadratic_decimal_form() -> None:
    assert str(json_safe(1 << 1_000_000)).startswith("0x1000")


def test_a_value_within_itself_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)

    assert "…" in render(json_safe(loop))


def test_bytes_are_masked_like_text() -> None:
    assert json_safe(b"Bearer abc", mask=masker()) == f"Bearer {MASK}"


def test_values_are_masked_at_any_depth() -> None:
    assert json_safe({"a": [{"b": "s3cret"}]}, mask=masker(["s3cret"])) == {"a": [{"b": MASK}]}


@given(st.text(st.characters()))
def test_well_formed_text_can_be_encoded(text: str) -> None:
    assert well_formed(well_formed(text)) == well_formed(text)
    assert well_formed(text).encode().decode() == well_formed(text)


def test_ours_and_the_operations_packages_are_first_party() -> None:
    disclosure = Disclosure(first_party=frozenset({"jobs"}))

    for source in (SCOPE, "narration.story", "app", "__main__", "root", "jobs", "jobs.render"):
        assert is_first_party(source, disclosure)


def test_everything_else_is_third_party() -> None:
    disclosure = Disclosure(first_party=frozenset({"jobs"}))

    for source in ("", "jobsite", "opentelemetry.instrumentation.sqlite3", "application", "x.jobs"):
        assert not is_first_party(source, disclosure)


def test_first_party_attributes_are_all_visible() -> None:
    assert visible({"a": 1, "b": (1, 2)}, SCOPE, Disclosure()) == {"a": 1, "b": [1, 2]}


def test_third_party_attributes_are_withheld() -> None:
    assert visible({"db.statement": "SELECT 1"}, "sqlite3", Disclosure()) == {}


def test_third_party_attributes_pass_when_allowed_by_name() -> None:
    disclosure = Disclosure(allowed=frozenset({"db.statement"}))
    shown = visible({"db.statement": "SELECT 1", "db.user": "ann"}, "sqlite3", disclosure)

    assert shown == {"db.statement": "SELECT 1"}


def test_attributes_together_stay_within_the_budget() -> None:
    shown = visible({f"k{i}": "x" * 50 for i in range(100)}, SCOPE, Disclosure(), max_bytes=200)

    assert sum(len(value) for value in shown.values()) <= 203
    assert len(shown) < 10


def test_no_attributes_are_an_empty_dict() -> None:
    assert plain(None) == {}

"""Keys by name, whatever else a terminal sends; and the examples that the small modules give."""

import doctest
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli import params, units
from app.cli.client import keys, reach
from app.cli.client.keys import Keyboard, names_of


@pytest.mark.parametrize("module", [keys, reach, params, units])
def test_the_examples_in_the_documentation_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


@given(text=st.text(alphabet="abj\x1b[OABC~57\r\n\x7f", max_size=20))
def test_whatever_is_sent_gives_keys_and_never_an_error(text: str) -> None:
    assert all(names_of(text))


def test_a_sequence_without_a_name_is_no_key() -> None:
    assert names_of("\x1b[15~") == []


def test_a_keyboard_that_is_off_gives_no_keys_and_changes_nothing() -> None:
    keyboard = Keyboard(off=True)

    with keyboard.listening(), keyboard.given_back():
        assert (keyboard.fd, keyboard.read()) == (None, [])

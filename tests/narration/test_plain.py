import pytest
from hypothesis import given
from hypothesis import strategies as st

from narration.plain import parse_plain, plain_line

_names = st.text("abcXYZ019_-.", min_size=1, max_size=64)


def test_a_plain_line_pads_actor_and_action() -> None:
    assert plain_line("worker", "spawn", "Spawning") == "[worker    ] spawn          : Spawning"


def test_long_names_push_the_text_to_the_right_and_are_not_cut() -> None:
    assert plain_line("a" * 12, "b" * 20, "x") == f"[{'a' * 12}] {'b' * 20}: x"


@given(
    _names, _names, st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40)
)
def test_what_is_printed_plain_is_read_back(actor: str, action: str, text: str) -> None:
    assert parse_plain(plain_line(actor, action, text)) == (actor, action, text)


@pytest.mark.parametrize(
    "line",
    [
        "[worker    ] worker_spawn    : Spawning",
        "[worker] worker_spawn: Spawning",
        "[worker]\tworker_spawn : Spawning\r\n",
    ],
)
def test_padding_does_not_matter_when_reading(line: str) -> None:
    assert parse_plain(line) == ("worker", "worker_spawn", "Spawning")


@pytest.mark.parametrize(
    "line",
    ["", "plain text", "[worker]spawn: x", "[] spawn: x", "[a] b:", "[a b] c: d", " [a] b: c"],
)
def test_other_lines_are_not_plain(line: str) -> None:
    assert parse_plain(line) is None

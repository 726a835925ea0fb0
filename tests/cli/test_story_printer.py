import doctest
import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from app.cli import story_printer
from app.cli.story_printer import WIDTH, StoryPrinter, clean

AT = "2026-01-02T03:04:05.000000Z"
LATER = "2026-01-02T03:04:06.250000Z"


def narration(text: str, **changed: Any) -> dict[str, Any]:
    message = {"at": AT, "kind": "narrate", "level": "info", "actor": "painter", "text": text}
    return message | changed


def printed(*events: tuple[str, dict[str, Any]], terminal: bool = False) -> str:
    file = io.StringIO()
    printer = StoryPrinter(file, terminal=terminal)
    for name, data in events:
        printer.event(name, data)
    printer.close()
    return file.getvalue()


def test_a_message_is_a_line_of_time_actor_and_text() -> None:
    events = ("narration", narration("Loading")), ("narration", narration("On", at=LATER))

    assert printed(*events) == ("  0.000s  painter     Loading\n  1.250s  painter     On\n")


def test_a_long_text_goes_on_below_itself_within_80_columns() -> None:
    lines = printed(("narration", narration("word " * 30))).splitlines()

    assert len(lines) == 3
    assert all(len(line) <= WIDTH for line in lines)
    assert all(line.startswith(" " * 22 + "word") for line in lines[1:])


def test_a_long_actor_is_cut_and_the_columns_stay() -> None:
    line = printed(("narration", narration("Loading", actor="opentelemetry.dbapi")))

    assert line == "  0.000s  openteleme…  Loading\n".replace("openteleme…  ", "opentelem…  ")


@given(actor=st.text(), text=st.text(), terminal=st.booleans())
def test_no_text_can_steer_the_terminal_or_leave_the_columns(
    actor: str, text: str, *, terminal: bool
) -> None:
    whole = printed(("narration", narration(text, actor=actor)), terminal=terminal)

    plain = re.sub(r"\x1b\[[0-9;]*m", "", whole)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", plain)
    assert all(cell_len(line) <= WIDTH for line in plain.split("\n"))


def test_control_characters_are_spelled() -> None:
    assert clean("a\x1b[31mb\tc\nd\u202e") == "a\\x1b[31mb  c\nd\\u202e"


def test_colours_are_for_terminals_only() -> None:
    event = ("narration", narration("Careful", level="warn"))

    assert "\x1b[" in printed(event, terminal=True)
    assert "\x1b[" not in printed(event)


def test_no_colour_is_used_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert "[33m" not in printed(("narration", narration("Careful", level="warn")), terminal=True)


def progress(done: float, total: float | None = 100, text: str | None = "files") -> Any:
    return "progress", {"at": AT, "done": done, "total": total, "text": text}


def test_progress_on_a_terminal_is_one_line_that_the_next_message_replaces() -> None:
    text = printed(progress(1), progress(2), ("narration", narration("Done")), terminal=True)

    first, second, last = text.split("\r\x1b[2K")
    assert first.endswith("  1%  1/100 files")
    assert second.endswith("  2%  2/100 files")
    assert "\n" not in first + second
    assert last.endswith("Done\n")


def test_progress_elsewhere_is_a_line_for_each_tenth() -> None:
    lines = printed(*(progress(done) for done in range(101))).splitlines()

    assert len(lines) == 11
    assert lines[5] == "  0.000s  progress    ██████████░░░░░░░░░░  50%  50/100 files"


@pytest.mark.parametrize(
    ("done", "total", "said"),
    [
        (3, None, "3 files"),
        (0, 0, "0/0 files"),
        (5, 4, "████████████████████ 100%  5/4 files"),
        (-1, 4, "░░░░░░░░░░░░░░░░░░░░   0%  -1/4 files"),
        (123_456_789, None, "123456789 files"),
    ],
)
def test_odd_progress_is_told_as_it_is(done: float, total: float | None, said: str) -> None:
    assert printed(progress(done, total)) == f"  0.000s  progress    {said}\n"


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("output", {"at": AT, "chunk": "token"}, "  0.000s  output      token"),
        ("output", {"at": AT, "chunk": {"n": 1}}, '  0.000s  output      {"n": 1}'),
        ("gap", {"from": 1, "to": 9, "reason": "evicted"}, "… messages are missing here (evicted)"),
        ("draining", {"reason": "shutdown"}, "… the server is stopping (shutdown)"),
        ("end", {"at": AT, "marker": "[ERROR] x"}, "  0.000s              [ERROR] x"),
    ],
)
def test_every_other_event_has_its_line(name: str, data: dict[str, Any], line: str) -> None:
    assert line in printed((name, data))


def test_states_are_not_printed_since_messages_tell_them() -> None:
    assert printed(("state", {"at": AT, "state": "queued"})) == ""


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(story_printer).failed == 0

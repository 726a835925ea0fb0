"""What is drawn of a story: pure lines, none wider than the terminal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.client.drawing import Detail, View, draw, draw_end
from app.cli.client.picture import Picture
from tests.cli.story import JOB, Story


def drawn(story: Story, now: float, **view: Any) -> list[str]:
    """The lines of a story that goes on."""
    return [line.plain for line in draw(story.picture, View(now=now, **view))]


def under_way() -> Story:
    """A story in its second attempt, with a step in a step."""
    story = Story()
    story.state(0, "queued", 0)
    story.state(0.5, "running", 1)
    story.says(0.6, "Loading forest")
    story.says(1.0, "no answer", kind="exception", level="error", actor="render")
    story.says(
        1.0,
        "Attempt 1 fails",
        kind="lifecycle",
        action="attempt_failed",
        fields={"job.error": "no answer", "job.max_attempts": 3},
    )
    story.state(1.0, "retrying", 1, next_retry_at="1970-01-01T00:00:02+00:00")
    story.state(2.0, "queued", 1)
    story.state(2.0, "running", 2)
    story.begins(2.0, "s1", "prepare")
    story.begins(2.0, "s2", "textures", parent="s1")
    story.ends(2.5, "s2", "textures")
    story.ends(3.0, "s1", "prepare")
    story.begins(3.0, "s3", "frames")
    story.begins(3.0, "s4", "frame 1", parent="s3")
    story.says(3.1, "Drawing 1", span_id="s4", parent_span_id="s3")
    story.progress(3.0, 0, 24, "frames")
    story.progress(4.0, 2, 24, "frames")
    return story


def test_running_steps_are_shown_with_what_they_say_and_finished_ones_are_a_line() -> None:
    assert drawn(under_way(), 4.0, width=60) == [
        "render  0b1f2c3d  running  attempt 2 of 3               4.0s",
        "✗ attempt 1  no answer                                  0.5s",
        "⠋ attempt 2                                             2.0s",
        "  ✓ prepare  1 step                                     1.0s",
        "  ⠋ frames                                              1.0s",
        "    ⠋ frame 1                                           1.0s",
        "      │ Drawing 1",
        "██░░░░░░░░░░░░░░░░░░   8%  2/24 frames  2/s  11.0s left",
    ]


def test_less_detail_is_steps_alone_and_more_is_all_that_is_kept() -> None:
    story = under_way()

    steps = drawn(story, 4.0, width=60, detail=Detail.STEPS)
    everything = drawn(story, 4.0, width=60, detail=Detail.ALL)

    assert not any("│" in line for line in steps)
    assert "    ✓ textures                                          0.5s" in everything
    assert "  │ Loading forest" in everything


def test_time_goes_on_between_events() -> None:
    story = under_way()

    assert drawn(story, 14.0, width=60)[0].endswith("14.0s")
    assert "1.0s left" in drawn(story, 14.0, width=60)[-1]


def test_a_retry_counts_down() -> None:
    story = Story()
    story.state(0, "running", 1)
    story.state(1.0, "retrying", 1, next_retry_at="1970-01-01T00:00:06+00:00")

    assert drawn(story, 2.5, width=40)[-1] == "↻ attempt 2                      in 3.5s"


def test_the_first_error_is_shown_with_its_trace_when_asked_for() -> None:
    story = Story()
    story.state(0, "running", 1)
    story.says(
        1, "KeyError: 'a'", level="error", fields={"exception.stacktrace": "Traceback\n  line 1\n"}
    )
    story.says(2, "another", level="error")

    lines = drawn(story, 2.0, trouble=True)

    assert lines[-3:] == ["first error  KeyError: 'a'", "  Traceback", "    line 1"]


def test_what_has_finished_gives_way_first_where_the_terminal_is_low() -> None:
    story = under_way()
    for number in range(10):
        story.begins(4, f"f{number}", f"frame {number}", parent="s3")
        story.ends(4, f"f{number}", f"frame {number}")

    lines = drawn(story, 4.0, width=60, height=8)

    assert len(lines) == 8
    assert lines[0].startswith("render")
    assert lines[1] == "… 8 more lines"
    assert any("⠋ frame 1 " in line for line in lines)
    assert "24 frames" in lines[-1]


def test_many_finished_steps_are_counted() -> None:
    story = Story()
    story.state(0, "running", 1)
    for number in range(500):
        story.begins(number, f"f{number}", f"frame {number}")
        story.ends(number + 1, f"f{number}", f"frame {number}")

    lines = drawn(story, 500, width=40)

    assert lines[1] == "✓ 494 earlier steps"
    assert lines[-1] == "✓ frame 499                         1.0s"
    assert len(story.picture.attempts[0].children) < 100  # memory does not grow with the story


def test_the_end_says_outcome_and_result() -> None:
    story = under_way()
    story.ends(5, "s4", "frame 1")
    story.ends(5, "s3", "frames")
    story.state(5, "completed", 2)
    story.end(5, "completed", result={"frames": 24})

    lines = [line.plain for line in draw_end(story.picture, View(now=99, width=60))]

    assert lines[-2:] == ["✓ completed on attempt 2 in 5.0s", '{"frames": 24}']
    assert "  ✓ frames  1 step                                      2.0s" in lines


def test_the_end_of_a_failure_says_why_and_what_to_do() -> None:
    story = Story()
    story.state(0, "running", 1)
    story.begins(0, "s1", "connect")
    story.ends(1, "s1", "connect", error="no answer")
    story.state(1, "failed", 1, reason="error")
    failure = {"reason": "error", "type": "ConnectionError", "message": "no answer"}
    story.end(1, "failed", reason="error", failure=failure)

    view = View(now=1, width=60, again="again: narrator retry 0b1f2c3d")

    assert [line.plain for line in draw_end(story.picture, view)] == [
        "render  0b1f2c3d  failed                                1.0s",
        "✗ connect  no answer                                    1.0s",
        "✗ failed (error) after 1.0s: ConnectionError: no answer",
        "again: narrator retry 0b1f2c3d",
    ]


def test_what_runs_when_a_job_is_cancelled_is_cut() -> None:
    story = Story()
    story.state(0, "running", 1)
    story.begins(0, "s1", "frames")
    story.state(2, "cancelled", 1)
    story.end(2, "cancelled")

    lines = [line.plain for line in draw_end(story.picture, View(now=2, width=40))]

    assert lines[1:] == ["■ frames                            2.0s", "✗ cancelled after 2.0s"]


def test_the_address_is_a_link() -> None:
    (heading,) = draw(Picture(JOB, "render"), View(now=0, link="http://x/1"))

    assert any("link http://x/1" in str(span.style) for span in heading.spans)


@pytest.mark.parametrize("flowing", [True, False])
def test_output_in_pieces_is_one_text_where_the_operation_says_it_in_pieces(
    flowing: bool,
) -> None:
    story = Story(Picture(JOB, "recite", flowing=flowing))
    story.state(0, "running", 1)
    for piece in ("once ", "upon\n", "a ", "time"):
        story.output(1, piece)
    story.output(1, {"n": 1})

    lines = [line.text for line in story.picture.attempts[0].lines]

    pieces = ["once upon", "a time"] if flowing else ["once ", "upon", "a ", "time"]
    assert lines == [*pieces, '{"n": 1}']


def test_a_story_without_its_beginning_is_drawn_all_the_same() -> None:
    story = Story()
    story.tell("gap", 0, reason="evicted", **{"from": 1, "to": 9})
    story.ends(5, "s1", "frames")
    story.says(6, "Still here")

    lines = drawn(story, 6, width=60)

    assert "part of the story is missing" in lines[0]
    assert lines[-1] == "│ Still here"


EVENTS = st.one_of(
    st.tuples(st.just("state"), st.sampled_from(["queued", "running", "retrying", "failed"])),
    st.tuples(st.just("begins"), st.sampled_from("abc")),
    st.tuples(st.just("ends"), st.sampled_from("abc")),
    st.tuples(st.just("says"), st.text(max_size=100)),
    st.tuples(st.just("output"), st.text(max_size=100)),
    st.tuples(st.just("progress"), st.floats(allow_nan=False, allow_infinity=False)),
)


@given(
    events=st.lists(EVENTS, max_size=40),
    width=st.integers(20, 120),
    height=st.integers(4, 40),
    detail=st.sampled_from(Detail),
)
def test_no_line_is_too_wide_and_no_picture_too_high(
    events: list[tuple[str, Any]], width: int, height: int, detail: Detail
) -> None:
    story = Story()
    for at, (kind, value) in enumerate(events):
        if kind in {"begins", "ends"}:
            getattr(story, kind)(at, value, f"step {value}")
        else:
            getattr(story, kind)(at, value)
    view = View(now=50, width=width, height=height, detail=detail, trouble=True, keys="q detach")

    lines = draw(story.picture, view)

    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)
    assert not any(character < " " for line in lines for character in line.plain)

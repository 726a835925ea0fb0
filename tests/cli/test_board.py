"""The board of `narrator top`: what is sorted, filtered and drawn, without a terminal."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.cli.client.board import Board, Sort
from app.cli.client.board_drawing import draw_board
from app.client import JobRecord, JobStateEvent, Overview
from app.client.records import Attempt, Progress, Waiting

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW = 10


def moment(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def job(name: str, *, begun: float | None = None, made: float = 0.0, **more: Any) -> JobRecord:
    attempts = () if begun is None else (Attempt(number=1, started_at=moment(begun)),)
    state = "queued" if begun is None else "running"
    given: dict[str, Any] = {"operation": "render", "state": state, "attempts": attempts}
    return JobRecord(id=name * 36, created_at=moment(made), **(given | more))


def overview(at: float, **more: Any) -> Overview:
    queue = {"high": Waiting(depth=2, oldest_age_s=3.5), "normal": Waiting(depth=0)}
    return Overview(at=moment(at), slots=8, running={"render": 2}, queue=queue, **more)


def change(at: float, name: str, state: str) -> JobStateEvent:
    return JobStateEvent(
        id="1", seq=1, at=moment(at), job_id=name * 36, operation="render", state=state
    )


def board(*jobs: JobRecord) -> Board:
    made = Board("http://x")
    made.numbers(overview(NOW, streams=3, states={"completed": 12_345}))
    made.listed(jobs)
    return made


def names(made: Board) -> str:
    return "".join(each.id[0] for each in made.rows())


def pressed(made: Board, *keys: str) -> Board:
    for key in keys:
        made.key(key)
    return made


def test_the_slowest_comes_first_and_what_waits_last() -> None:
    made = board(job("a", made=1), job("b", begun=8), job("c", begun=2), job("d", made=0))

    assert names(made) == "cbda"


def test_s_sorts_otherwise_and_comes_round() -> None:
    made = board(job("a", begun=1, made=1, operation="z"), job("b", begun=2, made=2, operation="y"))

    assert [names(made), *(names(pressed(made, "s")) for _ in Sort)] == [
        "ab",
        "ba",
        "ba",
        "ab",
        "ab",
    ]


def test_f_filters_by_state_and_escape_shows_all_again() -> None:
    made = board(job("a"), job("b", begun=1))

    assert names(pressed(made, "f")) == "a"
    assert names(pressed(made, "f")) == "b"
    assert names(pressed(made, "escape")) == "ba"


def test_a_text_is_searched_in_operation_id_and_tags_while_it_is_typed() -> None:
    made = board(job("a", tags={"film": "sea"}), job("b", operation="seal"), job("c"))

    assert names(pressed(made, "/", "s", "e", "a")) == "ab"
    assert names(pressed(made, "l")) == "b"
    assert names(pressed(made, "backspace", "enter")) == "ab"
    assert not made.typing
    assert names(pressed(made, "/", "q", "escape")) == "abc"


def test_the_choice_moves_and_stays_with_its_job() -> None:
    made = board(*(job(name, begun=at) for at, name in enumerate("abc")))

    assert pressed(made, "down", "down").choice() == made.jobs["b" * 36]
    made.listed([job("b", begun=1), job("x", begun=0), job("y", begun=0.5)])
    assert pressed(made, "up").choice() == made.jobs["y" * 36]
    assert pressed(made, *["down"] * 9).choice() == made.jobs["b" * 36]


def test_a_job_that_ended_is_gone_even_if_a_list_on_its_way_has_it() -> None:
    made = board(job("a"), job("b"))

    made.changed(change(NOW, "a", "completed"))
    assert names(made) == "b"
    made.listed([job("a"), job("b")])
    assert names(made) == "b"


def test_rates_are_those_of_the_last_seconds() -> None:
    made = board()
    assert made.rates() is None

    made.changed(change(NOW - 5, "a", "completed"))  # before it was watched
    for at in range(4):
        made.changed(change(NOW + 1 + at, "a", "queued"))
    made.numbers(overview(NOW + 5))
    rates = made.rates()
    assert rates is not None
    assert (rates.queued, rates.completed) == (0.8, 0.0)

    made.numbers(overview(NOW + 60))
    rates = made.rates()
    assert rates is not None
    assert rates.queued == 0.0


def test_it_is_drawn() -> None:
    running = job("a", begun=4, tags={"film": "sea"}, progress=Progress(done=3, total=12))
    made = board(running, job("b", made=8))

    assert [line.plain for line in draw_board(made, columns=80, rows=12)] == [
        "narrator top  http://x  12:00:10 UTC  3 streams",
        "slots  █████░░░░░░░░░░░░░░░  2 of 8 run",
        "queue  high 2 (oldest 3.5s)   normal 0",
        "rates  …",
        "kept   completed 12.3k   failed 0   cancelled 0",
        "",
        "2 unfinished  sorted: slowest",
        "  JOB       STATE    OPERATION  RUNS  AGE  TRY  PROGRESS  TAGS",
        "▸ aaaaaaaa  running  render     6.0s  10s       3/12 25%  film=sea",
        "  bbbbbbbb  queued   render            2s",
        "",
        "↑↓ choose  enter watch  s sort  f state  / search  esc all  q quit",
    ]


@given(
    count=st.integers(0, 60),
    columns=st.integers(20, 120),
    rows=st.integers(4, 50),
    keys=st.lists(st.sampled_from(["down", "up", "page down", "s", "f", "/", "a", "enter"])),
)
def test_it_fills_the_terminal_and_no_more_whatever_is_pressed(
    count: int, columns: int, rows: int, keys: list[str]
) -> None:
    made = board(
        *(job(f"{each:02}", begun=each % 9, operation="a" * each) for each in range(count))
    )
    pressed(made, *keys)

    lines = draw_board(made, columns=columns, rows=rows)

    assert len(lines) == rows
    assert all(line.cell_len <= columns for line in lines)
    chosen = made.choice()
    if chosen is not None and rows > 15:
        assert any(line.plain.startswith("▸") for line in lines)

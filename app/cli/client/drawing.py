"""Draws a picture of a job as lines that fit a terminal: a pure function of picture, time and size.

Steps that run are shown with what they said last; finished ones are one line, and many of them are
counted. It neither writes nor knows how the lines get to the terminal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from rich.text import Text

from app.cli.client.lines import (
    BROKEN,
    DONE,
    SHORT_ID,
    fitted,
    lasting,
    level_style,
    one_line,
    pretty,
    row,
    state_style,
    turn,
    wrapped,
)
from app.cli.client.picture import Line, Picture, Step, Trouble
from app.cli.story_printer import bar, clean
from app.cli.units import number, rate, short
from telemetry.names import State

CUT: Final = "■"
WAITING: Final = "↻"
RECENT: Final = 6
"""Finished steps beside each other that are shown; earlier ones are counted."""
TRACE_LINES: Final = 8


class Detail(IntEnum):
    """How much is shown: steps alone; with what was said last; with all that is kept."""

    STEPS = 0
    LINES = 1
    ALL = 2

    @property
    def lines(self) -> int:
        """Lines that a step shows of what it said."""
        return (0, 4, 30)[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How to draw: the time now, columns, rows (None: as many as it takes), and what is asked for.

    `link` is the address of the job, for terminals that open links; `notice` is a line from the
    program itself, such as that the connection broke; `again` is what to do about a failure.
    """

    now: float
    width: int = 80
    height: int | None = None
    detail: Detail = Detail.LINES
    trouble: bool = False
    link: str = ""
    notice: str = ""
    keys: str = ""
    again: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line, and how much it matters that it is seen: what matters least goes first."""

    text: Text
    weight: int = 0


_FINISHED, _SAID, _NEEDED = 0, 1, 2


def draw(picture: Picture, view: View) -> list[Text]:
    """The lines of a job that has not ended, none wider than `view.width`."""
    rows = [Row(_heading(picture, view), _NEEDED), *_attempts(picture, view)]
    rows += _waiting(picture, view)
    if picture.progress is not None:
        rows.append(Row(_progress(picture, view), _NEEDED))
    if view.trouble:
        rows += [Row(each, _NEEDED) for each in _trouble(picture.first_error, view)]
    if view.notice:
        rows.append(Row(Text(view.notice, "yellow"), _NEEDED))
    if view.keys:
        rows.append(Row(Text(view.keys, "dim"), _NEEDED))
    return [fitted(each, view.width) for each in _within(rows, view.height)]


def draw_end(picture: Picture, view: View) -> list[Text]:
    """The lines that stay when a job has ended: its steps, its outcome, its result or failure."""
    rows = [_heading(picture, view), *(each.text for each in _attempts(picture, view))]
    if picture.progress is not None:
        rows.append(_progress(picture, view))
    lines = [fitted(each, view.width) for each in rows]
    lines += wrapped(outcome(picture, view.now), view.width)
    end = picture.end
    if end is not None and end.state == State.FAILED:
        lines += [fitted(each, view.width) for each in _trace(picture.trace, view)]
        if view.again:
            lines.append(fitted(Text(view.again, "dim"), view.width))
    if end is not None and end.result is not None:
        lines += [fitted(Text(each), view.width) for each in pretty(end.result)]
    return lines


def outcome(picture: Picture, now: float) -> Text:
    """How it ended, in a line."""
    end = picture.end
    if end is None:
        return Text()
    took = short(picture.took(now))
    tries = len(picture.attempts)
    times = f" on attempt {tries}" if tries > 1 else ""
    if end.state == State.COMPLETED:
        return Text(f"{DONE} completed{times} in {took}", "bold green")
    if end.state == State.CANCELLED:
        return Text(f"{BROKEN} cancelled{times} after {took}", "bold yellow")
    text = Text(f"{BROKEN} failed ({end.reason}){times} after {took}", "bold red")
    if end.failure is not None:
        kind = "" if end.failure.type == end.reason else f"{end.failure.type}: "
        text.append(f": {clean(kind + end.failure.message)}", "red")
    return text


# --- parts ----------------------------------------------------------------------------------------


def _heading(picture: Picture, view: View) -> Text:
    state = picture.state
    id_ = picture.job_id[:SHORT_ID]
    head = Text(clean(picture.operation), "bold")
    head.append("  ")
    head.append(id_, f"dim link {view.link}" if view.link else "dim")
    head.append("  ")
    head.append(state, state_style(state))
    if len(picture.attempts) > 1:
        most = f" of {picture.max_attempts}" if picture.max_attempts else ""
        head.append(f"  attempt {len(picture.attempts)}{most}", "dim")
    if picture.gaps:
        head.append("  part of the story is missing", "yellow")
    return row(head, short(picture.took(view.now)), view.width)


def _attempts(picture: Picture, view: View) -> list[Row]:
    rows: list[Row] = []
    told = len(picture.attempts) > 1 or picture.next_retry is not None
    for attempt in picture.attempts:
        last = attempt is picture.attempts[-1]
        if told:
            rows.append(_step_row(attempt, view, 0))
        if last or view.detail is Detail.ALL:
            rows += _children(attempt, picture, view, int(told))
            shown = last or view.detail is Detail.ALL
            rows += _lines(attempt, picture, view, int(told)) if shown else []
    return rows


def _children(parent: Step, picture: Picture, view: View, depth: int) -> list[Row]:
    rows: list[Row] = []
    finished = [each for each in parent.children if not each.running]
    hidden = [] if view.detail is Detail.ALL else finished[:-RECENT]
    folded = [each for each in hidden if not each.failed]
    count = parent.gone + len(folded)
    if count:
        mark = (BROKEN, "red") if parent.gone_failed else (DONE, "green")
        said = f"{count} earlier {'step' if count == 1 else 'steps'}"
        rows.append(Row(Text.assemble("  " * depth, mark, " ", (said, "dim")), _FINISHED))
    for child in parent.children:
        if any(child is each for each in folded):
            continue
        rows.append(_step_row(child, view, depth))
        if child.running or child.failed or view.detail is Detail.ALL:
            rows += _children(child, picture, view, depth + 1)
            rows += _lines(child, picture, view, depth + 1)
    return rows


def _step_row(step: Step, view: View, depth: int) -> Row:
    if step.cut:
        mark = (CUT, "yellow")
    elif step.running:
        mark = (turn(view.now), "cyan")
    else:
        mark = (BROKEN, "red") if step.failed else (DONE, "green")
    left = Text.assemble("  " * depth, mark, " ", (clean(step.name), "" if step.running else "dim"))
    under = step.finished()
    if under and not step.running and not step.failed and view.detail is not Detail.ALL:
        left.append(f"  {under} {'step' if under == 1 else 'steps'}", "dim")
    if step.said:
        left.append(f"  {one_line(step.said)}", "red")
    took = step.took(view.now)
    drawn = row(left, lasting(took) if step.running else short(took), view.width)
    return Row(drawn, _NEEDED if step.running or step.failed else _FINISHED)


def _lines(step: Step, picture: Picture, view: View, depth: int) -> list[Row]:
    return [
        Row(_said(line, picture, step, depth), _SAID if step.running else _FINISHED)
        for line in list(step.lines)[len(step.lines) - min(view.detail.lines, len(step.lines)) :]
    ]


def _said(line: Line, picture: Picture, step: Step, depth: int) -> Text:
    text = Text.assemble("  " * depth, ("│ ", "dim"))
    if line.actor not in {"", picture.operation, step.actor}:
        text.append(f"{clean(line.actor)}  ", "blue")
    text.append(one_line(line.text), level_style(line.level))
    return text


def _waiting(picture: Picture, view: View) -> list[Row]:
    if picture.state == State.RETRYING and picture.next_retry is not None:
        left = max(0.0, picture.next_retry - view.now)
        said = Text.assemble((WAITING, "yellow"), f" attempt {len(picture.attempts) + 1}")
        return [Row(row(said, f"in {short(left)}", view.width), _NEEDED)]
    return []


def _progress(picture: Picture, view: View) -> Text:
    told = picture.progress
    if told is None:
        return Text()
    text = Text()
    amount = number(told.done)
    if told.total:
        share = min(max(told.done / told.total, 0.0), 1.0)
        text.append(bar(share), "cyan" if picture.end is None else "dim")
        text.append(f" {share:4.0%}  ")
        amount += f"/{number(told.total)}"
    text.append(amount)
    if told.text:
        text.append(f" {one_line(told.text)}")
    if picture.end is None:
        speed, left = picture.rate(), picture.left(view.now)
        if speed is not None:
            text.append(f"  {rate(speed)}", "dim")
        if left is not None:
            text.append(f"  {short(left)} left", "dim")
    return text


def _trouble(trouble: Trouble | None, view: View) -> list[Text]:
    if trouble is None:
        return [Text("no error so far", "dim")]
    head = Text.assemble(("first error  ", "bold red"), (one_line(trouble.text), "red"))
    return [head, *_trace(trouble.trace, view)]


def _trace(trace: str, view: View) -> list[Text]:
    lines = clean(trace).splitlines()
    shown = lines if view.detail is Detail.ALL else lines[-TRACE_LINES:]
    return [Text(f"  {each}", "dim") for each in shown]


def _within(rows: list[Row], height: int | None) -> Iterable[Text]:
    """As many of `rows` as fit: what is finished goes first, then what was said, from the top."""
    if height is None or len(rows) <= height:
        return [each.text for each in rows]
    surplus = len(rows) - max(height - 1, 1)
    dropped: set[int] = set()
    for weight in (_FINISHED, _SAID, _NEEDED):
        for index, each in enumerate(rows[:-1]):
            if len(dropped) == surplus:
                break
            if index and each.weight == weight and index not in dropped:
                dropped.add(index)
    kept = [each.text for index, each in enumerate(rows) if index not in dropped]
    kept.insert(1, Text(f"… {len(dropped)} more lines", "dim"))
    return kept[:height]

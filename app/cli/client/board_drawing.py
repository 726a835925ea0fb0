"""Draws the board of `narrator top` as lines that fill a terminal: pure, as `drawing` is."""

from typing import Final

from rich.text import Text

from app.cli.client.board import RATE_S, Board
from app.cli.client.lines import SHORT_ID, fitted, state_style
from app.cli.client.table import Column, table
from app.cli.story_printer import bar, clean
from app.cli.units import age, number, rate, short
from app.client import JobRecord, Overview
from telemetry.names import State

COLUMNS: Final = (
    Column(title="  JOB"),
    Column(title="STATE"),
    Column(title="OPERATION", least=12),
    Column(title="RUNS", right=True),
    Column(title="AGE", right=True),
    Column(title="TRY", right=True),
    Column(title="PROGRESS", least=8),
    Column(title="TAGS", least=4),
)
KEYS: Final = "↑↓ choose  enter watch  s sort  f state  / search  esc all  q quit"
_ENDED: Final = (State.COMPLETED, State.FAILED, State.CANCELLED)


def draw_board(board: Board, *, columns: int, rows: int) -> list[Text]:
    """The lines, `rows` at most, none wider than `columns`."""
    lines = [_heading(board)]
    if board.overview is not None:
        lines += _numbers(board, board.overview)
    lines.append(Text())
    foot = Text(KEYS if board.live else "", "dim")
    if board.notice:
        foot = Text(board.notice, "yellow")
    lines += _jobs(board, columns, max(2, rows - len(lines) - 1))
    shown = lines[: rows - 1]
    shown += [Text()] * (rows - 1 - len(shown))
    return [fitted(line, columns) for line in [*shown, foot]]


def _heading(board: Board) -> Text:
    head = Text.assemble(("narrator top  ", "bold"), board.server)
    seen = board.overview
    if seen is None:
        head.append("  asking …", "dim")
        return head
    head.append(f"  {seen.at:%H:%M:%S} UTC", "dim")
    head.append(f"  {seen.streams} {'stream' if seen.streams == 1 else 'streams'}", "dim")
    if seen.draining:
        head.append("  draining", "bold yellow")
    return head


def _numbers(board: Board, seen: Overview) -> list[Text]:
    running = sum(seen.running.values())
    slots = Text("slots  ", "dim")
    slots.append(bar(min(1.0, running / seen.slots) if seen.slots else 0.0), "cyan")
    slots.append(f"  {running} of {seen.slots} run")
    for count, what in ((sum(seen.retrying.values()), "retrying"), (seen.deferred, "deferred")):
        if count:
            slots.append(f"  {number(count)} {what}", "yellow")
    queue = Text("queue  ", "dim")
    for name, waiting in seen.queue.items():
        queue.append(f"{name} {number(waiting.depth)}", "bold" if waiting.depth else "dim")
        if waiting.depth:
            queue.append(f" (oldest {short(waiting.oldest_age_s)})")
        queue.append("   ")
    kept = Text("kept   ", "dim")
    kept.append("   ".join(f"{each.value} {number(seen.states.get(each, 0))}" for each in _ENDED))
    return [slots, queue, *([_rates(board)] if board.live else []), kept]


def _rates(board: Board) -> Text:
    text = Text("rates  ", "dim")
    told = board.rates()
    if told is None:
        return text + Text("…")
    text.append(f"queued {rate(told.queued)}  completed {rate(told.completed)}  ")
    text.append(f"failed {rate(told.failed)}", "red" if told.failed else "")
    text.append(f"  cancelled {rate(told.cancelled)}  ({RATE_S:g} s)", "dim")
    return text


def _jobs(board: Board, columns: int, room: int) -> list[Text]:
    jobs = board.rows()
    what = Text.assemble((f"{len(jobs)} {board.state or 'unfinished'}", "bold"))
    what.append(f"  sorted: {board.sort.value}", "dim")
    if board.typing or board.text:
        what.append(f"  search: {board.text}{'▏' if board.typing else ''}")
    chosen = board.choice() if board.live else None
    shown = max(1, room - 2)
    at = jobs.index(chosen) if chosen else 0
    first = max(0, min(at - shown // 2, len(jobs) - shown))
    page = jobs[first : first + shown]
    if not page:
        return [what]
    head, *lines = table(COLUMNS, [_row(board, job, chosen) for job in page], width=columns)
    return [what, head, *lines]


def _row(board: Board, job: JobRecord, chosen: JobRecord | None) -> list[Text]:
    mark = "▸ " if job is chosen else "  "
    progress = job.progress
    told = ""
    if progress is not None:
        told = number(progress.done)
        if progress.total:
            told += f"/{number(progress.total)} {progress.done / progress.total:.0%}"
    runs = board.took(job)
    return [
        Text(f"{mark}{job.id[:SHORT_ID]}", "bold" if job is chosen else ""),
        Text(job.state, state_style(job.state)),
        Text(clean(job.operation)),
        Text(short(runs) if runs else ""),
        Text(age(board.now - job.created_at.timestamp())),
        Text(str(job.attempt) if job.attempt > 1 else ""),
        Text(told),
        Text(clean(" ".join(f"{name}={value}" for name, value in job.tags.items())), "dim"),
    ]

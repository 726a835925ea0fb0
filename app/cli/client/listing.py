"""`narrator ls`: jobs as a table that fits the terminal, as ids, or as JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from rich.text import Text

from app.cli.client.completion import operation_names
from app.cli.client.lines import SHORT_ID, state_style
from app.cli.client.output import print_lines, width
from app.cli.client.reach import KeyFile, Server, reached
from app.cli.client.submit import seconds
from app.cli.client.table import Column, table
from app.cli.story_printer import clean
from app.cli.units import age, number, short
from app.client import Client, JobFilter, JobRecord
from telemetry.clock import SystemClock
from telemetry.names import State

COLUMNS: Final = (
    Column(title="JOB"),
    Column(title="STATE"),
    Column(title="OPERATION", least=12),
    Column(title="AGE", right=True),
    Column(title="TOOK", right=True),
    Column(title="TRY", right=True),
    Column(title="PROGRESS", least=8),
    Column(title="TAGS", least=8),
)
MOST: Final = 10_000
PAGE: Final = 100
"""Jobs that one request asks for."""


def ls(
    *,
    state: Annotated[
        list[State] | None, typer.Option("--state", help="Only these; may be given several times.")
    ] = None,
    operation: Annotated[
        str | None,
        typer.Option("--operation", "-o", help="Only of this one.", autocompletion=operation_names),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", "-t", metavar="KEY[=VALUE]", help="Only with this tag; all must hold."
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Only where id, operation or tags hold this.")
    ] = None,
    since: Annotated[
        float | None,
        typer.Option(parser=seconds, metavar="TIME", help="Only of the last 10m, 2h, 7d."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many.", min=1, max=MOST)] = 20,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print whole ids only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON record a line.")] = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """List jobs, newest first.

    For example:

        narrator ls --state failed --since 1h

        narrator ls -q --state queued | xargs narrator cancel
    """
    chosen: JobFilter = {}
    if state:
        chosen["state"] = [each.value for each in state]
    if text:
        chosen["text"] = text
    if operation:
        chosen["operation"] = operation
    if tag:
        chosen["tag"] = [each.replace("=", ":", 1) for each in tag]  # as the server has it
    clock = SystemClock()
    if since is not None:
        chosen["since"] = datetime.fromtimestamp(clock.wall_ns() / 1e9, UTC) - timedelta(
            seconds=since
        )
    with reached(server, key_file) as client:
        jobs, total = _newest(client, limit, chosen)
        if quiet or as_json:
            for job in jobs:
                print(job.id if quiet else job.raw)
            return
        print_lines(listed(jobs, now=clock.wall_ns() / 1e9, columns=width()))
        if total > len(jobs):
            print_lines([Text(f"{len(jobs)} of {total}; --limit shows more", "dim")])


def _newest(client: Client, limit: int, chosen: JobFilter) -> tuple[list[JobRecord], int]:
    """The newest that match, `limit` at most, and how many match."""
    jobs: list[JobRecord] = []
    cursor: str | None = None
    while True:
        size = min(limit - len(jobs), PAGE)
        page = client.page(cursor=cursor, page_size=size, **chosen)
        jobs += page.jobs
        cursor = page.next
        if cursor is None or len(jobs) >= limit:
            return jobs, page.total


def listed(jobs: Sequence[JobRecord], *, now: float, columns: int | None) -> list[Text]:
    """The table of `jobs` at the time `now` (seconds since the Unix epoch)."""
    if not jobs:
        return [Text("no jobs", "dim")]
    return table(COLUMNS, [_row(job, now) for job in jobs], width=columns)


def _row(job: JobRecord, now: float) -> list[Text]:
    state = job.state if job.reason in {None, "error"} else f"{job.state} ({job.reason})"
    return [
        Text(job.id[:SHORT_ID]),
        Text(state, state_style(job.state)),
        Text(clean(job.operation)),
        Text(age(now - job.created_at.timestamp())),
        Text(short(took(job, now))),
        Text(str(job.attempt) if job.attempt > 1 else ""),
        Text(_progress(job), "" if not job.ended else "dim"),
        Text(clean(" ".join(f"{name}={value}" for name, value in job.tags.items())), "dim"),
    ]


def took(job: JobRecord, now: float) -> float | None:
    """Seconds from its first start to its end, or until `now`; None before the start."""
    if job.started_at is None:
        return None
    end = now if job.finished_at is None else job.finished_at.timestamp()
    return max(0.0, end - job.started_at.timestamp())


def _progress(job: JobRecord) -> str:
    told = job.progress
    if told is None:
        return ""
    if not told.total:
        return number(told.done)
    return f"{number(told.done)}/{number(told.total)} {told.done / told.total:.0%}"

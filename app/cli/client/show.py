"""`narrator show`: the record of a job, as a page or as JSON."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from app.cli.client.completion import job_ids
from app.cli.client.lines import fitted, pretty, state_style, wrapped
from app.cli.client.listing import took
from app.cli.client.output import print_lines, width
from app.cli.client.reach import AsJson, KeyFile, Server, address_of, job_named, print_json, reached
from app.cli.story_printer import clean
from app.cli.units import age, number, short
from app.client import JobRecord
from telemetry.clock import SystemClock

LABEL: Final = 12
"""Columns of the names at the left."""
WIDE: Final = 1_000
"""Columns where no terminal says how many."""


def show(
    job: Annotated[
        str, typer.Argument(help="The job's id, or the beginning.", autocompletion=job_ids)
    ],
    *,
    as_json: AsJson = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Show all that is known of a job.

    For example:

        narrator show 3f2a

        narrator show 3f2a --json | jq .result
    """
    with reached(server, key_file) as client:
        record = job_named(client, job)
        if as_json:
            print_json(record.raw)
            return
        now = SystemClock().wall_ns() / 1e9
        address = address_of(client.server, record)
        print_lines(page(record, now=now, address=address, columns=width() or WIDE))


def page(job: JobRecord, *, now: float, address: str, columns: int) -> list[Text]:
    """The lines that tell of `job` at the time `now` (seconds since the Unix epoch)."""
    lines: list[Text] = []
    for name, value in _facts(job, now, address):
        body = wrapped(value, max(20, columns - LABEL), most=1_000)
        for index, line in enumerate(body or [Text()]):
            lines.append(Text.assemble((f"{'' if index else name:<{LABEL}}", "dim"), line))
    lines += _attempts(job, columns)
    if job.result is not None:
        lines += [Text("result", "dim"), *(Text(f"  {each}") for each in pretty(job.result))]
    return [fitted(line, columns) for line in lines]


def _facts(job: JobRecord, now: float, address: str) -> Iterator[tuple[str, Text]]:
    """Names and what they say; what there is nothing of is left out."""
    state = Text(job.state, state_style(job.state))
    if job.reason:
        state.append(f" ({job.reason})")
    if job.queue_position is not None:
        state.append(f", {job.queue_position} ahead of it", "dim")
    yield "job", Text(job.id, f"link {address}")
    yield "operation", Text(clean(job.operation), "bold")
    yield "state", state
    if job.failure:
        yield "failure", Text(clean(f"{job.failure.type}: {job.failure.message}"), "red")
    if job.cancel:
        left = ", left behind: it would not stop" if job.cancel.abandoned else ""
        yield "cancelled", Text(f"by {job.cancel.origin}{left}")
    for index, (name, value) in enumerate(job.params.items()):
        param = Text.assemble((f"{clean(name)}=", "bold"), clean(_plain(value)))
        yield "" if index else "params", param
    yield "priority", Text(job.priority)
    yield from _times(job, now)
    for name, said in (
        ("tags", " ".join(f"{key}={value}" for key, value in job.tags.items())),
        ("metadata", _plain(job.metadata) if job.metadata else ""),
        ("progress", _progress(job)),
        ("retry of", job.retry_of or ""),
        ("trace", job.trace_id or ""),
        ("address", address),
    ):
        if said:
            yield name, Text(clean(said))


def _times(job: JobRecord, now: float) -> Iterator[tuple[str, Text]]:
    for name, moment in (
        ("created", job.created_at),
        ("started", job.started_at),
        ("finished", job.finished_at),
    ):
        if moment:
            yield name, _moment(moment, now)
    if job.started_at:
        yield "took", Text(short(took(job, now)))
    if job.next_retry_at:
        yield "next try", Text(f"in {short(job.next_retry_at.timestamp() - now)}")


def _progress(job: JobRecord) -> str:
    if job.progress is None:
        return ""
    total = f"/{number(job.progress.total)}" if job.progress.total else ""
    return f"{number(job.progress.done)}{total} {job.progress.text or ''}".strip()


def _attempts(job: JobRecord, columns: int) -> Iterator[Text]:
    if len(job.attempts) < 2 and not (job.attempts and job.attempts[0].error):  # noqa: PLR2004 — one
        return
    yield Text("attempts", "dim")
    for each in job.attempts:
        end = each.finished_at
        time = short((end - each.started_at).total_seconds()) if end else ""
        line = Text(f"  {each.number:>2}  {time:>6}  ")
        line.append(each.outcome or "running", "red" if each.error else "")
        if each.error:
            line.append(clean(f"  {each.error.type}: {each.error.message}".replace("\n", " ")))
        yield fitted(line, columns)


def _moment(at: datetime, now: float) -> Text:
    text = Text(at.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    text.append(f"  {age(now - at.timestamp())} ago", "dim")
    return text


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""`narrator store`: the file in which jobs outlive the server is checked, made small, written out.

It knows the store by its own package, and no server: two of the commands only read, while a server
goes on.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from app.cli.client.output import discard_output
from app.cli.client.reach import BROKEN_PIPE
from app.cli.configuration import settings_or_exit
from app.cli.failure import FAILED, INTERRUPTED, REFUSED, USAGE, fail
from app.cli.units import number
from app.jobs.record import record_of
from app.store.errors import StoreCorrupt, StoreError, StoreFailed, StoreFull, StoreInUse
from app.store.inspection import StoreFile, Story
from app.store.vacuum import vacuum as make_small
from narration.encoding import encode

STEP: Final = 100
"""Jobs between two looks of the progress line."""

_ELSEWHERE: Final = {"queue_position", "links"}
"""Of a record: what only a server can say."""
_ERASE: Final = "\r\x1b[2K"

File = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="FILE",
        help="The store; without it NARRATOR_STORE, or `store` in narrator.toml.",
        show_default=False,
    ),
]

store = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="""Look after the file in which jobs outlive the server.

    For example:

        narrator store check --store jobs.db

        narrator store export --store jobs.db | jq -c '{id, state}'
    """,
)


@store.command("check")
def check(
    file: File = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is damaged, one line for each find; a server may have the store meanwhile.

    The whole file is read: SQLite's own checks first, then whether attempts, stories and states fit
    together. The exit code is 0 where nothing is wrong, 1 where something is, 2 where there is no
    store to be read.

    For example:

        narrator store check --store jobs.db

        narrator store check --json | jq .findings
    """
    path = _path(file)
    with _told_errors(), StoreFile(path) as opened:
        found = list(opened.findings())
        jobs = None if any(each.where == "file" for each in found) else opened.count()
        if as_json:
            findings = [{"where": each.where, "what": each.what} for each in found]
            print(json.dumps({"store": str(path), "jobs": jobs, "findings": findings}, indent=2))
        else:
            for each in found:
                print(f"{each.where}: {each.what}")
            print(_summary(path, jobs, len(found)))
    if found:
        raise typer.Exit(FAILED)


@store.command("vacuum")
def vacuum(file: File = None) -> None:
    """Give back the room of jobs that were forgotten; no server may have the store.

    The file is written anew, and needs its own size of free room meanwhile, at most twice. A file
    of an older version is brought up to date. The exit code is 3 where a server has it, 1 where it
    is damaged or there is no room, 2 where there is no store.

    For example:

        narrator store vacuum --store jobs.db
    """
    path = _path(file)
    with _told_errors():
        before, after = make_small(path)
    print(f"{path}: {_size(before)}, now {_size(after)}")


@store.command("export")
def export(file: File = None) -> None:
    """Print every job with its story, a line of JSON each; a server may have the store meanwhile.

    Each line is the job's record, as the server gives it, with `number`, `tenant`,
    `idempotency_key`, and the story that is kept: `first`, `next` and `events`, each an `event` and
    its `data`. Oldest jobs come first.

    For example:

        narrator store export --store jobs.db > jobs.ndjson

        narrator store export | jq -r 'select(.state == "failed") | .failure.message'
    """
    path = _path(file)
    with _told_errors(), StoreFile(path) as opened, _progress(opened.count()) as done:
        for each in opened.stories():
            sys.stdout.write(f"{encode(_line(each)).decode()}\n")
            done()


def _line(story: Story) -> dict[str, Any]:
    """What is exported of one job."""
    job, stored = story.stored.job, story.stored
    record = record_of(job).model_dump(mode="json", exclude=_ELSEWHERE)
    return {
        **record,
        "params": msgspec.Raw(job.params_json),
        "metadata": msgspec.Raw(job.metadata_json),
        "result": job.result_json(),
        "number": job.number,
        "tenant": job.tenant,
        "idempotency_key": stored.provenance.idempotency_key,
        "first": stored.first,
        "next": stored.next,
        "events": [
            {"event": entry.name, "data": msgspec.Raw(entry.data)} for entry in story.entries
        ],
    }


def _path(file: Path | None) -> Path:
    path = settings_or_exit({"store": file}).store
    if path is None:
        fail("which store? Name it with --store FILE, or set NARRATOR_STORE", USAGE)
    return path


def _summary(path: Path, jobs: int | None, found: int) -> str:
    size = _size(path.stat().st_size)
    there = size if jobs is None else f"{_counted(jobs, 'job')}, {size}"
    return f"{path}: {there}: {_counted(found, 'find') if found else 'nothing is wrong'}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def _size(size: int) -> str:
    return f"{number(size)}B"


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Any]:
    """Gives what is called after each job; the line is for a terminal, and goes at the end."""
    done = 0
    shown = sys.stderr.isatty()

    def step() -> None:
        nonlocal done
        done += 1
        if shown and done % STEP == 0:
            sys.stderr.write(f"{_ERASE}{done:,} of {_counted(total, 'job')}")
            sys.stderr.flush()

    try:
        yield step
    finally:
        if shown and done >= STEP:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()


@contextlib.contextmanager
def _told_errors() -> Iterator[None]:
    """Errors of the store end the command with what is wrong and what to do."""
    try:
        yield
        sys.stdout.flush()
    except StoreInUse as error:
        fail(str(error), REFUSED)
    except (StoreCorrupt, StoreFull, StoreFailed) as error:
        fail(str(error), FAILED)
    except StoreError as error:
        fail(str(error), USAGE)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        discard_output()
        raise typer.Exit(BROKEN_PIPE) from None

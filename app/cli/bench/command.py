"""`narrator bench`: the command line, the progress on a terminal, and how it ends."""

import sys
from typing import Annotated, Final

import typer

from app.cli.configuration import settings_or_exit, warn_unknown_variables
from app.cli.failure import FAILED, INTERRUPTED, USAGE, fail
from app.cli.params import WordError, params_from
from app.cli.story_printer import StoryPrinter
from app.handlers.discovery import load, operations_of
from app.handlers.errors import ResourceError, TargetError
from app.handlers.operation import Operation
from app.jobs.errors import InvalidParams
from telemetry.names import StreamEvent

MAX_READERS: Final = 100_000
STOP_S: Final = 1.0
"""Seconds that a running job has to stop at Ctrl-C before it is left alone."""


def bench(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="A file (jobs.py) or module with one operation, or one operation of it "
            "(jobs.py:render); without it, a built-in sample of 3 spans and 10 events.",
            show_default=False,
        ),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="The operation's params; key:=JSON for a value in JSON.",
            show_default=False,
        ),
    ] = None,
    *,
    readers: Annotated[
        str, typer.Option(help="Readers of each narrated job's stream, one row for each number.")
    ] = "0,1,10",
    seconds: Annotated[
        float,
        typer.Option(help="About how long to measure, after a warm-up.", min=0.01, max=86_400),
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure on this machine what it costs to be watched: CPU per job, and ratios.

    bare: the handler, called directly. traced: in a span, as by hand. narrated: a job of the real
    server in this process, which nobody reads, or with that many readers of its stream.

    An operation in a child process (isolation="process") is only measured narrated: no call in this
    process would do the same work.

    For example:

        narrator bench

        narrator bench jobs.py:resize width=640 --readers 0,100 --seconds 30
    """
    counts = _readers(readers)
    operation = _operation(target)
    try:
        arguments = operation.validate(params_from(params or [], operation.schema))
    except (WordError, InvalidParams) as error:
        fail(str(error), USAGE)
    settings = settings_or_exit({"cancel_grace_s": STOP_S})
    warn_unknown_variables()
    from app.cli.bench.forms import FailedJobError  # noqa: PLC0415 — other commands load no server
    from app.cli.bench.run import measured  # noqa: PLC0415 — the same
    from app.cli.bench.table import Report  # noqa: PLC0415 — the same
    from app.cli.bench.tracing import present  # noqa: PLC0415 — the same

    foreign = present() is not None
    progress = _Progress(seconds)
    try:
        found = measured(
            operation, arguments, counts, settings=settings, seconds=seconds, told=progress.told
        )
    except (FailedJobError, ResourceError) as error:
        progress.close()
        fail(f"operation {operation.name!r} cannot be measured: {error}", FAILED)
    except KeyboardInterrupt:
        progress.close()
        fail("stopped", INTERRUPTED)
    progress.close()
    report = Report(
        measured=found, operation=operation, target=target, params=arguments, foreign=foreign
    )
    print(report.as_json() if as_json else report.as_table())


class _Progress:
    """A line that moves, on a terminal; elsewhere nothing."""

    def __init__(self, seconds: float) -> None:
        self._printer = StoryPrinter(sys.stderr)
        self._seconds = seconds

    def told(self, spent_s: float, what: str) -> None:
        """Show how much of the time is over, and what is measured."""
        if self._printer.terminal:
            total = max(round(self._seconds), 1)
            shown = {"done": min(round(spent_s), total), "total": total, "text": f"s, {what}"}
            self._printer.event(StreamEvent.PROGRESS, shown)

    def close(self) -> None:
        """Take the line away."""
        self._printer.close()


def _readers(text: str) -> list[int]:
    """The numbers of readers, each once, in order; or the end."""
    counts: list[int] = []
    for part in text.split(","):
        number = part.strip()
        if not (number.isascii() and number.isdigit() and int(number) <= MAX_READERS):
            fail(
                f"--readers: {part!r} is no number of readers; write numbers from 0 to "
                f"{MAX_READERS} with commas between them, such as 0,1,10",
                USAGE,
            )
        counts.append(int(number))
    return sorted(set(counts))


def _operation(target: str | None) -> Operation:
    """The one operation that `target` names, or the sample; or the end."""
    try:
        if target is None:
            from app.cli.bench.sample import sample  # noqa: PLC0415 — only where it is measured

            return operations_of([sample])[0]
        if "=" in target:
            fail(f"{target!r} is a param; name the operation first, such as jobs.py:render", USAGE)
        found = load(target)
    except TargetError as error:
        fail(str(error), USAGE)
    if len(found) > 1:
        choices = ", ".join(f"{target}:{each.target.attribute}" for each in found)
        fail(f"{target} has {len(found)} operations; name one: {choices}", USAGE)
    return found[0]

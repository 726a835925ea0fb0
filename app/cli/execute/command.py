"""`narrator exec`: the command line."""

from typing import Annotated

import typer

from app.cli.client.display import Progress


def execute(
    command: Annotated[
        list[str],
        typer.Argument(metavar="CMD [ARG]...", help="The command; after -- nothing is an option."),
    ],
    *,
    progress: Annotated[
        Progress,
        typer.Option(
            help="auto draws on a terminal, and elsewhere passes on what the command writes, as it "
            "is; plain tells it as lines of a story."
        ),
    ] = Progress.AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line for each event.")] = (
        False
    ),
) -> None:
    """Run a command as a narrated, traced job, without a server.

    Its exit code is passed through; 128 and the number of the signal that killed it, 127 if there
    is no such command, 126 if it may not be run. Signals go to the command and all that it
    started. With OTEL_EXPORTER_OTLP_ENDPOINT set the trace is exported, and the command finds its
    parent in TRACEPARENT. What the command leaves running when it ends is ended, too.

    For example:

        narrator exec -- make -j8

        narrator exec --json -- ./backup.sh | jq -r .data.text
    """
    from app.cli.execute.run import run  # noqa: PLC0415 — the help needs no telemetry

    raise typer.Exit(run(command, progress=progress, as_json=as_json))

"""`narrator watch`, alias `follow`: a job's story, live or as it was."""

import contextlib
from typing import Annotated, Literal

import typer

from app.cli.client.completion import job_ids
from app.cli.client.display import Progress
from app.cli.client.following import follow
from app.cli.client.reach import AsJson, KeyFile, Server, job_named, reached
from app.client import Client, ClientError, Operation

ProgressOption = Annotated[
    Progress, typer.Option(help="How to show it; auto draws on a terminal, plain lines elsewhere.")
]
Mode = Annotated[
    Literal["human", "cute", "story"] | None,
    typer.Option(help="The voice of the story.", show_default="human"),
]


def watch(
    job: Annotated[
        str, typer.Argument(help="The job's id, or the beginning.", autocompletion=job_ids)
    ],
    *,
    progress: ProgressOption = Progress.AUTO,
    mode: Mode = None,
    as_json: AsJson = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Follow a job to its end, or see again how it went.

    The exit code tells the outcome: 0 completed, 1 failed, 3 not found, 124 out of time, 130
    cancelled or left. Ctrl-C leaves the job alone; a second one within three seconds cancels it.

    For example:

        narrator watch 3f2a

        narrator watch 3f2a --json | jq .data.text
    """
    with reached(server, key_file) as client:
        record = job_named(client, job)
        operation = operation_named(client, record.operation)
        code = follow(
            client,
            record,
            progress=progress,
            as_json=as_json,
            operation=operation,
            mode=mode,
            key_file=key_file,
        )
    raise typer.Exit(code)


def operation_named(client: Client, name: str) -> Operation | None:
    """The operation of this name, None where the server has it no more or can't say."""
    with contextlib.suppress(ClientError):
        return next((each for each in client.operations() if each.name == name), None)
    return None

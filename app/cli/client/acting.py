"""`narrator cancel` and `narrator retry`: what is done to jobs that are there."""

from typing import Annotated

import typer

from app.cli.client.completion import job_ids
from app.cli.client.display import Progress, progress_of
from app.cli.client.following import follow, print_job
from app.cli.client.reach import (
    AsJson,
    KeyFile,
    Server,
    job_named,
    print_json,
    reached,
)
from app.cli.client.submit import IdempotencyKey, Words, tags_of
from app.cli.client.watch import Mode, ProgressOption, operation_named
from app.cli.failure import REFUSED, USAGE, complain, fail
from app.cli.params import WordError, params_from
from app.client import ClientError, JobOptions


def cancel(
    jobs: Annotated[
        list[str],
        typer.Argument(metavar="JOB...", help="Ids, or their beginnings.", autocompletion=job_ids),
    ],
    *,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait until they have really stopped.")
    ] = False,
    as_json: AsJson = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Cancel jobs.

    For example:

        narrator cancel 3f2a --wait

        narrator ls -q --state queued | xargs narrator cancel
    """
    code = 0
    with reached(server, key_file) as client:
        for word in jobs:
            job = job_named(client, word)
            try:
                record = client.cancel(job)
                record = client.wait(job) if wait else record
            except ClientError as error:  # one that can't be cancelled keeps no other from it
                complain(str(error))
                code = REFUSED
                continue
            if as_json:
                print_json(record.raw)
            else:
                print(f"{record.id}  {record.state}", flush=True)
    raise typer.Exit(code)


def retry(
    job: Annotated[
        str, typer.Argument(help="The job's id, or the beginning.", autocompletion=job_ids)
    ],
    words: Words = None,
    *,
    follow_it: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the new job, as narrator run does.")
    ] = False,
    priority: Annotated[str | None, typer.Option("--priority", "-p", help="Another one.")] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", "-t", metavar="KEY=VALUE", help="Other tags, in place of its own."),
    ] = None,
    idempotency_key: IdempotencyKey = None,
    progress: ProgressOption = Progress.AUTO,
    mode: Mode = None,
    as_json: AsJson = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Run a finished job again, as it was or with changed params.

    Prints the id of the new job. With --follow the exit code tells its outcome.

    For example:

        narrator retry 3f2a

        narrator retry 3f2a frames=12 --follow
    """
    changes: JobOptions = {}
    if priority:
        changes["priority"] = priority
    if tag:
        changes["tags"] = tags_of(tag)
    with reached(server, key_file) as client:
        old = job_named(client, job)
        operation = operation_named(client, old.operation)
        try:
            params = params_from(words or [], operation.schema if operation else {})
            new = client.retry(old, params or None, idempotency_key=idempotency_key, **changes)
        except (WordError, ValueError) as error:
            fail(str(error), USAGE)
        if not follow_it:
            if as_json:
                print_json(new.raw)
            else:
                print(new.id)
            return
        in_json = progress_of(progress, as_json=as_json) is Progress.JSON
        print_job(client.server, new, as_json=in_json)
        code = follow(
            client,
            new,
            progress=progress,
            as_json=as_json,
            operation=operation,
            mode=mode,
            key_file=key_file,
        )
    raise typer.Exit(code)

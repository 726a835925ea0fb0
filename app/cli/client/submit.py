"""`narrator run` and `narrator submit`: from words to a job, and on to its end.

Which words mean which params is `app.cli.params`'; how a job is followed, `following`'s.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from app.cli.client.completion import operation_names, param_words
from app.cli.client.display import Progress, progress_of
from app.cli.client.following import follow, print_job
from app.cli.client.reach import AsJson, KeyFile, Server, address_of, print_json, reached
from app.cli.client.watch import Mode, ProgressOption
from app.cli.failure import REFUSED, USAGE, fail
from app.cli.params import WordError, params_from
from app.cli.units import seconds_of
from app.client import Client, Forbidden, JobOptions, JobRecord, Operation
from telemetry.names import Priority


def seconds(text: str) -> float:
    """The value of an option that is a duration."""
    try:
        return seconds_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


OperationName = Annotated[
    str,
    typer.Argument(
        help="What to run: narrator operations lists it.", autocompletion=operation_names
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="The operation's params: key=value, converted by its schema; key:=JSON; key=@FILE; "
        "@file.json or - for a JSON object of params.",
        show_default=False,
        autocompletion=param_words,
    ),
]
PriorityOption = Annotated[
    Priority | None,
    typer.Option("--priority", "-p", help="How urgent it is.", show_default="normal"),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", "-t", metavar="KEY=VALUE", help="A tag; may be given several times."),
]
Timeout = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="TIME", help="How long an attempt may take: 30, 5m."),
]
Deadline = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="TIME", help="How long all of it may take."),
]
QueueTimeout = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="TIME", help="How long it may wait for its start."),
]
Attempts = Annotated[int | None, typer.Option(help="How often it is tried at most.", min=1)]
ConcurrencyKey = Annotated[
    str | None, typer.Option("--concurrency-key", help="Jobs of one key run one at a time.")
]
IdempotencyKey = Annotated[
    str | None, typer.Option("--idempotency-key", help="Asked for again, it is the same job.")
]


def run(
    operation: OperationName,
    words: Words = None,
    *,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Do not follow it: as narrator submit.")
    ] = False,
    progress: ProgressOption = Progress.AUTO,
    mode: Mode = None,
    priority: PriorityOption = None,
    tag: Tags = None,
    timeout: Timeout = None,
    deadline: Deadline = None,
    queue_timeout: QueueTimeout = None,
    attempts: Attempts = None,
    concurrency_key: ConcurrencyKey = None,
    idempotency_key: IdempotencyKey = None,
    as_json: AsJson = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Submit a job and follow it to its end.

    The exit code tells the outcome: 0 completed, 1 failed, 2 a wrong parameter, 3 not found or
    refused, 124 out of time, 130 cancelled or left. Ctrl-C leaves the job alone and says how to
    come back; a second one within three seconds cancels it.

    For example:

        narrator run render scene=forest frames=24

        narrator run render @scene.json frames:=12 --timeout 5m --tag film=a
    """
    said = _Said(
        priority=priority,
        tag=tag,
        timeout=timeout,
        deadline=deadline,
        queue_timeout=queue_timeout,
        attempts=attempts,
        concurrency_key=concurrency_key,
    )
    with reached(server, key_file) as client:
        found = readable(client, operation) if detach else operation_or_exit(client, operation)
        schema = found.schema if found else {}
        job = _submitted(
            client, operation, words or [], schema, said.options(), idempotency_key=idempotency_key
        )
        if detach:
            _print_submitted(client, job, as_json=as_json)
            return
        in_json = progress_of(progress, as_json=as_json) is Progress.JSON
        print_job(client.server, job, as_json=in_json)
        code = follow(
            client,
            job,
            progress=progress,
            as_json=as_json,
            operation=found,
            mode=mode,
            key_file=key_file,
        )
    raise typer.Exit(code)


def submit(
    operation: OperationName,
    words: Words = None,
    *,
    priority: PriorityOption = None,
    tag: Tags = None,
    timeout: Timeout = None,
    deadline: Deadline = None,
    queue_timeout: QueueTimeout = None,
    attempts: Attempts = None,
    concurrency_key: ConcurrencyKey = None,
    idempotency_key: IdempotencyKey = None,
    as_json: AsJson = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Submit a job and print its id.

    For example:

        id=$(narrator submit render scene=forest) && narrator watch $id
    """
    said = _Said(
        priority=priority,
        tag=tag,
        timeout=timeout,
        deadline=deadline,
        queue_timeout=queue_timeout,
        attempts=attempts,
        concurrency_key=concurrency_key,
    )
    with reached(server, key_file) as client:
        found = readable(client, operation)
        schema = found.schema if found else {}
        job = _submitted(
            client, operation, words or [], schema, said.options(), idempotency_key=idempotency_key
        )
        _print_submitted(client, job, as_json=as_json)


def _print_submitted(client: Client, job: JobRecord, *, as_json: bool) -> None:
    if as_json:
        print_json(job.raw)
        return
    print(job.id, flush=True)
    if sys.stdout.isatty():
        print(f"{address_of(client.server, job)}\nFollow it: narrator watch {job.id}")


def _submitted(
    client: Client,
    name: str,
    words: Sequence[str],
    schema: Mapping[str, Any],
    options: JobOptions,
    *,
    idempotency_key: str | None,
) -> JobRecord:
    """The new job."""
    try:
        params = params_from(words, schema)
        return client.submit(name, params, idempotency_key=idempotency_key, **options)
    except (WordError, ValueError) as error:  # the second: JSON can't carry a value
        fail(str(error), USAGE)


def readable(client: Client, name: str) -> Operation | None:
    """As `operation_or_exit`; None where the key may submit, and not read what there is."""
    try:
        return operation_or_exit(client, name)
    except Forbidden:
        return None


def operation_or_exit(client: Client, name: str) -> Operation:
    """The operation of this name, or the end with those that there are."""
    known = {each.name: each for each in client.operations()}
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ": narrator operations lists them"
        fail(f"there is no operation {name!r} on {client.server}{hint}", REFUSED)
    return known[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """The options of a line; what was not said is the operation's or the server's to say."""

    priority: Priority | None
    tag: list[str] | None
    timeout: float | None
    deadline: float | None
    queue_timeout: float | None
    attempts: int | None
    concurrency_key: str | None

    def options(self) -> JobOptions:
        """What of it was said."""
        options: JobOptions = {}
        if self.priority is not None:
            options["priority"] = self.priority.value
        if self.tag:
            options["tags"] = tags_of(self.tag)
        if self.timeout is not None:
            options["timeout_s"] = self.timeout
        if self.deadline is not None:
            options["deadline_s"] = self.deadline
        if self.queue_timeout is not None:
            options["queue_timeout_s"] = self.queue_timeout
        if self.attempts is not None:
            options["retry"] = {"max_attempts": self.attempts}
        if self.concurrency_key is not None:
            options["concurrency_key"] = self.concurrency_key
        return options


def tags_of(words: Sequence[str]) -> dict[str, str]:
    """Tags from `key=value`, or the end with the one that is none."""
    tags: dict[str, str] = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found or not name:
            fail(f"{word!r} is no tag: write --tag key=value", USAGE)
        tags[name] = value
    return tags

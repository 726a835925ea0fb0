"""What a shell completes from the server: operations, their params, jobs. Never an error.

A shell waits for it at each Tab: where the server does not answer at once, nothing is offered.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import typer

from app.cli.client.reach import key_in
from app.client import Client, ClientError, Patience

TIMEOUT_S: Final = 0.5
"""Seconds that a Tab may take."""
JOBS: Final = 50
"""The newest jobs are offered."""


def operation_names(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Operations whose names begin so, each with its summary."""
    return _asked(ctx, incomplete, _operations)


def param_words(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """`name=` for each param of the operation on the line; the values where they are few."""
    name = ctx.params.get("operation")

    def words(client: Client) -> Iterator[tuple[str, str]]:
        schema = next((each.schema for each in client.operations() if each.name == name), {})
        return _words(schema.get("properties", {}))

    return _asked(ctx, incomplete, words)


def job_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest jobs whose ids begin so, each with its operation and state."""
    return _asked(ctx, incomplete, _jobs)


def _operations(client: Client) -> Iterator[tuple[str, str]]:
    return ((each.name, each.summary) for each in client.operations())


def _jobs(client: Client) -> Iterator[tuple[str, str]]:
    newest = islice(client.list(page_size=JOBS), JOBS)
    return ((each.id, f"{each.operation} {each.state}") for each in newest)


def _words(properties: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, part in properties.items():
        text = part.get("description", "")
        yield f"{name}=", text
        values = part.get("enum", ["true", "false"] if part.get("type") == "boolean" else [])
        yield from ((f"{name}={value}", text) for value in values)


def _asked(
    ctx: typer.Context, incomplete: str, words: Callable[[Client], Iterable[tuple[str, str]]]
) -> list[tuple[str, str]]:
    """The `words` of the server that the line names, that begin so; none where it is not there."""
    server, file = ctx.params.get("server"), ctx.params.get("key_file")
    patience = Patience(calls_s=0.0)
    try:
        key = None if file is None else key_in(file)
        with Client(server, key=key, timeout_s=TIMEOUT_S, patience=patience) as client:
            return [each for each in words(client) if each[0].startswith(incomplete)]
    except (ClientError, ValueError):  # nobody sees an error at a Tab
        return []

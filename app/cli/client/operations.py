"""`narrator operations`: what can be run, and the help of one operation, from its schema."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.client.completion import operation_names
from app.cli.client.lines import wrapped
from app.cli.client.output import print_lines, width
from app.cli.client.reach import AsJson, KeyFile, Server, print_json, reached
from app.cli.client.show import WIDE
from app.cli.client.submit import operation_or_exit
from app.cli.client.table import Column, table
from app.cli.params import types_of
from app.cli.story_printer import clean
from app.client import Operation


def operations(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Say how this one is called.",
            autocompletion=operation_names,
            show_default=False,
        ),
    ] = None,
    *,
    as_json: AsJson = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """List what can be run, or say how one operation is called.

    For example:

        narrator operations

        narrator operations render
    """
    with reached(server, key_file) as client:
        if name is not None:
            operation = operation_or_exit(client, name)
            if as_json:
                print_json(operation.raw)
            else:
                print_lines(help_of(operation, columns=width() or WIDE))
            return
        found = client.operations()
        if as_json:
            _print_all(found)
        else:
            print_lines(listed(found, columns=width()))


def _print_all(found: tuple[Operation, ...]) -> None:
    values = [json.loads(each.raw) for each in found]
    print(json.dumps(values, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def listed(found: tuple[Operation, ...], *, columns: int | None) -> list[Text]:
    """A table of operations with their params; those with a default in brackets."""
    heads = (
        Column(title="OPERATION"),
        Column(title="WHAT", least=20),
        Column(title="PARAMS", least=12),
    )
    rows = [
        [Text(clean(each.name), "bold"), Text(clean(each.summary)), Text(_usage(each), "dim")]
        for each in found
    ]
    return table(heads, rows, width=columns)


def help_of(operation: Operation, *, columns: int | None) -> list[Text]:
    """What one operation does, and each of its params."""
    rows = [
        [
            Text(f"  {name}", "bold"),
            Text(kind_of(part, operation.schema)),
            Text("" if name in _required(operation) else json.dumps(part.get("default")), "dim"),
            Text(clean(part.get("description", ""))),
        ]
        for name, part in _properties(operation)
    ]
    usage = Text.assemble("narrator run ", (clean(operation.name), "bold"), f" {_usage(operation)}")
    lines = wrapped(usage, columns or WIDE)
    lines += [Text(), *(Text(each) for each in clean(operation.description).splitlines())]
    if rows:
        heads = (
            Column(title="  PARAM"),
            Column(title="TYPE", least=10),
            Column(title="DEFAULT", least=7),
            Column(title="", least=10),
        )
        lines += [Text(), *table(heads, rows, width=columns)]
    return lines


def kind_of(part: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What a param may be, in a few words: its values, or its types with their bounds."""
    values = next(_enums(part), None)
    if values is not None:
        return "|".join(str(each) for each in values)
    types = sorted(types_of(part, root) - {"null"})
    text = "|".join(types) or "any"
    if "null" in types_of(part, root):
        text += " or null"
    bounds = [
        f"{sign} {part[key]:g}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if isinstance(part.get(key), int | float)
    ]
    return " ".join([text, *bounds])


def _enums(part: Mapping[str, Any]) -> Iterator[list[Any]]:
    if "enum" in part:
        yield part["enum"]
    for choice in part.get("anyOf", ()):
        yield from _enums(choice)


def _usage(operation: Operation) -> str:
    required = _required(operation)
    return " ".join(
        f"{name}=…" if name in required else f"[{name}=…]" for name, _ in _properties(operation)
    )


def _properties(operation: Operation) -> list[tuple[str, Mapping[str, Any]]]:
    return list(operation.schema.get("properties", {}).items())


def _required(operation: Operation) -> frozenset[str]:
    return frozenset(operation.schema.get("required", ()))

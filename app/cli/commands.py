"""The sub-commands of `narrator`, each loaded when it is called.

A client's command would wait a second for the server's code, which it does not use. So the table
has, for each, where it is and the one line that help and completion show; a test compares the line
with the command's own.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

CLIENT: Final = "Jobs on a server (--server, or NARRATOR_SERVER)"
LOCAL: Final = "On this machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lazy:
    """A sub-command: `function` of `module`, its first line of help, and its panel there.

    Where `function` is a `typer.Typer`, the sub-command is a group.
    """

    name: str
    module: str
    function: str
    summary: str
    panel: str
    hidden: bool = False

    def shown(self) -> TyperCommand:
        """What a list of commands needs of it; it can't be called."""
        return TyperCommand(
            self.name, help=self.summary, rich_help_panel=self.panel, hidden=self.hidden
        )

    def load(self) -> Any:
        """The command itself."""
        function = getattr(importlib.import_module(self.module), self.function)
        if isinstance(function, typer.Typer):  # a group, which has commands of its own
            return typer.main.get_command(function)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        settings = {"allow_interspersed_args": False} if self.name == "exec" else {}
        alone.command(self.name, context_settings=settings)(function)
        return typer.main.get_command(alone)


COMMANDS: Final = (
    Lazy(
        name="run",
        module="app.cli.client.submit",
        function="run",
        summary="Submit a job and follow it to its end.",
        panel=CLIENT,
    ),
    Lazy(
        name="submit",
        module="app.cli.client.submit",
        function="submit",
        summary="Submit a job and print its id.",
        panel=CLIENT,
    ),
    Lazy(
        name="watch",
        module="app.cli.client.watch",
        function="watch",
        summary="Follow a job to its end, or see again how it went.",
        panel=CLIENT,
    ),
    Lazy(
        name="follow",
        module="app.cli.client.watch",
        function="watch",
        summary="Follow a job to its end, or see again how it went.",
        panel=CLIENT,
        hidden=True,
    ),
    Lazy(
        name="ls",
        module="app.cli.client.listing",
        function="ls",
        summary="List jobs, newest first.",
        panel=CLIENT,
    ),
    Lazy(
        name="show",
        module="app.cli.client.show",
        function="show",
        summary="Show all that is known of a job.",
        panel=CLIENT,
    ),
    Lazy(
        name="cancel",
        module="app.cli.client.acting",
        function="cancel",
        summary="Cancel jobs.",
        panel=CLIENT,
    ),
    Lazy(
        name="retry",
        module="app.cli.client.acting",
        function="retry",
        summary="Run a finished job again, as it was or with changed params.",
        panel=CLIENT,
    ),
    Lazy(
        name="operations",
        module="app.cli.client.operations",
        function="operations",
        summary="List what can be run, or say how one operation is called.",
        panel=CLIENT,
    ),
    Lazy(
        name="top",
        module="app.cli.client.top",
        function="top",
        summary="Watch a server: what waits, runs, and is slow.",
        panel=CLIENT,
    ),
    Lazy(
        name="exec",
        module="app.cli.execute.command",
        function="execute",
        summary="Run a command as a narrated, traced job, without a server.",
        panel=LOCAL,
    ),
    Lazy(
        name="serve",
        module="app.cli.serve",
        function="serve",
        summary="Serve operations over HTTP.",
        panel=LOCAL,
    ),
    Lazy(
        name="demo",
        module="app.cli.demo",
        function="demo_command",
        summary="Start a server, run a job on real files, and tell its story live.",
        panel=LOCAL,
    ),
    Lazy(
        name="bench",
        module="app.cli.bench.command",
        function="bench",
        summary="Measure on this machine what it costs to be watched: CPU per job, and ratios.",
        panel=LOCAL,
    ),
    Lazy(
        name="store",
        module="app.cli.store_command",
        function="store",
        summary="Look after the file in which jobs outlive the server.",
        panel=LOCAL,
    ),
    Lazy(
        name="keys",
        module="app.cli.keys_command",
        function="keys",
        summary="Make, list and revoke the keys that open a server.",
        panel=LOCAL,
    ),
    Lazy(
        name="settings",
        module="app.cli.settings_command",
        function="settings",
        summary="Print each setting, its value, and where the value came from.",
        panel=LOCAL,
    ),
)
"""All of them, in the order of help."""


class Commands(TyperGroup):
    """The group of all sub-commands: it lists what the table says, and loads what is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": {c.name: c.shown() for c in COMMANDS}})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The sub-command that `args` begin with, loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        found = next((each for each in COMMANDS if each.name == name), None)
        return name, command if found is None else found.load(), rest

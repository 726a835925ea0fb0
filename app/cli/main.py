"""The command `narrator`: its sub-commands and its exit codes.

It only parses and hands over; each sub-command is a module of its own, loaded when it is called.
"""

import importlib.metadata
from collections.abc import Sequence
from typing import Annotated

import typer

from app.cli.commands import Commands
from app.cli.failure import USAGE

application = typer.Typer(
    name="narrator",
    cls=Commands,
    help="A job server that tells the story of every job, live.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@application.callback()
def _narrator(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print(f"narrator {version_of_package()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(USAGE)


def version_of_package() -> str:
    """The installed version; `unknown` in a checkout that is not installed."""
    try:
        return importlib.metadata.version("job-narrator")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; `app.cli.failure` has them."""
    try:
        application(None if arguments is None else list(arguments), prog_name="narrator")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

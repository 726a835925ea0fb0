"""`narrator serve`: load the targets, bind the address, serve until told to stop."""

import gc
import logging
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.access.keys_file import KeysFileError
from app.cli.configuration import settings_or_exit, warn_unknown_variables
from app.cli.failure import REFUSED, USAGE, fail
from app.cli.reload import serve_and_reload
from app.cli.room import ConnectionLimits
from app.cli.server import (
    Server,
    address_of,
    configuration,
    is_loopback,
    listen,
    raise_file_limit,
)
from app.handlers.discovery import load_all
from app.handlers.errors import ResourceError, TargetError
from app.handlers.operation import Operation
from app.settings import Settings
from app.store.errors import StoreError

GC_THRESHOLD: Final = 20_000
"""Objects made since the last collection after which Python looks for cycles; by default 700."""

SPARE_FILES: Final = 128
"""Of the files that this process may open, those that are no connections: jobs need some, too."""

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET]...",
            help="Files (jobs.py), modules (package.jobs) or functions of them (jobs.py:render) "
            "whose operations are served; without one, the built-in operations.",
            show_default=False,
        ),
    ] = None,
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one.", show_default="8000")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Jobs that run at the same time.", show_default="32")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep jobs in this SQLite file, so that they outlive the server.",
            show_default="in memory",
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The keys file: who may do what (narrator keys makes it).",
            show_default="every caller may do everything",
        ),
    ] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Serve other machines without keys.")
    ] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start again when a Python file changes.")
    ] = False,
) -> None:
    """Serve operations over HTTP.

    The first line on stdout says the address, once connections are accepted. SIGTERM or Ctrl-C
    drains: what runs may finish, what is new is refused; a second one ends at once.

    For example:

        narrator serve jobs.py

        narrator serve jobs.py package.more --port 0 --concurrency 8

        narrator serve jobs.py --store jobs.db

    Every setting can also be given as a variable or in narrator.toml: see narrator settings.
    """
    flags = {
        "host": host,
        "port": port,
        "concurrency": concurrency,
        "store": store,
        "keys": keys,
        "allow_anonymous": allow_anonymous or None,
    }
    if reload:
        sockets = _listen(settings_or_exit(flags))
        raise typer.Exit(serve_and_reload(targets or [], flags, sockets))
    raise typer.Exit(run(targets or [], flags))


def run(
    targets: list[str], flags: dict[str, Any], sockets: list[socket.socket] | None = None
) -> int:
    """Serve until the drain has ended; the exit code. `sockets` are bound already, if given.

    Raises:
        typer.Exit: a target or a setting is wrong (2), or the address can't be had (3).

    """
    settings = settings_or_exit(flags)
    warn_unknown_variables()
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    from app.service import Narrator  # noqa: PLC0415 — as below

    operations = _operations(targets, settings)
    sockets = sockets or _listen(settings)
    limits = _limits(settings, raise_file_limit())
    try:
        narrator = Narrator(operations=operations, settings=settings, bound=settings.host)
    except KeysFileError as error:
        fail(str(error), USAGE)
    except OSError as error:  # nothing else is read there
        fail(f"the keys file {settings.keys}: {error.strerror or error}", USAGE)
    server = Server(
        configuration(narrator.application, limits=limits, counters=narrator.counters),
        ready=lambda: _ready(sockets[0]),
        drain=narrator.drain,
        abort=narrator.abort,
        running=narrator.running,
    )
    try:
        server.run(sockets=sockets)
    except (ResourceError, StoreError) as error:
        fail(str(error), REFUSED)
    return 0


def _ready(listening: socket.socket) -> None:
    """Connections are accepted: say where. What is loaded by now stays, and is no garbage."""
    gc.collect()
    gc.freeze()  # the collector looks at it no more: a third of a job's cost under load
    # A job leaves no cycles (tests/engine/test_garbage.py): look for others' less often.
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    print(f"narrator: listening on {address_of(listening)}", flush=True)


def _limits(settings: Settings, files: int | None) -> ConnectionLimits:
    """The bounds of connections: no more of them than there are files for."""
    connections = settings.max_connections
    if files is not None:
        connections = min(connections, files - min(SPARE_FILES, files // 2))
    return ConnectionLimits(
        connections=connections,
        head_s=settings.request_head_s,
        body_s=settings.request_body_s,
        keep_alive_s=settings.keep_alive_s,
        unread_s=settings.unread_s,
    )


def _operations(targets: list[str], settings: Settings) -> list[Operation]:
    from app.operations import built_in_operations  # noqa: PLC0415 — other commands start without it

    try:
        return load_all(targets) if targets else built_in_operations(settings.roots)
    except TargetError as error:
        fail(str(error), USAGE)


def _listen(settings: Settings) -> list[socket.socket]:
    try:
        sockets = listen(settings.host, settings.port)
    except OSError as error:
        fail(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}; "
            "--port 0 takes a free port",
            REFUSED,
        )
    is_open = settings.keys is None and not settings.allow_anonymous
    if is_open and not all(is_loopback(each) for each in sockets):
        for each in sockets:
            each.close()
        fail(
            f"{settings.host} is reached from other machines, and nobody is asked for a key: "
            "--keys FILE (or NARRATOR_KEYS) says who may do what (narrator keys create makes it); "
            "--allow-anonymous (or NARRATOR_ALLOW_ANONYMOUS=true) lets everyone do everything",
            USAGE,
        )
    return sockets

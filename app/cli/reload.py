"""`narrator serve --reload`: a server in a child process that starts again when files change.

For development only: a change ends what runs after a second. The sockets are this process's own,
so that the address stays, and who connects while the server starts again waits instead of failing.
"""

import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

from watchfiles import PythonFilter, run_process

DRAIN_S: Final = 1.0
"""Seconds that running jobs have before a changed file replaces the server."""


def serve_and_reload(
    targets: list[str], flags: dict[str, Any], sockets: list[socket.socket]
) -> int:
    """Serve until interrupted, again after each change to a Python file near the targets."""
    run_process(
        *watched(targets),
        target=_serve,
        args=(targets, {**flags, "drain_s": DRAIN_S}, sockets),
        watch_filter=PythonFilter(),
    )
    return 0


def watched(targets: list[str]) -> list[Path]:
    """The working directory, and those of targets that are files elsewhere."""
    here = Path.cwd()
    folders = {here}
    for target in targets:
        path = Path(target.partition(".py:")[0] + (".py" if ".py:" in target else ""))
        if path.is_file() and not path.resolve().is_relative_to(here):
            folders.add(path.resolve().parent)
    return sorted(folders)


def _serve(targets: list[str], flags: dict[str, Any], sockets: list[socket.socket]) -> None:
    """What the child process runs."""
    import typer  # noqa: PLC0415 — in the child only

    from app.cli.serve import run  # noqa: PLC0415 — that module imports this one

    try:
        code = run(targets, flags, sockets)
    except typer.Exit as end:
        code = end.exit_code
    except KeyboardInterrupt:  # a change, or Ctrl-C, before there was a server to take it
        code = 130
    # It is interrupted when a file changes, at its end too: what runs at exit is left to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)

"""`narrator demo`: a real server, a real job, and its story as it happens.

The server is a child process, `narrator serve` with the built-in operations; this process is a
client that knows of it only its address. It is stopped by its process id, whatever ends the demo.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Annotated, Final, NoReturn

import typer

from app.cli.configuration import settings_or_exit
from app.cli.failure import INTERRUPTED
from app.cli.story_printer import StoryPrinter
from app.client import Client, ClientError, JobRecord, Patience
from telemetry.names import State

START_S: Final = 30.0
"""How long the server may take to accept connections."""
STOP_S: Final = 10.0
"""How long it may take to stop before it is killed."""

_PATIENCE: Final = Patience(streams_s=5)
"""The server is our own child: when it is gone, it does not come back."""
_ADDRESS: Final = "listening on "
_TERMINATIONS: Final = ("SIGTERM", "SIGHUP")
_SERVE: Final = (
    # Not `-m`: that would put the working directory first on sys.path, where a user's own `app`
    # may be. Our folder comes last, and is needed only where we are not installed.
    "import sys; sys.path.append({root!r}); "
    "from app.cli.main import main; raise SystemExit(main({arguments!r}))"
)


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """The running server and where it listens."""

    process: subprocess.Popen[str]
    address: str


def demo_command(
    path: Annotated[
        Path, typer.Argument(help="The folder to catalogue.", show_default="this folder")
    ] = Path(),
    *,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65_535)] = 0,
) -> None:
    """Start a server, run a job on real files, and tell its story live.

    On a terminal it then serves until Ctrl-C, so that you can look around; otherwise it ends with
    the story: 0 if the job is completed, else 1.

    For example:

        narrator demo

        narrator demo ~/Pictures --port 8000
    """
    raise typer.Exit(demo(path, port=port))


def demo(path: Path, *, port: int) -> int:
    """Run the demo on the folder `path` with a server on `port` (0: a free one); the exit code.

    0 completed, 1 not completed or no server, 130 interrupted before the story's end. The settings
    in force hold for the server too; without `roots` among them, it may read `path` and no more.
    """
    folder = path.resolve()
    roots = settings_or_exit({}).roots
    environment = dict(os.environ)
    environment.setdefault("NARRATOR_DRAIN_S", "1")  # Ctrl-C does not wait for the job
    if not roots:
        environment["NARRATOR_ROOTS"] = json.dumps([str(folder)])
    printer = StoryPrinter(sys.stdout)
    code = INTERRUPTED
    try:
        with _ended_by_signals(), _served(port, environment) as server:
            record = _tell(server, folder, printer)
            code = int(record.state != State.COMPLETED)  # from here on Ctrl-C is no failure
            if printer.terminal:
                _print_addresses(server.address, record, printer)
                _wait(server, printer)
            return code
    except KeyboardInterrupt:
        if printer.terminal:
            printer.line()  # after the terminal's own ^C
        printer.line("narrator: stopped", "dim")
        return code
    except (DemoError, ClientError) as error:
        printer.close()
        print(f"narrator: {error}", file=sys.stderr)
        return 1


def _tell(server: ServerProcess, folder: Path, printer: StoryPrinter) -> JobRecord:
    """Submit the job and print its story and its result; its record, which has ended."""
    printer.line(f"narrator: a server runs on {server.address}", "dim")
    with Client(server.address, patience=_PATIENCE) as client:
        job = client.submit("catalogue", {"path": str(folder)})
        printer.line(f"narrator: job {job.id} catalogues {folder}", "dim")
        for event in client.stream(job):
            printer.event(event.name, json.loads(event.raw))
        record = client.wait(job)
    _print_result(record, printer)
    return record


def _print_result(record: JobRecord, printer: StoryPrinter) -> None:
    printer.line()
    if record.failure:
        failure = record.failure
        printer.line(f"The job failed ({failure.reason}): {failure.message}", "red")
    elif isinstance(record.result, dict):
        printer.line("The result:", "bold")
        for name, value in record.result.items():
            shown = f"{len(value)} listed" if isinstance(value, list) else value
            printer.line(f"  {name:<18}{shown}")


def _print_addresses(address: str, record: JobRecord, printer: StoryPrinter) -> None:
    """Where to look while the server runs."""
    job = f"{address}/v1/jobs/{record.id}"
    flaky = (
        "curl -H 'Content-Type: application/json' "
        f'-d \'{{"operation": "flaky"}}\' {address}/v1/jobs'
    )
    quoted = f'curl -N "{job}/stream?format=text&mode=cute"'
    printer.line()
    printer.line("Look around:", "bold")
    for what, command in (
        ("the record", f"curl {job}"),
        ("the story again, as it was", f"curl -N {job}/stream"),
        ("the same, cute and plain", quoted),
        ("the story as JSON", f"curl {job}/narration"),
        ("the trace", f"curl {job}/trace"),
        ("the metrics", f"curl {address}/metrics"),
        ("the API, to try", f"{address}/docs"),
        ("another job", flaky),
    ):
        printer.line(f"  # {what}", "dim")
        printer.line(f"  {command}")
    printer.line()
    printer.line("Ctrl-C stops the server.", "bold")


def _wait(server: ServerProcess, printer: StoryPrinter) -> None:
    """Until Ctrl-C, which is a KeyboardInterrupt; or until the server ends, which it should not."""
    code = server.process.wait()
    printer.close()
    raise DemoError(f"the server has ended by itself, with {code}")


@contextlib.contextmanager
def _served(port: int, environment: Mapping[str, str]) -> Iterator[ServerProcess]:
    """A server with the built-in operations, stopped at the end.

    Raises:
        DemoError: it does not start; the message has what it said.

    """
    arguments = ["serve", "--host", "127.0.0.1", "--port", str(port)]
    root = str(Path(__file__).resolve().parents[2])
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(  # our own interpreter and code  # noqa: S603  # nosec B603
            [sys.executable, "-P", "-c", _SERVE.format(root=root, arguments=arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=dict(environment),
            start_new_session=True,  # a terminal's Ctrl-C comes to us, and we stop it
        )
        try:
            yield ServerProcess(process, _address(process, log))
        finally:
            _stop(process)


def _address(process: subprocess.Popen[str], log: IO[str]) -> str:
    """What the server says first: where it listens."""
    output = process.stdout
    if output is None:  # pragma: no cover — it is a pipe, as asked for
        raise DemoError("the server has no output")
    deadline = time.monotonic() + START_S
    while not select.select([output], [], [], 0.5)[0]:
        if time.monotonic() > deadline:
            raise DemoError(f"the server does not answer after {START_S:g} seconds")
    line = output.readline().strip()
    _, found, address = line.partition(_ADDRESS)
    if found:
        return address
    process.wait(STOP_S)
    log.seek(0)
    said = log.read().strip().removeprefix("narrator: ")
    raise DemoError(said or f"the server did not start; it said {line!r}")


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask the server to drain; then tell it to end; then kill it."""
    with contextlib.suppress(KeyboardInterrupt):  # an impatient second Ctrl-C: no waiting
        for insist in (process.terminate, process.terminate, process.kill):
            insist()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
                break
    if process.poll() is None:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let the signals that end a process end it by way of the clean-up."""

    def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 — as signal has it
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in _TERMINATIONS if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""What all client commands share: the server and the key to it, a job by its word, errors.

It knows no single command and draws nothing.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urljoin

import typer

from app.cli.client.output import discard_output
from app.cli.failure import FAILED, INTERRUPTED, REFUSED, TIMED_OUT, USAGE, fail
from app.client import (
    Client,
    ClientError,
    InvalidRequest,
    JobRecord,
    NotFound,
    Unauthorized,
    Unreachable,
)
from telemetry.names import Reason, State

ID_CHARACTERS: Final = 36
"""A whole id; a shorter word is the beginning of one."""
SEARCHED_JOBS: Final = 2_000
"""The newest jobs among which the beginning of an id is looked up."""
BROKEN_PIPE: Final = 141
"""Nobody reads our output any more: 128 and the number of SIGPIPE."""

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        metavar="URL",
        help="The server's address.",
        envvar="NARRATOR_SERVER",
        show_default="http://127.0.0.1:8000",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="The file with the key to the server.",
        show_default="the key in NARRATOR_KEY",
    ),
]
"""No option takes the key itself: all users of a machine see the words of a command."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextlib.contextmanager
def reached(server: str | None, key_file: Path | None) -> Iterator[Client]:
    """A client of the server; whatever goes wrong in the block ends the command in words."""
    with told_errors():
        try:
            client = Client(server or None, key=None if key_file is None else key_in(key_file))
        except ValueError as error:
            fail(str(error), USAGE)
        with client:
            yield client


def key_in(file: Path) -> str:
    """The key that is all of `file`.

    Raises:
        ValueError: it can't be read, or is empty.

    """
    try:
        key = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"--key-file {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--key-file {file} is no text") from None
    if not key:
        raise ValueError(f"--key-file {file} is empty")
    return key


@contextlib.contextmanager
def told_errors() -> Iterator[None]:
    """Errors of the client end the command with what went wrong and what to do."""
    try:
        yield
        sys.stdout.flush()
    except InvalidRequest as error:
        lines = [str(each).removeprefix("body.") for each in error.errors]
        fail("\n".join(line.removeprefix("params.") for line in lines) or str(error), USAGE)
    except Unauthorized as error:
        fail(
            f"{error}\n--key-file FILE takes one from a file; narrator keys create makes one",
            REFUSED,
        )
    except Unreachable as error:
        fail(f"{error}\nnarrator serve starts a server; --server URL names another", REFUSED)
    except ClientError as error:
        fail(str(error), REFUSED)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        discard_output()
        raise typer.Exit(BROKEN_PIPE) from None


def job_named(client: Client, word: str) -> JobRecord:
    """The job whose id is `word`, or the only recent one whose id begins so."""
    word = word.strip().rstrip("/").rpartition("/")[2]  # its address will do as well
    if not word.strip("."):
        fail("a job is named by its id, or the beginning of it: narrator ls", USAGE)
    try:
        return client.get(word)
    except NotFound:
        if len(word) >= ID_CHARACTERS:
            fail(f"there is no job {word} on {client.server}: narrator ls lists them", REFUSED)
    found = [each for each in islice(client.list(), SEARCHED_JOBS) if each.id.startswith(word)]
    if not found:
        fail(f"there is no job {word}… on {client.server}: narrator ls lists them", REFUSED)
    if len(found) > 1:
        ids = "\n".join(f"  {each.id}  {each.operation}" for each in found[:5])
        fail(f"{len(found)} jobs begin with {word}; give more of the id:\n{ids}", USAGE)
    return found[0]


def exit_code(state: str, reason: str | None) -> int:
    """The exit code that tells how a job ended.

    >>> exit_code("completed", None), exit_code("failed", "expired"), exit_code("cancelled", None)
    (0, 124, 130)
    """
    if state == State.COMPLETED:
        return 0
    if state == State.CANCELLED:
        return INTERRUPTED
    return TIMED_OUT if reason in {Reason.TIMEOUT, Reason.EXPIRED} else FAILED


def address_of(server: str, job: JobRecord) -> str:
    """Where a person or a program finds the job."""
    return urljoin(f"{server}/", job.links.get("self") or f"v1/jobs/{job.id}")


def print_json(raw: str) -> None:
    """Print JSON as it came, with its lines where a person reads them."""
    if sys.stdout.isatty():
        print(json.dumps(json.loads(raw), indent=2, ensure_ascii=False))
    else:
        print(raw)

"""How the work of one attempt really ended; what that means for the job is decided elsewhere."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.jobs.policy import lineage, type_name


@dataclass(frozen=True, slots=True)
class Returned:
    """The handler returned `value`; JSON data where it comes from a child process."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The handler raised, whatever it was: `SystemExit` and `CancelledError` included."""

    exception: BaseException


@dataclass(frozen=True, slots=True)
class Lost:
    """The child process died without a result; `how` says of what: `killed by SIGKILL`."""

    how: str


Ending = Returned | Raised | Lost


class RemoteError(Exception):
    """An exception of a handler in a child process, told here.

    The class of an instance bears the name of the original's, and its `__cause__` tells the
    original's traceback, so that `traceback` and OpenTelemetry tell it as it was.
    """

    types: tuple[str, ...] = ()
    """The names of the original's type and of its ancestors, nearest first."""


class RemoteTraceback(Exception):  # noqa: N818  # no error, but the text of one
    """The traceback of an exception in a child process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def remote_error(
    *, module: str, name: str, types: tuple[str, ...], message: str, traceback: str
) -> RemoteError:
    """The exception `module.name` of a child process, as one that can be raised here."""
    error = _remote_type(module, name)(message)
    error.types = types
    error.__cause__ = RemoteTraceback(traceback)
    return error


def exception_types(error: BaseException) -> tuple[str, ...]:
    """The names of the type of `error` and of its ancestors, for `verdict.decide`."""
    return error.types if isinstance(error, RemoteError) else lineage(type(error))


def exception_type(error: BaseException) -> str:
    """The name of the type of `error`, as OpenTelemetry's `exception.type`."""
    return exception_types(error)[0] if isinstance(error, RemoteError) else type_name(type(error))


@lru_cache(maxsize=256)
def _remote_type(module: str, name: str) -> type[RemoteError]:
    bare = name.rpartition(".")[2]
    return type(bare, (RemoteError,), {"__module__": module, "__qualname__": name})

"""`@operation` marks a function; `Operation` is what the server makes of a marked one.

The decorator changes nothing else: a marked function is called and tested like any other, and
importing a module has no effect. This module does not know how an operation runs.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, TypeVar, overload

from app.handlers.context import JobContext
from app.handlers.lifespan import Lifespan, Resources
from app.handlers.options import ExceptionTypes, Options, checked_options
from app.handlers.schema import Signature, read_signature
from telemetry.names import Priority

_MARK: Final = "__narrator_operation__"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")

F = TypeVar("F", bound=Callable[..., Any])


class HandlerKind(StrEnum):
    """Where a handler runs."""

    COROUTINE = "coroutine"
    THREAD = "thread"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Mark:
    """The decorator's mark on a function."""

    name: str
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where another process finds the function: `attribute` of `module`.

    `path` is the module's file where it was loaded by path, else None.
    """

    module: str
    attribute: str
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operation:
    """One operation that can be run.

    `needs` are the lifespans to open, where it runs, before it does; `injected` maps parameters to
    theirs.
    `first_party` holds the top-level packages whose telemetry is the operation's own.
    """

    name: str
    summary: str
    description: str
    function: Callable[..., Any]
    kind: HandlerKind
    generator: bool
    defaults: Options
    target: Target
    signature: Signature
    injected: Mapping[str, Lifespan]
    needs: tuple[Lifespan, ...]
    first_party: frozenset[str]

    @property
    def schema(self) -> Mapping[str, Any]:
        """The JSON Schema of the params."""
        return self.signature.schema

    @property
    def disclose(self) -> frozenset[str]:
        """Third-party attributes that clients may see."""
        return self.defaults.disclose

    @property
    def lifespans(self) -> tuple[Lifespan, ...]:
        """Those that the server opens: none for a child process, which opens its own."""
        return () if self.kind is HandlerKind.PROCESS else self.needs

    def validate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`params` in canonical JSON form.

        Raises:
            InvalidParams: with one `{loc, message}` for each problem.

        """
        return self.signature.validate(params)

    def bind(
        self, params: Mapping[str, Any], job: JobContext, resources: Resources
    ) -> dict[str, Any]:
        """The keyword arguments of one call.

        Raises:
            InvalidParams: the params do not fit.
            ResourceError: a resource is not open.

        """
        arguments = self.signature.values(params)
        arguments.update(resources.inject(self.injected))
        arguments.update(dict.fromkeys(self.signature.contexts, job))
        return arguments


@overload
def operation(name: F, /) -> F: ...
@overload
def operation(
    name: str | None = None,
    *,
    isolation: Literal["auto", "process"] = "auto",
    timeout_s: float | None = None,
    queue_timeout_s: float | None = None,
    deadline_s: float | None = None,
    max_attempts: int | None = None,
    base_delay_s: float | None = None,
    multiplier: float | None = None,
    max_delay_s: float | None = None,
    jitter: Literal["full", "none"] | None = None,
    retry_on: ExceptionTypes | None = None,
    never_on: ExceptionTypes = (),
    concurrency: int | None = None,
    key_concurrency: int = 1,
    priority: Priority | str | None = None,
    disclose: Iterable[str] = (),
) -> Callable[[F], F]: ...
def operation(name: Any = None, **options: Any) -> Any:  # noqa: D417  # each option by its name
    """Mark a function as an operation, called `name` (by default as the function is).

    Args:
        name: letters, digits, `_ . : -`, at most 128.
        isolation: `auto` runs `async def` on the loop and `def` in a thread; `process` runs either
            in a child process that can be killed.
        timeout_s: how long one attempt may run; more than 0.
        queue_timeout_s: how long a job may wait for its first start; more than 0.
        deadline_s: how long a job may take in all, from its creation; more than 0.
        max_attempts: at least 1, which is the default.
        base_delay_s: the first delay before a retry; at least 0.
        multiplier: how the delay grows; at least 1.
        max_delay_s: the longest delay; at least 0.
        jitter: `full` draws each delay between 0 and its length; `none` takes it as it is.
        retry_on: exception types to retry; by default every `Exception`.
        never_on: exception types that are never retried, stronger than `retry_on`.
        concurrency: how many may run at once; by default as many as the server has slots.
        key_concurrency: how many of one `concurrency_key` may run at once.
        priority: of jobs that name none.
        disclose: names of third-party span and event attributes that clients may see.

    Raises:
        ValueError: an option is out of range; the message names it and what is legal.

    """
    if callable(name):
        return _mark(name, None, Options())
    checked = checked_options(**options)
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(
            f"an operation's name is 1 to 128 letters, digits or _ . : - and not {name!r}"
        )

    def decorate(function: F) -> F:
        return _mark(function, name, checked)

    return decorate


def mark_of(value: object) -> Mark | None:
    """The mark that `@operation` left on `value`, if any."""
    mark = getattr(value, _MARK, None)
    return mark if isinstance(mark, Mark) else None


def build(
    function: Callable[..., Any],
    mark: Mark,
    *,
    target: Target,
    lifespans: Iterable[Lifespan] = (),
) -> Operation:
    """The operation that a marked `function` is, with the `lifespans` of its module.

    Raises:
        TargetError: its signature cannot be served.

    """
    by_type = [each for each in lifespans if each.provides is not None]
    signature = read_signature(mark.name, function, [each.provides for each in by_type])
    injected = {
        name: next(each for each in by_type if each.provides == wanted)
        for name, wanted in signature.resources.items()
    }
    needed = set(injected.values())
    description = inspect.getdoc(function) or ""
    return Operation(
        name=mark.name,
        summary=description.partition("\n")[0],
        description=description,
        function=function,
        kind=_kind(function, mark.options),
        generator=inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function),
        defaults=mark.options,
        target=target,
        signature=signature,
        injected=injected,
        needs=tuple(each for each in lifespans if each in needed or each.provides is None),
        first_party=frozenset(
            {function.__module__.partition(".")[0], target.module.partition(".")[0]}
        ),
    )


def absent(name: str) -> Operation:
    """Stands for an operation that is not served: for jobs that wait until it is."""

    def not_served() -> None:
        """Is not served by this server."""

    target = Target(module=__name__, attribute="absent")
    return build(not_served, Mark(name, Options()), target=target)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether `function` runs on an event loop: `async def`, with or without `yield`."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _mark(function: F, name: str | None, options: Options) -> F:
    if not callable(function):
        raise TypeError(f"@operation marks functions, not {type(function).__name__}")
    setattr(function, _MARK, Mark(name or function.__name__, options))
    return function


def _kind(function: Callable[..., Any], options: Options) -> HandlerKind:
    if options.isolation == "process":
        return HandlerKind.PROCESS
    return HandlerKind.COROUTINE if is_async(function) else HandlerKind.THREAD

"""Resources that handlers take by annotation: opened once, closed at the end.

An async generator function marked `@lifespan` yields one resource; the yield type in its return
annotation is the key. One that yields None is opened for its effect. This module does not know when
a server starts or stops.
"""

import inspect
import logging
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, TypeVar

from app.handlers.errors import ResourceError, TargetError
from app.handlers.schema import annotations_of, where

_logger = logging.getLogger(__name__)

_MARK: Final = "__narrator_lifespan__"
_YIELDING: Final = (AsyncIterator, AsyncGenerator, AsyncIterable, AbstractAsyncContextManager)
_PLAIN: Final = frozenset(
    {str, int, float, bool, bytes, complex, object, dict, list, tuple, set, frozenset}
)

F = TypeVar("F", bound=Callable[..., Any])


def lifespan(function: F) -> F:
    """Mark an async generator (or async context manager) function as the source of a resource.

    The return annotation says what it yields::

        @lifespan
        async def pool() -> AsyncIterator[Pool]:
            async with Pool() as opened:
                yield opened
    """
    setattr(function, _MARK, True)
    return function


@dataclass(frozen=True, slots=True)
class Lifespan:
    """One marked function and the type that it yields; None for one opened for its effect."""

    function: Callable[[], Any]
    provides: Any

    def manager(self) -> AbstractAsyncContextManager[Any]:
        """A new context manager that opens and closes the resource."""
        if inspect.isasyncgenfunction(self.function):
            return asynccontextmanager(self.function)()
        manager: AbstractAsyncContextManager[Any] = self.function()
        return manager


def lifespans_of(module: ModuleType) -> tuple[Lifespan, ...]:
    """The marked functions found in `module`, each once, in order.

    Raises:
        TargetError: one takes parameters, has no return annotation, or yields a type that is also
            plain data or that another one yields.

    """
    marked = {id(value): value for value in vars(module).values() if getattr(value, _MARK, False)}
    found: list[Lifespan] = []
    for function in marked.values():
        lifespan_ = Lifespan(function, _yield_type(function))
        for other in found:
            if lifespan_.provides is not None and other.provides == lifespan_.provides:
                raise TargetError(
                    where(function),
                    f"yields {lifespan_.provides}, and so does {where(other.function)}; "
                    "give each its own type (a class, or a typing.NewType)",
                )
        found.append(lifespan_)
    return tuple(found)


class Resources:
    """The opened resources of one server (or of one child process)."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._values: dict[Callable[[], Any], Any] = {}

    async def open(self, lifespans: Iterable[Lifespan]) -> None:
        """Open each of `lifespans` that is not open yet, in order; all or none.

        Raises:
            ResourceError: one failed; those opened before are closed again.

        """
        for each in lifespans:
            if each.function in self._values:
                continue
            try:
                value = await self._stack.enter_async_context(each.manager())
            except Exception as error:
                await self.close()
                raise ResourceError(where(each.function), error) from error
            self._values[each.function] = value

    async def close(self) -> None:
        """Close all, last opened first; a failure is logged and does not keep the rest open."""
        stack, self._stack = self._stack, AsyncExitStack()
        self._values = {}
        try:
            await stack.aclose()
        except Exception:
            _logger.exception("a @lifespan function failed while closing")

    def inject(self, wanted: Mapping[str, Lifespan]) -> dict[str, Any]:
        """The open resource for each parameter in `wanted`.

        Raises:
            ResourceError: one is not open.

        """
        try:
            return {name: self._values[each.function] for name, each in wanted.items()}
        except KeyError as missing:
            function = missing.args[0]
            raise ResourceError(where(function), RuntimeError("it is not open")) from None


def _yield_type(function: Callable[..., Any]) -> Any:
    if inspect.signature(function).parameters:
        raise TargetError(where(function), "a @lifespan function takes no parameters")
    inner = inspect.unwrap(function)
    if not inspect.isasyncgenfunction(inner) and not inspect.isfunction(inner):
        raise TargetError(where(function), "@lifespan marks async generator functions")
    try:
        hint = annotations_of(function, ["return"]).get("return")
    except Exception as error:
        raise TargetError(
            where(function), f"its return annotation cannot be resolved: {error}"
        ) from error
    if typing.get_origin(hint) not in _YIELDING:
        raise TargetError(
            where(function),
            "a @lifespan function says what it yields: annotate it -> AsyncIterator[TheResource] "
            "(AsyncIterator[None] if it is opened for its effect)",
        )
    provided = typing.get_args(hint)[0]
    if provided is None or provided is type(None):
        return None
    if provided is Any or provided in _PLAIN or typing.get_origin(provided) in _PLAIN:
        raise TargetError(
            where(function),
            f"yields {provided}, which is also the type of plain params; "
            "yield a class of its own, or a typing.NewType",
        )
    return provided

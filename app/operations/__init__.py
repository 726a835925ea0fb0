"""The built-in operations: what `narrator serve` has without a target."""

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Final

from app.handlers.lifespan import Lifespan
from app.handlers.operation import Operation, Target, build, mark_of
from app.operations import catalogue, samples
from app.operations.folder import AllowedRoots

__all__ = ["AllowedRoots", "built_in_operations"]

_FUNCTIONS: Final[tuple[Callable[..., Any], ...]] = (
    catalogue.catalogue,
    samples.countdown,
    samples.flaky,
    samples.recite,
    samples.primes,
)


def built_in_operations(roots: Iterable[Path] = ()) -> list[Operation]:
    """The built-in operations; they read below `roots` only, without any below the working folder.

    The roots are a resource that these operations take by annotation. It is given here and not by a
    `@lifespan` function of their module, since that would have to read settings of its own.
    """
    allowed = AllowedRoots(tuple(roots) or (Path.cwd(),))

    async def open_roots() -> AsyncIterator[AllowedRoots]:
        yield allowed

    lifespan = Lifespan(open_roots, AllowedRoots)
    return [
        build(
            function,
            mark,
            target=Target(module=function.__module__, attribute=function.__name__),
            lifespans=[lifespan],
        )
        for function in _FUNCTIONS
        if (mark := mark_of(function)) is not None
    ]

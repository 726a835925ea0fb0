"""Puts all forms of one operation up in this process, and measures them.

One loop, the operation's resources opened once, the real server without its sockets. Spans are kept
as the SDK keeps them, and exported to nobody. What a running server sets for the whole process (a
handler on the root logger, the context of threads) is there for the bare calls too.
"""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from app.cli.bench.forms import Direct, Narrated
from app.cli.bench.rounds import Form, Measured, Told, measure
from app.cli.bench.tracing import SwitchedProvider, present
from app.cli.serve import GC_THRESHOLD
from app.handlers.lifespan import Lifespan, Resources
from app.handlers.operation import HandlerKind, Operation
from app.service import Narrator
from app.settings import LOOPBACK_HOSTS, Settings
from telemetry.tracing import make_global


def measured(
    operation: Operation,
    params: Mapping[str, Any],
    readers: Sequence[int],
    *,
    settings: Settings,
    seconds: float,
    told: Told,
) -> Measured:
    """Measure `operation` with `params`, narrated once for each number of `readers`.

    For an operation in a child process there is no call that does the same work, so only the
    narrated forms are measured. What it prints in this process is thrown away.

    Raises:
        FailedJobError: a job did not complete.
        ResourceError: a `@lifespan` function failed.
        KeyboardInterrupt: somebody pressed Ctrl-C; all is closed.

    """

    async def main() -> Measured:
        async with _forms(operation, params, readers, settings) as forms:
            return await measure(forms, seconds=seconds, told=told)

    with _quiet(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


@contextlib.asynccontextmanager
async def _forms(
    operation: Operation, params: Mapping[str, Any], readers: Sequence[int], settings: Settings
) -> AsyncIterator[list[Form]]:
    tracing = _tracing()
    async with contextlib.AsyncExitStack() as stack:
        resources = Resources()
        stack.push_async_callback(resources.close)
        await resources.open(operation.lifespans)
        narrator = Narrator(
            [_sharing(operation, resources)],
            settings=settings,
            tracer_provider=tracing.narrated,
            bound=LOOPBACK_HOSTS[0],  # streams then write as they do in `narrator serve`
        )
        await stack.enter_async_context(narrator.running())
        forms: list[Form] = []
        if operation.kind is not HandlerKind.PROCESS:
            forms += [
                Direct(operation, params, resources, tracing=tracing, traced=traced)
                for traced in (False, True)
            ]
        forms += [
            Narrated(narrator, operation, params, readers=count, tracing=tracing)
            for count in readers
        ]
        yield forms


def _sharing(operation: Operation, resources: Resources) -> Operation:
    """`operation` with resources that are open already, so that none is opened twice."""
    if operation.kind is HandlerKind.PROCESS:
        return operation  # its child opens its own
    values = resources.inject(operation.injected)
    injected = {
        name: Lifespan(_opened(values[name]), each.provides)
        for name, each in operation.injected.items()
    }
    return dataclasses.replace(operation, injected=injected, needs=tuple(injected.values()))


def _opened(value: Any) -> Callable[[], Any]:
    async def again() -> AsyncIterator[Any]:
        yield value

    return again


def _tracing() -> SwitchedProvider:
    """What decides where spans go; the process's own provider, where a module has set one."""
    there = present()
    tracing = SwitchedProvider(there)
    if there is None:
        make_global(tracing)
    return tracing


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is printed; logs and the collector of garbage are as in `narrator serve`."""
    root, thresholds = logging.getLogger(), gc.get_threshold()
    level = root.level
    root.setLevel(logging.INFO)  # so that what is logged is narrated
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *thresholds[1:])
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123 — a device
            contextlib.redirect_stdout(nowhere),
        ):
            yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        root.setLevel(level)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop that `narrator serve` uses."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 — not there on Windows

    return uvloop.new_event_loop

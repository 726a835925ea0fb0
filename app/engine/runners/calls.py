"""Calling a handler, the same way on the loop, in a thread and in a child process.

Whatever it raises is an ending, `BaseException` included: a handler that exits, or raises
`KeyboardInterrupt`, must not end the loop or the process around it. A generator is closed by the
task or thread that ran it.
"""

import asyncio
import inspect
from collections.abc import Generator, Mapping
from contextlib import aclosing
from typing import Any, Final

from app.engine.runners.ending import Ending, Raised, Returned
from app.handlers.context import JobContext
from app.handlers.lifespan import Resources
from app.handlers.operation import Operation

_TURN: Final = 64  # chunks after which an async generator that never waits lets others run


async def call_async(
    operation: Operation, params: Mapping[str, Any], job: JobContext, resources: Resources
) -> Ending:
    """Run an `async def` handler, or iterate an async generator; never raises."""
    try:
        arguments = operation.bind(params, job, resources)
        if not operation.generator:
            return Returned(await operation.function(**arguments))
        count = 0
        async with aclosing(operation.function(**arguments)) as chunks:
            async for chunk in chunks:
                job.output(chunk)
                count += 1
                if count % _TURN == 0:
                    await asyncio.sleep(0)
    except BaseException as error:  # noqa: BLE001  # see the module's docstring
        return Raised(error)
    return Returned(None)


def call_sync(
    operation: Operation, params: Mapping[str, Any], job: JobContext, resources: Resources
) -> Ending:
    """Run a `def` handler, or iterate a generator; never raises.

    Between two chunks a generator that was asked to stop is closed; its return value is the result.
    """
    try:
        arguments = operation.bind(params, job, resources)
        if operation.generator:
            return Returned(_iterate(operation.function(**arguments), job))
        value = operation.function(**arguments)
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError(  # noqa: TRY301  # caught here like any other
                f"operation {operation.name!r} is a plain function that returned a coroutine: "
                "write it with async def (or let its decorator do so)"
            )
    except BaseException as error:  # noqa: BLE001  # see the module's docstring
        return Raised(error)
    return Returned(value)


def _iterate(chunks: Generator[Any, None, Any], job: JobContext) -> Any:
    try:
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as stop:
                return stop.value
            job.output(chunk)
            job.raise_if_cancelled()
    finally:
        chunks.close()

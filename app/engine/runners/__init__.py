"""Runners: how an attempt's handler is run, one module for each kind.

`start` is all that the engine calls. A runner knows nothing of queues, policies or verdicts.
"""

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from app.engine.runners.coroutine import CoroutineRun
from app.engine.runners.ending import (
    Ending,
    Lost,
    Raised,
    RemoteError,
    Returned,
    exception_type,
    exception_types,
)
from app.engine.runners.process import ProcessRun
from app.engine.runners.thread import ThreadRun
from app.engine.runners.work import Running, Work, not_exported
from app.handlers.context import JobContext
from app.handlers.lifespan import Resources
from app.handlers.operation import HandlerKind, Operation
from narration.scope import Scope
from telemetry.clock import Clock

__all__ = [
    "Ending",
    "Lost",
    "Raised",
    "RemoteError",
    "Returned",
    "Running",
    "exception_type",
    "exception_types",
    "start",
]


def start(
    operation: Operation,
    params: Mapping[str, Any],
    job: JobContext,
    *,
    variables: contextvars.Context,
    story_scope: Scope,
    resources: Resources,
    clock: Clock,
    on_end: Callable[[Ending], None],
    export: Callable[[ReadableSpan], None] = not_exported,
    max_result_bytes: int = 1 << 30,
) -> Running:
    """Start the handler of `operation` for one attempt; on the loop's thread.

    In `variables`, which nobody else may enter until the end, the attempt's scope and span are
    current; `story_scope` is that scope. `on_end` is called once, on the loop, never before `start`
    has returned, when the work has really stopped; what it said may still have to be drained from
    the story. `export` takes the ended, sampled spans of a child process. A child's result is at
    most `max_result_bytes` of JSON; what the other kinds return is not looked at.
    """
    work = Work(
        operation=operation,
        params=params,
        job=job,
        variables=variables,
        scope=story_scope,
        resources=resources,
        clock=clock,
        loop=asyncio.get_running_loop(),
        on_end=on_end,
        export=export,
        max_result_bytes=max_result_bytes,
    )
    match operation.kind:
        case HandlerKind.COROUTINE:
            return CoroutineRun(work)
        case HandlerKind.THREAD:
            return ThreadRun(work)
        case HandlerKind.PROCESS:
            return ProcessRun(work)

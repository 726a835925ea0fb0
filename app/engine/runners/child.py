"""The child process of one attempt: loads the handler by name, runs it, and sends the ending.

It is started by `process.py` with two pipes: it reads its task from one and watches it afterwards
(its end means that the server has gone, and then all of this must go too), and writes frames to the
other. It is told to stop by SIGTERM.
"""

import asyncio
import contextvars
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final, cast

import msgspec
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace.span import TraceState

from app.engine import results
from app.engine.runners import frames, tree
from app.engine.runners.calls import call_async, call_sync
from app.engine.runners.channel import Channel, Stop
from app.engine.runners.ending import Ending, Raised, Returned
from app.engine.runners.frames import Task
from app.engine.runners.voice import AttemptSpan, ChildSink, ChildStory
from app.engine.runners.work import STOP_REASON
from app.handlers.context import JobCancelled, JobContext, Reject, RetryLater
from app.handlers.discovery import resolve
from app.handlers.lifespan import Resources
from app.handlers.operation import Operation, Target, is_async
from app.jobs.policy import lineage
from narration.disclosure import well_formed
from narration.logs import NarrationHandler, install_logs
from narration.processor import install
from narration.scope import Scope, with_scope
from telemetry.logs import logger_provider

ERROR: Final = "error"
REJECT: Final = "reject"
RETRY_LATER: Final = "retry_later"
CANCELLED: Final = "cancelled"
UNFIT: Final = "unfit"


def main() -> None:
    """Run the one task that comes through the first pipe; the arguments are both descriptors."""
    control, pipe = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (control, pipe):
        os.set_inheritable(descriptor, False)  # what the handler starts must not keep them open
    task = frames.read_task(control)
    threading.Thread(target=_watch, args=(control,), name="narrator-watch", daemon=True).start()
    tree.adopt_orphans()
    _prepare_interpreter(task)
    channel = Channel(pipe)
    _run(task, channel)
    channel.close()
    tree.kill_descendants(os.getpid())


def failure_of(error: BaseException) -> frames.Failure:
    """`error` as a frame; those that the engine acts on have a kind of their own."""
    kind, after_s = ERROR, None
    match error:
        case Reject():
            kind = REJECT
        case RetryLater():
            kind, after_s = RETRY_LATER, error.after_s
        case JobCancelled() | asyncio.CancelledError():
            kind = CANCELLED
        case results.UnfitResultError():
            kind = UNFIT
    error_type = type(error)
    return frames.Failure(
        kind,
        error_type.__module__,
        error_type.__qualname__,
        list(lineage(error_type)),
        well_formed(_message_of(error)),
        well_formed("".join(traceback.format_exception(error))),
        after_s,
    )


def _run(task: Task, channel: Channel) -> None:
    job = JobContext(
        id=task.job_id,
        attempt=task.attempt,
        tags=task.tags,
        metadata=msgspec.json.decode(task.metadata),
        last_checkpoint=msgspec.json.decode(task.last_checkpoint),
        sink=ChildSink(channel, max_message_bytes=task.max_message_bytes),
    )
    variables = _variables(task, channel)
    stop = Stop(job.token, channel, STOP_REASON)

    def finish(ending: Ending) -> None:
        """Send the ending, at once: what is cleaned up afterwards may take its time, or hang."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        channel.send(_frame_of(ending, task))

    try:
        variables.run(_run_inside, task, job, variables.copy(), stop, finish)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the server is told
        finish(Raised(error))


def _run_inside(
    task: Task,
    job: JobContext,
    variables: contextvars.Context,
    stop: Stop,
    finish: Callable[[Ending], None],
) -> None:
    """Load, open the resources, run, close them; in the context of the attempt."""
    operation = resolve(Target(module=task.module, attribute=task.attribute, path=task.path))
    params = msgspec.json.decode(task.params)
    resources = Resources()
    with asyncio.Runner() as runner:
        runner.run(resources.open(operation.needs), context=variables)
        try:
            if is_async(operation.function):
                handler = _stoppable(operation, params, job, resources)
                finish(runner.run(handler, context=variables))
            else:
                finish(stop.interrupting(lambda: call_sync(operation, params, job, resources)))
        finally:
            runner.run(resources.close(), context=variables)


async def _stoppable(
    operation: Operation, params: dict[str, object], job: JobContext, resources: Resources
) -> Ending:
    """Run an async handler; SIGTERM cancels it."""
    handler = asyncio.create_task(call_async(operation, params, job, resources))

    def stop() -> None:
        if not job.cancelled:
            job.token.set(STOP_REASON)
            handler.cancel(STOP_REASON)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    if job.cancelled:
        handler.cancel(STOP_REASON)
    try:
        return await handler
    except asyncio.CancelledError as error:  # before its first step: only `stop` cancels it
        return Raised(error)


def _variables(task: Task, channel: Channel) -> contextvars.Context:
    """The context of the attempt: its story, its span, and the caller's baggage."""
    provider = TracerProvider(
        resource=Resource.get_empty(),  # the server's own is on what it exports
        sampler=ParentBased(ALWAYS_OFF),  # as the attempt's; what belongs to no attempt is nobody's
        shutdown_on_exit=False,
    )
    trace.set_tracer_provider(provider)
    install(provider)
    root = logging.getLogger()
    logs = logger_provider(provider.resource)
    root.addHandler(NarrationHandler(once=install_logs(logs).once if logs else None))
    root.setLevel(task.log_level)
    if task.instrument_threads:
        _instrument_threads()
    story = ChildStory(task.job_id, channel, max_message_bytes=task.max_message_bytes)
    scope = Scope(story=story, actor=task.actor, attempt=task.attempt)
    identity = SpanContext(
        int(task.trace_id, 16),
        int(task.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(task.trace_flags),
        trace_state=TraceState.from_header([task.trace_state]),
    )
    context = with_scope(scope, otel_context.Context())
    for key, value in task.baggage.items():
        context = baggage.set_baggage(key, value, context)
    context = trace.set_span_in_context(AttemptSpan(identity, scope, channel), context)
    variables = contextvars.Context()
    variables.run(otel_context.attach, context)
    return variables


def _frame_of(ending: Ending, task: Task) -> frames.Frame:
    if isinstance(ending, Returned):
        try:
            encoded = results.encode(ending.value, what="result", limit=task.max_result_bytes)
            return frames.Result(encoded)
        except results.UnfitResultError as error:
            return failure_of(error)
    return failure_of(cast("Raised", ending).exception)


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an exception of the user's may not even print
        return f"<unprintable {type(error).__name__}>"


def _prepare_interpreter(task: Task) -> None:
    sys.path[:] = task.sys_path
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a line is told when it is complete, not when a buffer is full
            reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _instrument_threads() -> None:
    """Threads inherit the context of who starts them, as they do in the server."""
    from opentelemetry.instrumentation.threading import (  # noqa: PLC0415  # only where it is used
        ThreadingInstrumentor,
    )

    ThreadingInstrumentor().instrument()


def _watch(control: int) -> None:
    """Wait for the end of the pipe: the server has gone, however it went."""
    while os.read(control, 1):
        pass
    tree.kill_descendants(os.getpid())
    tree.signal_group(os.getpgid(0), signal.SIGKILL)

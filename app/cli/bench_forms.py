"""The forms in which `narrator bench` runs one operation: bare, traced, narrated, with readers.

`measured` puts them up in this process: one loop, the operation's resources opened once, the real
server without its sockets. Spans are kept as the SDK keeps them, and exported to nobody. What a
running server sets for the whole process (a handler on the root logger, the context of threads) is
there for the bare calls too. It does not know how figures are compared or shown.
"""

import asyncio
import contextlib
import dataclasses
import gc
import inspect
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

from app.cli.bench_rounds import Form, Measured, Taken, Told, measure
from app.cli.bench_tracing import SwitchedProvider, Tracing
from app.handlers.context import JobCancelled, JobContext, StopToken
from app.handlers.lifespan import Lifespan, Resources
from app.handlers.operation import HandlerKind, Operation, is_async
from app.jobs.errors import NarratorError
from app.jobs.submission import RetryOptions, Submission
from app.service import Narrator
from app.settings import LOOPBACK_HOSTS, Settings
from narration.resume import StreamQuery
from narration.sse import stream_response
from narration.transport import EXTENSION, Scope, Watcher, Write
from telemetry.names import State
from telemetry.tracing import make_global

PATIENCE_S: Final = 366 * 86_400.0
"""Seconds for which the end of a job is waited for: a job has limits of its own."""

_ONCE: Final = RetryOptions(max_attempts=1)  # an attempt that fails is no measurement
_QUERY: Final = StreamQuery()
_REQUEST: Final = {"type": "http", "method": "GET", "path": "/", "headers": []}


class FailedJobError(Exception):
    """A job of a form did not complete; the message says of which form, and why."""


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


class Direct:
    """The handler called as any function: awaited, or in a thread; a generator is drained.

    `traced` puts a span around each call, as one would by hand. Arguments are made beforehand.
    """

    readers: Final = None

    def __init__(
        self,
        operation: Operation,
        params: Mapping[str, Any],
        resources: Resources,
        *,
        tracing: SwitchedProvider,
        traced: bool,
    ) -> None:
        self.name = "traced" if traced else "bare"
        self._operation = operation
        self._params = params
        self._resources = resources
        self._tracing = tracing
        self._mode = Tracing.PLAIN if traced else Tracing.OFF
        tracer = tracing.plain.get_tracer(operation.target.module)
        self._span: Callable[[], contextlib.AbstractContextManager[Any]] | None = None
        if traced:
            self._span = lambda: tracer.start_as_current_span(operation.name, Context())
        self._token = StopToken()

    async def run(self, jobs: int) -> Taken:
        """Call it `jobs` times; `FailedJobError`."""
        calls = [self._arguments() for _ in range(jobs)]
        self._tracing.mode = self._mode
        gc.collect()
        with _failures(self.name):
            if is_async(self._operation.function):
                return await self._await_all(calls)
            try:
                return await asyncio.to_thread(self._call_all, calls)
            except asyncio.CancelledError:
                self._token.set("interrupted")  # a thread can only be asked
                raise

    def _arguments(self) -> dict[str, Any]:
        job = JobContext(id="bench", attempt=1, sink=_Unheard(), token=self._token)
        return self._operation.bind(self._params, job, self._resources)

    async def _await_all(self, calls: Sequence[Mapping[str, Any]]) -> Taken:
        span = self._span
        watch = _Watch()
        for arguments in calls:
            if span is None:
                await self._await(arguments)
            else:
                with span():
                    await self._await(arguments)
        return watch.taken()

    async def _await(self, arguments: Mapping[str, Any]) -> None:
        if not self._operation.generator:
            await self._operation.function(**arguments)
            return
        async for _ in self._operation.function(**arguments):
            pass

    def _call_all(self, calls: Sequence[Mapping[str, Any]]) -> Taken:
        span = self._span
        watch = _Watch()
        with _failures(self.name):  # here: a future cannot carry every exception
            for arguments in calls:
                if self._token.is_set():
                    break
                if span is None:
                    self._call(arguments)
                else:
                    with span():
                        self._call(arguments)
        return watch.taken()

    def _call(self, arguments: Mapping[str, Any]) -> None:
        value = self._operation.function(**arguments)
        if self._operation.generator:
            for _ in value:
                pass
        elif inspect.iscoroutine(value):
            value.close()
            raise TypeError("it is a plain function that returned a coroutine")


class Narrated:
    """A job of the real engine, submitted in process, with `readers` clients that read its story.

    A reader is what a GET of its stream gets, and its connection throws away what is written.
    """

    def __init__(
        self,
        narrator: Narrator,
        operation: Operation,
        params: Mapping[str, Any],
        *,
        readers: int,
        tracing: SwitchedProvider,
    ) -> None:
        plural = "" if readers == 1 else "s"
        self.name = f"narrated, {readers} reader{plural}" if readers else "narrated"
        self.readers = readers
        self._narrator = narrator
        self._operation = operation
        self._params = dict(params)
        self._tracing = tracing

    async def run(self, jobs: int) -> Taken:
        """Run `jobs` jobs to their end; `FailedJobError`."""
        self._tracing.mode = Tracing.NARRATED
        gc.collect()
        watch = _Watch()
        with _failures(self.name):
            for _ in range(jobs):
                await self._job()
        return watch.taken()

    async def _job(self) -> None:
        submission = Submission(operation=self._operation.name, params=self._params, retry=_ONCE)
        job, _, _ = self._narrator.engine.submit(submission)
        if self.readers:
            await asyncio.gather(*(self._read(job.id) for _ in range(self.readers)))
        ended = await self._narrator.result(job.id, timeout_s=PATIENCE_S)
        if ended.state is not State.COMPLETED:
            failure = ended.failure
            why = f"{failure.type}: {failure.message}" if failure else f"it is {ended.state.value}"
            raise FailedJobError(f"{self.name}: {why}")

    async def _read(self, job_id: str) -> None:
        engine = self._narrator.engine
        response = stream_response(engine.log(job_id), _QUERY, engine.streams)
        scope: Scope = {**_REQUEST, "extensions": {EXTENSION: _Connected()}}
        await response(scope, _never, _nowhere)


class _Watch:
    """CPU of this process, all threads, and of children that have ended; and time."""

    __slots__ = ("_began", "_cpu_began")

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._cpu_began = _cpu_s()

    def taken(self) -> Taken:
        cpu_s = _cpu_s() - self._cpu_began
        return Taken(cpu_s=cpu_s, wall_s=time.perf_counter() - self._began)


def _cpu_s() -> float:
    own = time.process_time()
    if sys.platform == "win32":
        return own
    import resource  # noqa: PLC0415 — not there on Windows

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own + children.ru_utime + children.ru_stime


class _Unheard:
    """Takes what a handler says of its job when there is none."""

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Nothing."""

    def output(self, chunk: Any) -> None:
        """Nothing."""

    def checkpoint(self, value: Any) -> None:
        """Nothing."""


class _Connected:
    """A connection that is always ready, offered as our server offers it."""

    def take(self, scope: Scope, watcher: Watcher) -> Write:  # noqa: ARG002 — the protocol's
        """What is written is thrown away."""
        return lambda _data: None

    def give_back(self) -> None:
        """It has nothing to do."""


async def _never() -> Scope:
    """A client that stays."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends it")


async def _nowhere(_message: Scope) -> None:
    """What is sent is thrown away."""


@contextlib.contextmanager
def _failures(name: str) -> Iterator[None]:
    """Whatever a handler raises, or the engine refuses, is the end of the measurement."""
    try:
        yield
    except FailedJobError:
        raise
    except NarratorError as error:
        raise FailedJobError(f"{name}: {error}") from error
    except (Exception, JobCancelled, SystemExit) as error:
        raise FailedJobError(f"{name}: {type(error).__name__}: {error}") from error


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
    there = trace.get_tracer_provider()
    tracing = SwitchedProvider(there if isinstance(there, TracerProvider) else None)
    if not tracing.foreign:
        make_global(tracing)
    return tracing


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is printed, logs are as in `narrator serve`, and what is loaded is no garbage."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)  # so that what is logged is narrated
    gc.collect()
    gc.freeze()
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123 — a device
            contextlib.redirect_stdout(nowhere),
        ):
            yield
    finally:
        gc.unfreeze()
        root.setLevel(level)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop that `narrator serve` uses."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 — not there on Windows

    return uvloop.new_event_loop

"""The forms in which an operation is run: bare, traced, narrated, narrated with readers.

Each runs so many jobs, one after another. What a form does before it looks at the clock (arguments,
a collection of garbage) is not its cost. It does not know how figures are compared or shown.
"""

import asyncio
import contextlib
import gc
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.context import Context

from app.cli.bench.rounds import Taken, Watch
from app.cli.bench.tracing import SwitchedProvider, Tracing
from app.handlers.context import JobCancelled, JobContext, StopToken
from app.handlers.lifespan import Resources
from app.handlers.operation import Operation, is_async
from app.jobs.errors import NarratorError
from app.jobs.submission import RetryOptions, Submission
from app.service import Narrator
from narration.resume import StreamQuery
from narration.sse import stream_response
from narration.transport import EXTENSION, Connection, Scope, Watcher, Write
from telemetry.names import State

PATIENCE_S: Final = 366 * 86_400.0
"""Seconds for which the end of a job is waited for: a job has limits of its own."""

_ONCE: Final = RetryOptions(max_attempts=1)  # an attempt that fails is no measurement
_QUERY: Final = StreamQuery()
_REQUEST: Final = {"type": "http", "method": "GET", "path": "/", "headers": []}


class FailedJobError(Exception):
    """A job of a form did not complete; the message says of which form, and why."""


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
        watch = Watch()
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
        watch = Watch()
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
        watch = Watch()
        with _failures(self.name):
            for _ in range(jobs):
                await self._job()
        return watch.taken()

    async def _job(self) -> None:
        submission = Submission(operation=self._operation.name, params=self._params, retry=_ONCE)
        job_id = self._narrator.engine.submit(submission).job_id
        if self.readers:
            await asyncio.gather(*(self._read(job_id) for _ in range(self.readers)))
        ended = await self._narrator.result(job_id, timeout_s=PATIENCE_S)
        if ended.state is not State.COMPLETED:
            failure = ended.failure
            why = f"{failure.type}: {failure.message}" if failure else f"it is {ended.state.value}"
            raise FailedJobError(f"{self.name}: {why}")

    async def _read(self, job_id: str) -> None:
        engine = self._narrator.engine
        response = stream_response(engine.log(job_id), _QUERY, engine.streams)
        connection = _Connected()
        scope: Scope = {**_REQUEST, "extensions": {EXTENSION: connection}}
        await response(scope, _never, _nowhere)
        if connection.ended is not None:  # the response returns before its body is over
            await connection.ended


class _Unheard:
    """Takes what a handler says of its job when there is none."""

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Nothing."""

    def output(self, chunk: Any) -> None:
        """Nothing."""

    def checkpoint(self, value: Any) -> None:
        """Nothing."""


class _Connected(Connection):
    """A connection that is always ready, offered as our server offers it."""

    ended: "asyncio.Future[bool] | None" = None

    def take(self, scope: Scope, watcher: Watcher) -> Write:  # noqa: ARG002 — the protocol's
        """What is written is thrown away."""
        return lambda _data: None

    def complete_after(self, ended: "asyncio.Future[bool]") -> None:
        """The body is over then."""
        self.ended = ended


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

"""Runs handlers in child processes that can be killed, with all that they started.

The child is the same interpreter with a session of its own; it loads the handler by name. Its
frames, stdout and stderr are read while it runs and while it is being stopped, so that nothing
already said is lost, and to their end with a bound, since whoever inherited them may hold them
open. This module does not know what the frames say.
"""

import asyncio
import contextlib
import contextvars
import io
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec
from opentelemetry import baggage, trace

from app.engine.runners import tree
from app.engine.runners.ending import Ending, Lost, Raised
from app.engine.runners.feed import Feed
from app.engine.runners.frames import Decoder, FrameError, Task, encode
from app.engine.runners.output import Printout
from app.engine.runners.work import STOP_REASON, Work
from narration.message import place_of
from narration.process import marked
from telemetry.names import Kind

_logger = logging.getLogger(__name__)

PIPES_S: Final = 2.0
"""Seconds for which a child that was killed is waited for, and its pipes are read."""

EXIT_S: Final = 5.0
"""Seconds for which a child may clean up after it has sent its ending."""

_HOME: Final = str(Path(__file__).resolve().parents[3])
# `-P` keeps the working directory off the path, where a user's `app` may lie; ours is put first
# only where the child would not find it by itself (a checkout that is not installed).
_START: Final = (
    "import sys, importlib.util as u; home = sys.argv.pop(1); found = u.find_spec('app'); "
    "found and found.origin and found.origin.startswith(home) or sys.path.insert(0, home); "
    "from app.engine.runners.child import main; main()"
)


class ProcessRun:
    """One handler's process."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._pid: int | None = None
        self._stopping = False
        self._killed = False
        self._exit_timer: asyncio.TimerHandle | None = None
        # A context of its own: the supervision is not part of the job that it supervises.
        self._task = work.loop.create_task(
            self._run(), name=f"{work.name}-supervisor", context=contextvars.Context()
        )

    def request_stop(self, reason: str = STOP_REASON) -> None:
        """SIGTERM to the child, which cancels the handler."""
        if not self._stopping:
            self._stopping = True
            self._work.job.token.set(reason)
            self._terminate()

    def kill(self) -> bool:
        """SIGKILL to the child, its group, and all that it started."""
        self._killed = True
        if self._pid is not None:
            tree.kill_tree(self._pid)
        return True

    async def _run(self) -> None:
        ending: Ending = Lost("the server stopped")
        try:
            with self._work.clock.hold():
                ending = await self._supervise()
        except Exception as error:  # it could not be started
            _logger.exception("the child process of job %s failed", self._work.job.id)
            ending = Raised(error)
        finally:
            self._work.on_end(ending)

    async def _supervise(self) -> Ending:
        feed = Feed(self._work)
        frames = _Frames(feed, on_ending=self._limit_exit, on_garbage=self.kill)
        async with contextlib.AsyncExitStack() as stack:
            child = await _spawn(self._work, frames, stack)
            self._pid = child.pid
            stack.push_async_callback(self._abort, child)
            if self._killed:
                self.kill()
            elif self._stopping:
                self._terminate()
            await child.exited()
            self._bury()
            await child.pipes_closed()
        feed.close_lost_spans()
        if feed.ending is not None:
            return feed.ending
        return Lost(_how(child.returncode))

    def _terminate(self) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def _limit_exit(self) -> None:
        """The child has sent its ending: from here on its time is bounded."""
        self._exit_timer = self._work.loop.call_later(EXIT_S, self.kill)

    def _bury(self) -> None:
        """The child is dead: kill what is left of its group."""
        pid, self._pid = self._pid, None
        if pid is not None:
            tree.signal_group(pid, signal.SIGKILL)
        if self._exit_timer is not None:
            self._exit_timer.cancel()

    async def _abort(self, child: "_Child") -> None:
        """The supervision ends before the child does (the loop stops): so must the child.

        Its end is waited for, since a loop that has stopped would not collect it.
        """
        if self._pid is not None:
            self.kill()
            self._bury()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PIPES_S):
                    await child.exited()


class _Child:
    """A started child: its exit, and its three pipes."""

    def __init__(
        self, transport: asyncio.SubprocessTransport, output: "_Output", frames: "_Frames"
    ) -> None:
        self._transport = transport
        self._output = output
        self._frames = frames

    @property
    def pid(self) -> int:
        return self._transport.get_pid()

    @property
    def returncode(self) -> int:
        return cast("int", self._transport.get_returncode())

    async def exited(self) -> None:
        await self._output.exited.wait()

    async def pipes_closed(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PIPES_S):
                for each in (self._frames.closed, *self._output.closed.values()):
                    await each.wait()
        self._output.finish()


async def _spawn(work: Work, frames: "_Frames", stack: contextlib.AsyncExitStack) -> _Child:
    """Start the child and give it its task; `stack` closes what has been opened."""
    control_read, control_write = _pipe(stack)
    frames_read, frames_write = _pipe(stack)
    transport, output = await work.loop.subprocess_exec(
        lambda: _Output(work),
        sys.executable,
        "-P",
        "-c",
        _START,
        _HOME,
        str(control_read.fileno()),
        str(frames_write.fileno()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=marked(work.job.id),
        pass_fds=(control_read.fileno(), frames_write.fileno()),
        start_new_session=True,
    )
    stack.callback(transport.close)
    control_read.close()
    frames_write.close()
    reader, _ = await work.loop.connect_read_pipe(lambda: frames, frames_read)
    stack.callback(reader.close)
    writer, _ = await work.loop.connect_write_pipe(asyncio.BaseProtocol, control_write)
    stack.callback(writer.close)  # until then the child knows that we are there
    writer.write(encode(_task_of(work)))
    return _Child(transport, output, frames)


class _Output(asyncio.SubprocessProtocol):
    """Tells stdout and stderr as they come."""

    def __init__(self, work: Work) -> None:
        place = place_of(work.variables.run(trace.get_current_span))
        self._streams = {
            1: Printout(work.scope, Kind.STDOUT, place),
            2: Printout(work.scope, Kind.STDERR, place),
        }
        self.closed = {1: asyncio.Event(), 2: asyncio.Event()}
        self.exited = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._streams[fd].feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        if fd in self.closed:
            self.closed[fd].set()

    def process_exited(self) -> None:
        self.exited.set()

    def finish(self) -> None:
        for stream in self._streams.values():
            stream.finish()


class _Frames(asyncio.Protocol):
    """Reads frames as they come; `on_ending` is called at the child's last word."""

    def __init__(
        self, feed: Feed, *, on_ending: Callable[[], None], on_garbage: Callable[[], object]
    ) -> None:
        self._feed = feed
        self._decoder = Decoder()
        self._on_ending = on_ending
        self._on_garbage = on_garbage
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        had_ended = self._feed.ending is not None
        try:
            for frame in self._decoder.feed(data):
                self._feed.take(frame)
        except FrameError:
            _logger.exception("a child process wrote what is no frame; it is killed")
            self._on_garbage()
        if self._feed.ending is not None and not had_ended:
            self._on_ending()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.closed.set()


def _pipe(stack: contextlib.AsyncExitStack) -> tuple[io.FileIO, io.FileIO]:
    read, write = os.pipe()
    return stack.enter_context(io.FileIO(read, "rb")), stack.enter_context(io.FileIO(write, "wb"))


def _task_of(work: Work) -> Task:
    span = work.variables.run(trace.get_current_span).get_span_context()
    job, target = work.job, work.operation.target
    return Task(
        module=target.module,
        attribute=target.attribute,
        path=target.path,
        sys_path=[entry or str(Path.cwd()) for entry in sys.path],
        params=msgspec.json.encode(work.params),
        job_id=job.id,
        attempt=job.attempt,
        tags=dict(job.tags),
        metadata=msgspec.json.encode(job.metadata),
        last_checkpoint=msgspec.json.encode(job.last_checkpoint),
        actor=work.scope.actor,
        trace_id=trace.format_trace_id(span.trace_id),
        span_id=trace.format_span_id(span.span_id),
        trace_flags=int(span.trace_flags),
        trace_state=span.trace_state.to_header(),
        baggage={key: str(value) for key, value in work.variables.run(baggage.get_all).items()},
        log_level=logging.getLogger().getEffectiveLevel(),
        instrument_threads=_threads_are_instrumented(),
        max_message_bytes=work.scope.story.max_message_bytes,
        max_result_bytes=work.max_result_bytes,
    )


def _threads_are_instrumented() -> bool:
    """Whether threads inherit their starter's context here, so that they do in the child."""
    module = sys.modules.get("opentelemetry.instrumentation.threading")
    return module is not None and module.ThreadingInstrumentor().is_instrumented_by_opentelemetry


def _how(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-returncode}"

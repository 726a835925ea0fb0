"""Runs a command as a story of its own: narrated, traced, and with the bare command's manners.

It has neither a server nor a queue: the narration library tells the story, and this module reads
its log. Signals are the command's to answer, and its end is ours.
"""

import asyncio
import contextlib
import os
import secrets
import shlex
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace

from app.cli.client.attending import attended
from app.cli.client.display import Progress
from app.cli.client.keys import Keyboard
from app.cli.client.output import discard_output
from app.cli.execute.showing import Drawing, showing_for
from app.cli.failure import complain
from app.client.events import event_of
from app.client.sse import Message
from narration import ProcessFailed, run_process
from narration.hub import Narration
from telemetry import names
from telemetry.names import Kind
from telemetry.propagation import extract, inject
from telemetry.tracing import Tracing, build_tracing

NO_SUCH_COMMAND: Final = 127
NOT_ALLOWED: Final = 126
"""As shells have them."""
SIGNALLED: Final = 128
"""What a shell adds to the number of the signal that killed a command."""
EXPORT_S: Final = 3.0
"""Seconds that the end waits for the collector."""

_BURST: Final = 1_000
_BURST_BYTES: Final = 1 << 20
"""Events and bytes that are shown in one go."""
_CARRIED: Final = ("traceparent", "tracestate", "baggage")
"""Environment variables that carry a trace context, by their names in headers, in capitals."""
_PASSED_ON: Final = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
)


def run(command: Sequence[str], *, progress: Progress, as_json: bool) -> int:
    """Run `command` to its end; the exit code that tells it."""
    tracing = build_tracing()
    try:
        return asyncio.run(_Execution(command, tracing, progress, as_json=as_json).run())
    finally:
        tracing.shutdown(EXPORT_S)


class _Execution:
    """One command, from its start to the last line of its story."""

    def __init__(
        self, command: Sequence[str], tracing: Tracing, progress: Progress, *, as_json: bool
    ) -> None:
        self._command = command
        self._tracing = tracing
        self._name = PurePath(command[0]).name
        self._id = secrets.token_hex(16)
        self._narration = Narration(tracing.provider)
        self._showing = showing_for(progress, shlex.join(command), as_json=as_json)
        self._next = 1  # the sequence that is shown next
        self._pid: int | None = None
        self._sent: list[signal.Signals] = []
        self._stopping = False  # Ctrl-Z came before we knew the command's number
        self._read = True  # somebody reads our output

    async def run(self) -> int:
        """Run it; the exit code."""
        handlers: dict[signal.Signals, Callable[[], object]] = {
            each: partial(self._pass_on, each)
            for each in _PASSED_ON
            if signal.getsignal(each) is not signal.SIG_IGN  # as with nohup: the command ignores it
        }
        keyboard = Keyboard(off=True)  # what is typed is the command's
        handlers[signal.SIGTSTP] = self._stop
        async with attended(self._showing, signals=handlers, key=_ignored, keyboard=keyboard):
            token = otel_context.attach(extract(_carried()))
            try:
                return await self._told()
            finally:
                otel_context.detach(token)

    async def _told(self) -> int:
        """Run it as a story; the exit code."""
        code = 0
        try:
            with self._narration.story(self._id, actor=self._name):
                self._watch()
                code = await self._execute()
        except ProcessFailed as failed:
            code = failed.returncode
        except asyncio.CancelledError:
            if not self._sent:
                raise
            code = -self._sent[-1]
        except FileNotFoundError:
            complain(f"there is no command {self._command[0]!r}")
            code = NO_SUCH_COMMAND
        except OSError as error:
            complain(f"{self._command[0]!r} can't be run: {error.strerror}")
            code = NOT_ALLOWED
        finally:
            self._show()
        return code if code >= 0 else SIGNALLED - code

    async def _execute(self) -> int:
        span = trace.get_current_span()
        span.set_attribute(names.PROCESS_EXECUTABLE_NAME, self._name)
        code = await run_process(
            *self._command,
            env=self._environment(),
            stdin=None,
            started=self._started,
            heard=self._heard,
        )
        span.set_attribute(names.PROCESS_EXIT_CODE, code)
        if -code in self._sent:
            raise asyncio.CancelledError
        if code:
            raise ProcessFailed(self._name, code)
        return code

    def _environment(self) -> dict[str, str] | None:
        """Ours, and where the command's own spans belong if ours are exported."""
        if not self._tracing.exports:
            return None
        return {**os.environ, **{name.upper(): value for name, value in inject().items()}}

    # --- what is shown ----------------------------------------------------------------------------

    def _watch(self) -> None:
        told = self._narration.find(self._id)
        if told is not None:
            told.log.watch(self._show)
        if self._tracing.exports and isinstance(self._showing, Drawing):
            trace_id = trace.get_current_span().get_span_context().trace_id
            self._showing.farewell = f"trace {trace.format_trace_id(trace_id)}"

    def _show(self) -> None:
        """Show what has been told since."""
        told = self._narration.find(self._id)
        if told is None:
            return
        log = told.log
        self._next = max(self._next, log.first)  # a burst beyond the limit of the log
        while self._next < log.next:
            for entry in log.read(self._next, max_events=_BURST, max_bytes=_BURST_BYTES):
                message = Message(
                    event=entry.name, data=entry.data.decode(), id=log.event_id(self._next)
                )
                self._next += 1
                self._written(partial(self._showing.event, event_of(message)))

    def _heard(self, kind: Kind, data: bytes) -> None:
        self._written(partial(self._showing.heard, kind, data))

    def _written(self, write: Callable[[], object]) -> None:
        """Write; where nobody reads us, nobody reads the command."""
        try:
            if self._read:
                write()
        except BrokenPipeError:
            self._read = False
            discard_output()
            self._signal(signal.SIGPIPE)

    # --- signals ----------------------------------------------------------------------------------

    def _started(self, pid: int) -> None:
        self._pid = pid
        for each in self._sent:  # those that came before we knew its number
            self._signal(each)
        if self._stopping:
            self._stop()

    def _pass_on(self, number: signal.Signals) -> None:
        self._sent.append(number)
        self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(self._pid, number)

    def _stop(self) -> None:
        """Ctrl-Z: stop the command and us, and go on together."""
        self._stopping = self._pid is None
        if self._stopping:
            return
        self._signal(signal.SIGSTOP)  # SIGTSTP does nothing to a group that no shell knows
        os.kill(os.getpid(), signal.SIGSTOP)
        self._signal(signal.SIGCONT)
        self._showing.tick()


def _carried() -> list[tuple[bytes, bytes]]:
    """The trace context that our environment carries, as headers."""
    return [
        (name.encode(), os.environ[name.upper()].encode())
        for name in _CARRIED
        if name.upper() in os.environ
    ]


def _ignored(key: str) -> None:
    """No key comes: the keyboard is off."""

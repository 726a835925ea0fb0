"""`run_process()`: a child process whose lines are narrated as they come, and which dies with us.

The child leads a session of its own, so that a signal reaches all that it starts. Its pipes are
read while it is being stopped, so that nothing already said is lost, and with bounds, so that
whoever inherited them cannot hold us. A killed interpreter cannot signal its children: they then
find their pipes closed.
"""

import asyncio
import contextlib
import errno
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, cast

from opentelemetry import trace

from narration import formatting
from narration.formatting import ProcessLine
from narration.message import MASK_MARGIN, NOWHERE, place_of
from narration.plain import parse_plain
from narration.scope import Scope, current_scope
from telemetry.clock import SystemClock
from telemetry.names import Kind

MARK: Final = "NARRATOR_JOB"
"""The variable by which all that a job has started is found, also by a later process."""

KILL_GRACE_S: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""

DRAIN_S: Final = 1.0
"""Seconds for which the pipes are still read when the program itself has ended."""

_CHUNK: Final = 65_536  # bytes of one read
_TURN: Final = 100  # lines told before the loop's other work gets its turn
_EMPTYING: Final = 30  # times `drain_s` at most, for what a dead program has left in its pipes
_LINE_BYTES: Final = 65_536  # kept of one line where no story says how much
_BREAK: Final = re.compile(rb"\r\n|\n|\r")  # a bare CR too: progress bars end their lines so


class ProcessFailed(Exception):  # noqa: N818 - named as what is told, like the outcomes
    """A child process ended with a code other than 0.

    `returncode` is negative for a signal, which `signal_name` then names.
    """

    def __init__(self, program: str, returncode: int) -> None:
        super().__init__(program, returncode)  # both, so that it can be pickled
        self.program = program
        self.returncode = returncode
        self.signal_name = _signal_name(returncode)

    def __str__(self) -> str:
        if self.signal_name is not None:
            return f"{self.program} was killed by {self.signal_name}"
        return f"{self.program} exited with code {self.returncode}"


async def run_process(
    program: str | os.PathLike[str],
    *args: str | os.PathLike[str],
    check: bool = False,
    actor: str | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    kill_grace_s: float = KILL_GRACE_S,
    drain_s: float = DRAIN_S,
    stdin: int | None = asyncio.subprocess.DEVNULL,
    started: Callable[[int], object] | None = None,
    heard: Callable[[Kind, bytes], object] | None = None,
) -> int:
    """Run `program` to its end and give its exit code, negative for a signal.

    Each line of its stdout and stderr is narrated at once, by `actor` (the program's name by
    default); one in the plain form (`narration.plain`) is read back into a message. Lines are
    UTF-8, with what is not replaced; blank ones are left out. `env` replaces the environment;
    to both, NARRATOR_JOB is added, the id of the job that it runs for.

    It reads nothing, or `stdin`: a file descriptor, None for ours. `started` is told the number of
    its process, which is that of its group; `heard` what it writes, as it comes: neither may raise.

    Raises FileNotFoundError where there is no such program or directory, and with `check=True`
    ProcessFailed where the exit code is not 0. If the caller is cancelled, the program and all
    that it started get SIGTERM, after `kill_grace_s` seconds SIGKILL, and the cancellation goes on;
    a second one cuts the grace short. What it leaves running when it ends is killed after
    `drain_s` seconds, or sooner if its pipes are closed.
    """
    name = os.fspath(program)
    told_by = actor or os.path.basename(name)  # noqa: PTH119 - a name, not a path to look at
    scope = current_scope()
    clock = scope.story.clock if scope else SystemClock()
    with clock.hold():  # real time passes in the child
        child = _Child(scope, told_by, heard)
        pid = await child.start(name, args, cwd=cwd, env=env, stdin=stdin)
        if started is not None:
            started(pid)
        returncode = await child.finish(kill_grace_s=kill_grace_s, drain_s=drain_s)
    if check and returncode != 0:
        raise ProcessFailed(os.path.basename(name), returncode)  # noqa: PTH119 - as above
    return returncode


def marked(job_id: str, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """`env`, or our own environment, with the id of the job that a process is for."""
    return {**(os.environ if env is None else env), MARK: job_id}


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    """Says when the program has ended, whoever still holds its pipes (`Process.wait` waits)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_CHUNK, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class _Child:
    """One child process, from its start to the last of its group."""

    _transport: asyncio.SubprocessTransport
    _protocol: _Protocol

    def __init__(
        self, scope: Scope | None, actor: str, heard: Callable[[Kind, bytes], object] | None
    ) -> None:
        self._scope = scope
        self._actor = actor
        self._heard = heard
        self._place = place_of(trace.get_current_span()) if scope else NOWHERE
        self._readers: list[asyncio.Task[None]] = []
        self._told = 0  # lines of both streams

    async def start(
        self,
        program: str,
        args: tuple[str | os.PathLike[str], ...],
        *,
        cwd: str | os.PathLike[str] | None,
        env: Mapping[str, str] | None,
        stdin: int | None,
    ) -> int:
        """Start it; its process id."""
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.subprocess_exec(
                lambda: _Protocol(loop),
                program,
                *[os.fspath(arg) for arg in args],
                stdin=stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=cwd,
                env=marked(self._scope.story.job_id, env) if self._scope else env,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise _not_found(program, cwd) from error
        self._transport = transport
        self._protocol = protocol
        for kind, stream in ((Kind.STDOUT, protocol.stdout), (Kind.STDERR, protocol.stderr)):
            reader = cast("asyncio.StreamReader", stream)  # both are pipes
            self._readers.append(loop.create_task(self._narrate(kind, reader)))
        return transport.get_pid()

    async def finish(self, *, kill_grace_s: float, drain_s: float) -> int:
        exited = self._protocol.exited
        try:
            try:
                await exited.wait()
                await self._drain(drain_s)
            except asyncio.CancelledError:
                self._signal_group(signal.SIGTERM)
                await self._stopped(kill_grace_s)
                raise
            finally:
                # What is left of the group, if anything. The number of a group is not given away
                # while a member lives, and after the last not before all other pids are used up.
                self._signal_group(signal.SIGKILL)
            await self._empty(drain_s)
        except asyncio.CancelledError:
            await self._stopped(drain_s)  # killed: this is short
            raise
        finally:
            for reader in self._readers:
                reader.cancel()
            self._transport.close()
        return cast("int", self._transport.get_returncode())  # set before `exited` is

    async def _stopped(self, timeout_s: float) -> None:
        """Wait until the program has ended and its pipes are closed, for `timeout_s` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._protocol.exited.wait()
                await asyncio.wait(self._readers)

    async def _drain(self, timeout_s: float) -> None:
        """Read on until the pipes are closed, for `timeout_s` seconds at most."""
        await asyncio.wait(self._readers, timeout=timeout_s)

    async def _empty(self, timeout_s: float) -> None:
        """Read what a dead program has left in its pipes, while lines are told within `timeout_s`.

        Bounded: who inherited the pipes, and left the group, may go on writing.
        """
        for _ in range(_EMPTYING):
            told = self._told
            _, open_ones = await asyncio.wait(self._readers, timeout=timeout_s)
            if not open_ones or self._told == told:
                return

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or not ours any more
            os.killpg(self._transport.get_pid(), number)

    async def _narrate(self, kind: Kind, stream: asyncio.StreamReader) -> None:
        scope = self._scope
        lines = _Lines(_LINE_BYTES if scope is None else scope.story.max_message_bytes)
        while chunk := await stream.read(_CHUNK):
            if self._heard is not None:
                self._heard(kind, chunk)
            for line, size in lines.feed(chunk):
                self._tell(kind, line, size)
                self._told += 1
                if self._told % _TURN == 0:
                    await asyncio.sleep(0)
        for line, size in lines.rest():
            self._tell(kind, line, size)

    def _tell(self, kind: Kind, line: bytes, size: int) -> None:
        scope = self._scope
        if scope is None:
            return
        text = line.decode("utf-8", "replace")
        plain = parse_plain(text)
        actor, action, said = plain or (self._actor, kind.value, text)
        told = ProcessLine(
            kind=kind,
            at_ns=scope.story.clock.wall_ns(),
            actor=actor,
            action=action,
            text=said,
            size=size if size > len(line) else None,
            place=self._place,
        )
        scope.story.put(formatting.process_line, scope, told)


class _Lines:
    """Cuts a stream of bytes into lines, keeping only the beginning of an overlong one."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes + MASK_MARGIN  # what is kept beyond the cut is for masking
        self._kept = bytearray()
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, int]]:
        """The lines that `chunk` completes, each with its true length; blank ones are left out."""
        *ended, begun = _BREAK.split(chunk)
        for piece in ended:
            self._add(piece)
            yield from self.rest()
        self._add(begun)

    def rest(self) -> Iterator[tuple[bytes, int]]:
        """The line that has begun, if any; the next one begins after it."""
        if self._size:
            line, size = bytes(self._kept), self._size
            self._kept.clear()
            self._size = 0
            yield line, size

    def _add(self, piece: bytes) -> None:
        self._kept += piece[: max(0, self._max - len(self._kept))]
        self._size += len(piece)


def _not_found(program: str, cwd: str | os.PathLike[str] | None) -> FileNotFoundError:
    if cwd is not None and not Path(cwd).is_dir():
        return FileNotFoundError(errno.ENOENT, "no such directory", os.fspath(cwd))
    return FileNotFoundError(errno.ENOENT, "no such program", program)


def _signal_name(returncode: int) -> str | None:
    if returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:  # a real-time signal
        return f"signal {-returncode}"

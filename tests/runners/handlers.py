"""Handlers that behave, and misbehave, each as all the kinds of operation that it can be.

`returns` becomes `returns_coroutine`, `returns_thread`, `returns_process` (a plain function) and
`returns_async_process`. A handler that waits is released through `gate`, a named pipe.
"""

import asyncio
import builtins
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from opentelemetry import trace

from app.handlers.context import JobContext, Reject, RetryLater
from app.handlers.lifespan import lifespan
from app.handlers.operation import operation
from narration.narrate import narrate
from narration.process import run_process
from narration.scope import current_scope

TRACER: ContextVar[trace.Tracer | None] = ContextVar("TRACER", default=None)
"""The tracer to use here; a child process has one of its own."""

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


class Broken(ValueError):  # noqa: N818  # as users name theirs
    """An error of this module's own."""


class Pool:
    """A resource."""

    def __init__(self) -> None:
        self.pid = os.getpid()


@lifespan
async def pool() -> AsyncIterator[Pool]:
    """Open the resource where it is used."""
    narrate("open", "opening the pool")
    yield Pool()
    narrate("close", "closing the pool")


def _copy(function: Callable[..., Any], name: str, isolation: Literal["auto", "process"]) -> None:
    code = function.__code__
    copied = types.FunctionType(code, globals(), name, function.__defaults__, function.__closure__)
    copied.__kwdefaults__ = function.__kwdefaults__
    copied.__annotations__ = function.__annotations__
    globals()[name] = operation(name, isolation=isolation)(copied)


def _kinds(on_loop: Callable[..., Any], plain: Callable[..., Any]) -> None:
    name = on_loop.__name__.lstrip("_")
    _copy(on_loop, f"{name}_coroutine", "auto")
    _copy(plain, f"{name}_thread", "auto")
    _copy(on_loop, f"{name}_async_process", "process")
    _copy(plain, f"{name}_process", "process")


def _tracer() -> trace.Tracer:
    return TRACER.get() or trace.get_tracer("handlers")


def _tell(job: JobContext) -> None:
    narrate("said", "said by narrate", count=1)
    logging.getLogger(__name__).warning("said by logging")
    job.progress(1, 2, "half")
    job.output("a chunk")
    job.checkpoint({"at": 1})
    with _tracer().start_as_current_span("inner") as span:
        span.add_event("said by a span")


async def _returns(x: int = 1, *, job: JobContext) -> dict[str, int]:
    _tell(job)
    return {"x": x, "attempt": job.attempt}


def _returns_plain(x: int = 1, *, job: JobContext) -> dict[str, int]:
    _tell(job)
    return {"x": x, "attempt": job.attempt}


_kinds(_returns, _returns_plain)


async def _raises(kind: str) -> None:
    raise {"broken": Broken("it broke"), **_outcomes()}.get(kind) or getattr(builtins, kind)("out")


def _raises_plain(kind: str) -> None:
    raise {"broken": Broken("it broke"), **_outcomes()}.get(kind) or getattr(builtins, kind)("out")


def _outcomes() -> dict[str, BaseException]:
    return {
        "reject": Reject("no"),
        "later": RetryLater(7, "busy"),
        "cancelled": asyncio.CancelledError("by itself"),
    }


_kinds(_raises, _raises_plain)


async def _waits(gate: str, *, job: JobContext) -> str:
    _tell(job)
    with _tracer().start_as_current_span("waiting"):
        narrate("ready", "ready")
        return await asyncio.to_thread(Path(gate).read_text)


def _waits_plain(gate: str, *, job: JobContext) -> str:
    _tell(job)
    with _tracer().start_as_current_span("waiting"):
        narrate("ready", "ready")
        return Path(gate).read_text()


_kinds(_waits, _waits_plain)


async def _listens() -> None:
    try:
        narrate("ready", "ready")
        await asyncio.Event().wait()
    finally:
        narrate("clean", "cleaned up")


def _listens_thread(*, job: JobContext) -> None:
    try:
        narrate("ready", "ready")
        job.token.wait()
        job.raise_if_cancelled()
    finally:
        narrate("clean", "cleaned up")


def _listens_process() -> None:
    try:
        narrate("ready", "ready")
        time.sleep(600)
    finally:
        narrate("clean", "cleaned up")


_copy(_listens, "listens_coroutine", "auto")
_copy(_listens_thread, "listens_thread", "auto")
_copy(_listens, "listens_async_process", "process")
_copy(_listens_process, "listens_process", "process")


async def _ignores(gate: str, *, job: JobContext) -> str:
    narrate("ready", "ready")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        narrate("deaf", "not listening", cancelled=job.cancelled)
    return await asyncio.to_thread(Path(gate).read_text)


def _ignores_thread(gate: str, *, job: JobContext) -> str:
    narrate("ready", "ready")
    job.token.wait()
    narrate("deaf", "not listening", cancelled=job.cancelled)
    return Path(gate).read_text()


def _ignores_process(gate: str, *, job: JobContext) -> str:
    try:
        narrate("ready", "ready")
        time.sleep(600)
    except BaseException:  # noqa: BLE001  # what is tested
        narrate("deaf", "not listening", cancelled=job.cancelled)
    return Path(gate).read_text()


_copy(_ignores, "ignores_coroutine", "auto")
_copy(_ignores_thread, "ignores_thread", "auto")
_copy(_ignores, "ignores_async_process", "process")
_copy(_ignores_process, "ignores_process", "process")


async def _streams() -> AsyncIterator[int]:
    try:
        for n in range(3):
            yield n
    finally:
        narrate("closed", "closed in {thread}", thread=threading.current_thread().name)


def _streams_plain() -> Generator[int, None, int]:
    try:
        yield from range(3)
    finally:
        narrate("closed", "closed in {thread}", thread=threading.current_thread().name)
    return 3


_kinds(_streams, _streams_plain)


async def _streams_on() -> AsyncIterator[int]:
    n = 0
    try:
        while True:
            yield n
            n += 1
    finally:
        narrate("closed", "closed")


def _streams_on_plain() -> Iterator[int]:
    n = 0
    try:
        while True:
            yield n
            n += 1
    finally:
        narrate("closed", "closed")


_kinds(_streams_on, _streams_on_plain)


async def _unfit(kind: str) -> Any:
    return {"nan": float("nan"), "object": object(), "large": "x" * 5_000}[kind]


def _unfit_plain(kind: str) -> Any:
    return {"nan": float("nan"), "object": object(), "large": "x" * 5_000}[kind]


_kinds(_unfit, _unfit_plain)


@operation("uses_pool", isolation="process")
async def uses_pool(pool: Pool) -> bool:
    """Say whether the resource was opened in this process."""
    return pool.pid == os.getpid()


@operation("dies", isolation="process")
def dies(how: str) -> None:
    """End without a result."""
    narrate("last", "last words")
    print("printed last", flush=True)  # noqa: T201  # what is tested
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), int(how) if how.isdecimal() else signal.Signals[how])
    time.sleep(600)


@operation("breeds", isolation="process")
def breeds(gate: str, *, fail: bool = False) -> str:
    """Start a child in this group and one that leaves it, tell their pids, and wait."""
    near = subprocess.Popen(SLEEPER)  # what is tested
    far = subprocess.Popen(SLEEPER, start_new_session=True)  # what is tested
    narrate("bred", "{near} {far}", near=near.pid, far=far.pid)
    if fail:
        os._exit(3)
    return Path(gate).read_text()


@operation("floods", isolation="process")
def floods(megabytes: int) -> int:
    """Write to both streams."""
    line = "x" * 1023 + "\n"
    for _ in range(megabytes * 512):
        sys.stdout.write(line)
        sys.stderr.write(line)
    return megabytes


@operation("prints", isolation="process")
def prints(gate: str) -> str:
    """Print a line of each form, and wait."""
    print("a plain line")  # noqa: T201  # what is tested
    print("[miller    ] grind          : Grinding")  # noqa: T201  # what is tested
    print("an error line", file=sys.stderr)  # noqa: T201  # what is tested
    return Path(gate).read_text()


@operation("runs", isolation="process")
async def runs() -> int:
    """Run a process of its own."""
    return await run_process("echo", "said by echo")


@operation("lingers", isolation="process")
def lingers() -> str:
    """Return, and leave a thread that holds the process open."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    return "done"


@operation("annotates", isolation="process")
def annotates() -> None:
    """Use the attempt's span, as third-party code would."""
    span = trace.get_current_span()
    span.set_attribute("handler.color", "red")
    span.add_event("painted", {"odd": b"\xff"})
    span.record_exception(Broken("seen and survived"))
    with _tracer().start_as_current_span("odd") as inner:
        inner.set_attributes({"huge": 2**70, "lone": "\ud800"})


@operation("remembers", isolation="process")
def remembers(*, job: JobContext) -> list[Any]:
    """Give back what the context holds."""
    return [job.id, job.attempt, dict(job.tags), dict(job.metadata), job.last_checkpoint]


@operation("garbles", isolation="process")
def garbles() -> None:
    """Write nonsense where the frames go."""
    os.write(int(sys.argv[2]), b"\xff" * 8)
    time.sleep(600)


@operation("mutters", isolation="process")
def mutters() -> None:
    """Say things where no span of the story is current, and one that nobody understands."""
    with trace.use_span(trace.INVALID_SPAN):
        narrate("mutter", "said without a span")
    scope = current_scope()
    assert scope is not None
    scope.story.put(lambda: None)


@operation("threads", isolation="process")
def threads() -> None:
    """Narrate in a bare thread."""
    thread = threading.Thread(target=narrate, args=("spin", "said in a thread"))
    thread.start()
    thread.join()

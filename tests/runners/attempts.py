"""One attempt, run as the engine runs it: a real story, real spans, a real loop."""

import asyncio
import contextvars
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from app.engine.runners import Ending, Running, start
from app.handlers.context import JobContext
from app.handlers.discovery import load
from app.handlers.lifespan import Resources
from app.handlers.operation import Operation
from narration.events import Event, NarrationEvent
from narration.processor import install
from narration.scope import Disclosure, Scope, with_scope
from narration.spans import SpanLog
from narration.story import Consumer, Story
from telemetry import names
from telemetry.clock import Clock, SystemClock
from telemetry.names import DropReason

KINDS = ("coroutine", "thread", "process", "async_process")
BOUND_S = 60.0
"""Seconds after which a test that waits is taken for stuck."""

OPERATIONS = {each.name: each for each in load(str(Path(__file__).with_name("handlers.py")))}


_STARTED: list["Attempt"] = []
"""The attempts of the test that runs."""


class Attempt:
    """What one attempt has said and done; also its log, counters and sink. Times out loudly."""

    def __init__(
        self,
        *,
        sampled: bool = True,
        traced: bool = True,
        max_message_bytes: int = 65_536,
        clock: Clock | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.told: list[NarrationEvent] = []
        self.progressed: list[tuple[float, float | None, str | None]] = []
        self.outputs: list[Any] = []
        self.checkpoints: list[Any] = []
        self.exported: list[ReadableSpan] = []
        self.drops: Counter[DropReason] = Counter()
        self.endings: list[Ending] = []
        self.spans = SpanLog(1_000)
        self.story = Story(
            "job-1",
            log=self,
            spans=self.spans,
            clock=clock or SystemClock(),
            counters=self,
            mask=lambda text: text.replace("hunter2", "***"),
            max_message_bytes=max_message_bytes,
            consumer=Consumer(self.loop),
        )
        self._changed = asyncio.Condition()
        provider = TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF)
        install(provider)
        disclosure = Disclosure(first_party=frozenset({"handlers"}))
        self.scope = Scope(story=self.story, actor="tester", attempt=1, disclosure=disclosure)
        context = with_scope(self.scope, otel_context.Context())
        self.span: trace.Span = trace.INVALID_SPAN
        if traced:
            self.span = provider.get_tracer(names.SCOPE).start_span("job.attempt", context)
        self.variables = contextvars.Context()
        self.variables.run(otel_context.attach, trace.set_span_in_context(self.span, context))
        self.variables.run(sys.modules["handlers"].TRACER.set, provider.get_tracer("handlers"))
        self.job = JobContext(
            id="job-1",
            attempt=1,
            sink=self,
            tags={"color": "red"},
            metadata={"deep": [1, 2]},
            last_checkpoint={"at": 0},
        )

    def start(self, operation: str | Operation, **params: Any) -> Running:
        """Start it; `endings` gets its ending."""
        found = OPERATIONS[operation] if isinstance(operation, str) else operation
        self.running = start(
            found,
            params,
            self.job,
            variables=self.variables,
            story_scope=self.scope,
            resources=Resources(),
            clock=self.story.clock,
            on_end=self._ended,
            export=self.exported.append,
            max_result_bytes=4_096,
        )
        _STARTED.append(self)
        return self.running

    async def run(self, operation: str | Operation, **params: Any) -> Ending:
        """Start it and wait for its end."""
        self.start(operation, **params)
        return await self.end()

    async def end(self) -> Ending:
        """Wait for the end."""
        await self.until(lambda: bool(self.endings))
        return self.endings[0]

    async def said(self, text: str) -> NarrationEvent:
        """Wait until a message holds `text`."""
        await self.until(lambda: any(text in each.text for each in self.told))
        return next(each for each in self.told if text in each.text)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is asked again at every event."""
        async with asyncio.timeout(BOUND_S), self._changed:
            await self._changed.wait_for(condition)

    @property
    def texts(self) -> list[str]:
        """The texts of all messages."""
        return [each.text for each in self.told]

    def spans_named(self, name: str) -> list[str]:
        """Whether each span called `name` is running or ended."""
        found = [each for each in self.spans.records() if each.name == name]
        return ["running" if each.end is None else "ended" for each in found]

    # --- the log, the counters and the sink ------------------------------------------------------

    def append(self, event: Event) -> int:
        """Keep an event."""
        assert isinstance(event, NarrationEvent)
        self.told.append(event)
        self._wake()
        return len(self.told)

    def narrated(self, source: str, level: str) -> None:
        """Count nothing."""

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Count what was lost."""
        self.drops[reason] += count

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Keep progress."""
        self.progressed.append((done, total, text))

    def output(self, chunk: Any) -> None:
        """Keep a chunk; refuse a certain one."""
        if chunk == "refused":
            raise ValueError("refused")
        self.outputs.append(chunk)
        self.loop.call_soon_threadsafe(self._wake)

    def checkpoint(self, value: Any) -> None:
        """Keep a checkpoint."""
        self.checkpoints.append(value)

    def _ended(self, ending: Ending) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.story.drain()
        self.endings.append(ending)
        self._wake()

    def _wake(self) -> None:
        self.loop.create_task(self._notify(), context=contextvars.Context())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Gate:
    """A named pipe at which a handler waits until it is opened."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "gate")
        os.mkfifo(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(os.open(self.path, os.O_RDWR | os.O_NONBLOCK))  # whoever waits waits no longer

    async def open(self, text: str = "opened") -> None:
        """Let the handler go on; it reads `text`."""
        async with asyncio.timeout(BOUND_S):
            await asyncio.to_thread(Path(self.path).write_text, text)


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(pid: int) -> bool:
    """Whether a process that was killed dies within the bound."""
    async with asyncio.timeout(BOUND_S):
        while alive(pid):  # noqa: ASYNC110  # nobody tells of the end of another's child
            await asyncio.sleep(0.01)
    return True


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine on a loop of its own; no child process is left when it has ended."""

    async def whole() -> None:
        _STARTED.clear()
        try:
            await test()
        finally:
            for attempt in _STARTED:
                if not attempt.endings and attempt.running.kill():
                    await attempt.end()

    asyncio.run(whole())

"""Job engines in this process, ours and taskiq, each with a loop of its own.

Ours is wired by `Narrator`, as in production; its readers are real responses whose connection
throws away what it is sent. Neither knows how it is timed: a round runs so many jobs to their end.
"""

import asyncio
from collections.abc import Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Final

import uvloop
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from taskiq import InMemoryBroker
from taskiq.middlewares.opentelemetry_middleware import OpenTelemetryMiddleware

from app import operation
from app.jobs.submission import Submission
from app.service import Narrator
from app.settings import Settings
from narration.resume import StreamQuery
from narration.sse import stream_response
from narration.transport import EXTENSION, Connection, Watcher, Write
from telemetry.names import Start
from tests.benchmarks.servers import HOST
from tests.benchmarks.works import EVENTS, LIBRARY, one_job, provider, say

BATCH: Final = 20
"""Jobs that are submitted at once; the next ones when all of them have ended."""

ROOM: Final = 1_000_000
"""Jobs that may wait or be kept: more than there ever are."""

_QUERY: Final = StreamQuery()


def operations(tracer: trace.Tracer) -> list[Callable[..., Any]]:
    """What is run; `tracer` is the one of the handlers' own code."""

    @operation
    async def noop() -> None:
        """Do nothing."""

    @operation
    async def ten_events() -> None:
        """Ten events with two attributes each, on the span of the attempt."""
        say(trace.get_current_span(), EVENTS)

    @operation
    async def own_spans() -> None:
        """The same in the innermost of three spans."""
        one_job(tracer, None)

    return [noop, ten_events, own_spans]


class Ours:
    """A narrator in this process; `close` ends it. Without a provider it makes its own."""

    def __init__(self, tracer_provider: TracerProvider | None, **settings: Any) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._stack = AsyncExitStack()
        library = trace.get_tracer(LIBRARY, tracer_provider=tracer_provider)
        self.narrator = Narrator(
            operations(library),
            settings=Settings(queue_limit=ROOM, **settings),
            tracer_provider=tracer_provider,
            bound=HOST,  # as `narrator serve` has it: mounted ones take another road to readers
        )
        self._runner.run(self._stack.enter_async_context(self.narrator.running()))

    def close(self) -> None:
        """Stop."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def run(self, jobs: int, operation: str, *, readers: int = 0, batch: int = BATCH) -> None:
        """Run `jobs` jobs to their end; each is read by `readers` readers, to its end as well."""

        async def main() -> None:
            for _ in range(jobs // batch):
                await self._batch(Submission(operation=operation), batch, readers)

        self._runner.run(main())

    def wait(self, jobs: int) -> None:
        """Submit `jobs` jobs that wait for a reader, who never comes."""

        async def main() -> None:
            for _ in range(jobs):
                self.narrator.engine.submit(Submission(operation="noop", start=Start.ON_STREAM))

        self._runner.run(main())

    def settle(self) -> None:
        """Run until the finished jobs are packed: that work is theirs, not of what comes next."""

        async def main() -> None:
            while self.narrator.engine._keeping.compaction._waiting:  # noqa: ASYNC110 — tells nobody
                await asyncio.sleep(0.05)

        self._runner.run(main())

    async def _batch(self, submission: Submission, count: int, readers: int) -> None:
        engine = self.narrator.engine
        ids = [engine.submit(submission).job_id for _ in range(count)]
        if readers:
            await asyncio.gather(*(self._read(each) for each in ids for _ in range(readers)))
        for each in reversed(ids):  # the last one first: the others have mostly ended with it
            assert await engine.ended(each, 60)
        await engine.settled(*ids)

    async def _read(self, job_id: str) -> None:
        engine = self.narrator.engine
        response = stream_response(engine.log(job_id), _QUERY, engine.streams)
        connection = _Connected()
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await response({**scope, "extensions": {EXTENSION: connection}}, _never, _nowhere)
        assert await connection.ended


class Taskiq:
    """taskiq's own in-memory broker, plain or with its OpenTelemetry middleware."""

    def __init__(self, *, traced: bool) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._broker = InMemoryBroker()
        if traced:
            self._broker.add_middlewares(OpenTelemetryMiddleware(tracer_provider=provider()))

        async def noop() -> None:
            """Do nothing."""

        self._task = self._broker.register_task(noop, "noop")
        self._runner.run(self._broker.startup())

    def close(self) -> None:
        """Stop."""
        self._runner.run(self._broker.shutdown())
        self._runner.close()

    def run(self, jobs: int, *, batch: int = BATCH) -> None:
        """Run `jobs` no-op jobs to their end."""

        async def main() -> None:
            for _ in range(jobs // batch):
                for _ in range(batch):
                    await self._task.kiq()
                await self._broker.wait_all()

        self._runner.run(main())


_Message = MutableMapping[str, Any]


async def _never() -> _Message:
    """A client that stays."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends it")


async def _nowhere(_message: _Message) -> None:
    """What is sent is thrown away."""


class _Connected(Connection):
    """A connection that is always ready, offered as our server offers it."""

    ended: asyncio.Future[bool]

    def take(self, scope: _Message, watcher: Watcher) -> Write:
        """What is written is thrown away."""
        return lambda _data: None

    def complete_after(self, ended: asyncio.Future[bool]) -> None:
        """The response is over then."""
        self.ended = ended

"""One engine that a state machine drives step by step, and handlers that do as they are told.

The loop stands still between two steps. Here is how to do things; what has to hold is in
`test_state_machine`.
"""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from app.handlers.context import JobContext, Reject, RetryLater
from app.handlers.operation import operation
from app.jobs.record import JobRecord
from app.service import Narrator
from app.virtual_time import VirtualClock, VirtualTimeLoop
from narration.narrate import narrate
from tests.engine.harness import Handler, make_narrator, store_folder
from tests.engine.lives import kill

T = TypeVar("T")

SLOTS: Final = 2
QUEUE_LIMIT: Final = 10
GRACE_S: Final = 5.0
RETRY_LATER_LIMIT: Final = 2
LATER_S: Final = 3.0
OPERATIONS: Final = {"polite": None, "slow": 1, "deaf": None}
"""Every operation with its limit; how each takes a cancellation is its name."""
PER_KEY: Final = {"polite": 1, "slow": 2, "deaf": 1}


@dataclass(slots=True, kw_only=True)
class Expected:
    """What a test knows of one job: what it asked for, and what it told the handler."""

    operation: str
    fields: dict[str, Any]
    orders: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    last_order: str | None = None
    cancels: int = 0
    watchers: int = 0
    inside: int = 0
    """Handlers of this job that have begun and not ended."""
    final: JobRecord | None = None
    forgotten: bool = False
    story: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> str | None:
        """Its concurrency key."""
        key: str | None = self.fields.get("concurrency_key")
        return key


class Driven:
    """An engine that does nothing until it is stepped."""

    def __init__(self) -> None:
        self.loop = VirtualTimeLoop()
        self.lives = 0
        self._store = _store()
        self.jobs: dict[str, Expected] = {}
        self.refused: Counter[str] = Counter()
        self.overlaps: list[str] = []
        """Jobs of which two attempts ran at once."""
        self._life = contextlib.AsyncExitStack()
        self.narrator, self.spans = self.step(self._begin)
        self.engine = self.narrator.engine

    def step(self, work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """Run the loop until `work` is done."""
        return self.loop.run_until_complete(work(*arguments))

    def call(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call `work` on the loop, and let all happen that needs no time."""

        async def do() -> T:
            try:
                return work(*arguments, **options)
            finally:
                await _settle()

        return self.step(do)

    def advance(self, seconds: float) -> None:
        """Let time pass."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            await _settle()

        self.step(wait)

    def restart(self, away_s: float) -> None:
        """The process dies, and `away_s` seconds later another one has the same store."""

        async def die() -> None:
            kill(self.engine)
            self.lives += 1  # what its handlers do from now on counts no more
            for job in self.jobs.values():
                job.orders.put_nowait("finish")  # a handler that does not hear is let go
                job.orders, job.inside, job.watchers = asyncio.Queue(), 0, 0
            await self._life.aclose()
            await asyncio.sleep(away_s)

        self.step(die)
        self.narrator, self.spans = self.step(self._begin)
        self.engine = self.narrator.engine
        self.step(_settle)

    def close(self) -> None:
        """Drain, let every handler end, and stop."""

        async def end() -> None:
            await self.engine.drain(2)
            for job in self.jobs.values():
                job.orders.put_nowait("finish")
            await _settle()
            await self._life.aclose()
            await self.loop.shutdown_asyncgens()
            await self.loop.shutdown_default_executor()

        try:
            self.step(end)
        finally:
            self.loop.close()

    async def _begin(self) -> tuple[Narrator, Any]:
        clock = VirtualClock(self.loop)
        narrator, spans = make_narrator(
            clock,
            self._operations(),
            uniform=0.5,
            concurrency=SLOTS,
            queue_limit=QUEUE_LIMIT,
            cancel_grace_s=GRACE_S,
            retry_later_limit=RETRY_LATER_LIMIT,
            unwatched_grace_s=4.0,
            retention_s=1e6,
            **self._store,
        )
        await self._life.enter_async_context(narrator.running())
        return narrator, spans

    # --- the handlers -------------------------------------------------------------------------

    def _operations(self) -> list[Handler]:
        @operation(concurrency=OPERATIONS["polite"])
        async def polite(*, job: JobContext) -> str:
            return await self._run(job, self._take)

        @operation(concurrency=OPERATIONS["slow"], key_concurrency=PER_KEY["slow"])
        async def slow(*, job: JobContext) -> str:
            return await self._run(job, self._take_slowly)

        @operation(concurrency=OPERATIONS["deaf"])
        async def deaf(*, job: JobContext) -> str:
            return await self._run(job, self._take_deafly)

        return [polite, slow, deaf]

    async def _run(self, job: JobContext, take: Callable[[asyncio.Queue[str]], Any]) -> str:
        known, life = self.jobs[job.id], self.lives
        orders = known.orders  # those of this life
        known.inside += 1
        if known.inside > 1:  # an assert would only fail the job
            self.overlaps.append(job.id)
        try:
            while True:
                order = await take(orders)
                if order != "speak":
                    return _obey(order, job)
                narrate("say", "attempt {n} of {id} speaks", n=job.attempt, id=job.id)
                job.progress(job.attempt)
                job.output(job.id)
        finally:
            known.inside -= life == self.lives

    async def _take(self, orders: asyncio.Queue[str]) -> str:
        return await orders.get()

    async def _take_slowly(self, orders: asyncio.Queue[str]) -> str:
        try:
            return await orders.get()
        except asyncio.CancelledError:
            await asyncio.sleep(2)
            raise

    async def _take_deafly(self, orders: asyncio.Queue[str]) -> str:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                return await orders.get()


def _obey(order: str, job: JobContext) -> str:
    if order == "fail":
        raise ValueError(f"attempt {job.attempt} was told to fail")
    if order == "reject":
        raise Reject("told to")
    if order == "later":
        raise RetryLater(LATER_S)
    return f"{job.id} at {job.attempt}"


def _store() -> dict[str, Any]:
    """The setting of a store that no other engine has, if engines keep their jobs."""
    folder = store_folder()
    return {} if folder is None else {"store": folder / f"{uuid.uuid4()}.db"}


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)

"""One store and the engines that have it, one after the other, on virtual time.

A life ends as a server's does, drained, or at once: `kill` cuts an engine off from its store, so
that what is not written by then never is, and has it do nothing more.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, cast

from opentelemetry.sdk.trace.sampling import Sampler

from app.engine.engine import Engine
from app.engine.store_journal import StoreJournal
from app.store.errors import StoreError
from app.store.protocol import Batch
from app.virtual_time import EPOCH_NS, VirtualClock, VirtualTimeLoop, run_virtual
from tests.engine.harness import Bench, Handler, check_end, make_narrator, store_folder


class Lives:
    """Begins and ends engines; the settings and operations are those of every life."""

    def __init__(self, operations: Iterable[Handler], settings: dict[str, Any]) -> None:
        self.bench: Bench | None = None
        self._operations = operations
        self._settings = settings
        self._life = contextlib.AsyncExitStack()
        self._begun = 0

    async def start(
        self,
        *operations: Handler,
        step_s: float = 0.0,
        sampler: Sampler | None = None,
        **settings: Any,
    ) -> Bench:
        """Begin the next life; `operations` and `settings` are its own, if it has them.

        `step_s` is by how many seconds the wall clock has been put forward since the first one.
        """
        loop = cast("VirtualTimeLoop", asyncio.get_running_loop())
        clock = VirtualClock(loop, epoch_ns=EPOCH_NS + round(step_s * 1e9))
        narrator, spans = make_narrator(
            clock, operations or self._operations, sampler=sampler, **{**self._settings, **settings}
        )
        await self._life.enter_async_context(narrator.running())
        self._begun += 1
        self.bench = Bench(narrator, clock, spans)
        return self.bench

    async def kill(self, after_s: float = 1.0) -> None:
        """End the life at once: nothing of it is written from now on. `after_s` pass in all."""
        bench = self._ended()
        until = bench.now + after_s
        kill(bench.engine)
        await self._life.aclose()  # takes a little time that is real
        await asyncio.sleep(until - bench.now)

    async def stop(self, after_s: float = 0.0) -> None:
        """End the life as a server's ends, drained. Then `after_s` seconds pass."""
        bench = self._ended()
        await self._life.aclose()
        check_end(bench.narrator, bench.engine, restored=self._begun > 1)
        await asyncio.sleep(after_s)

    def _ended(self) -> Bench:
        bench, self.bench = self.bench, None
        assert bench is not None
        return bench


def run_lives(
    test: Callable[[Lives], Coroutine[Any, Any, None]], *operations: Handler, **settings: Any
) -> None:
    """Run `test`; the life that it leaves is stopped."""
    folder = store_folder()
    assert folder is not None
    settings.setdefault("store", folder / "jobs.db")

    async def main(_: VirtualClock) -> None:
        lives = Lives(operations, settings)
        await test(lives)
        if lives.bench is not None:
            await lives.stop()

    run_virtual(main)


class _Gone:
    """The store of an engine that was killed."""

    def write(self, batch: Batch) -> None:
        """Nothing is written."""
        raise StoreError(Path(), f"the process is dead, with {len(batch.jobs)} jobs to be written")


def kill(engine: Engine) -> None:
    """Have `engine` do nothing any more, as if its process were gone."""
    core, journal = engine._core, engine._core.journal
    assert isinstance(journal, StoreJournal)
    journal._store = cast("Any", _Gone())
    journal._flight = None  # nobody learns whether it was written
    core.draining = journal._closed = True
    engine.stop()
    for entry in [*core.entries.values()]:
        running = entry.current.running if entry.current else None
        if running is not None and not running.kill():
            running.request_stop("the process is dead")

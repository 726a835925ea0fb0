"""Kills the server, at moments that are chosen by a seeded generator, and starts it again.

It knows what the moments are, and not what is to hold afterwards.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.kill.server import FragileServer
from tests.kill.told import Told

GONE_S: Final = 5.0
"""Bound within which the children of a killed server are gone."""


class Killer:
    """Kills `server` again and again; `judge` is called each time that it is back."""

    def __init__(
        self,
        server: FragileServer,
        told: Told,
        random: random.Random,
        *,
        judge: Callable[[], Awaitable[None]],
    ) -> None:
        self.moments: Counter[str] = Counter()
        self.gone_s: list[float] = []
        """How long it took until nothing of a killed server was left."""
        self.downtime_s: list[float] = []
        """From each kill to the next answer."""
        self._server = server
        self._told = told
        self._random = random
        self._judge = judge
        self._watches: set[asyncio.Task[None]] = set()

    async def run(self, kills: int, within_s: float) -> None:
        """Kill it so many times, or as often as the time allows; it runs afterwards."""
        moments = (
            ("at any time", 5, self._any_time),
            ("right after a 202", 3, self._after_202),
            ("while a batch is written", 3, self._at_write),
            ("as soon as it is back", 2, self._as_soon),
        )
        weights = [weight for _, weight, _ in moments]
        end = time.monotonic() + within_s
        while self._server.kills < kills and time.monotonic() < end:
            name, _, moment = self._random.choices(moments, weights)[0]
            await moment()
            self._kill(name)
            killed = time.monotonic()
            while self._server.kills < kills and self._random.random() < 0.25:
                self._server.spawn()
                usual_s = self._server.starts_s[-1]
                await asyncio.sleep(self._random.uniform(0.3, 1.1) * usual_s)
                self._kill("while it starts")
            await self._server.start()
            self.downtime_s.append(time.monotonic() - killed)
            await self._judge()
        await asyncio.gather(*self._watches)

    def _kill(self, name: str) -> None:
        self.moments[name] += 1
        self._server.kill()
        watch = asyncio.create_task(self._strays_gone(time.monotonic()))
        self._watches.add(watch)  # the next life does not wait for it
        watch.add_done_callback(self._watches.discard)

    # --- moments ------------------------------------------------------------------------------

    async def _any_time(self) -> None:
        await asyncio.sleep(self._random.uniform(0.05, 3.0))

    async def _as_soon(self) -> None:
        await asyncio.sleep(self._random.uniform(0, 0.05))

    async def _after_202(self) -> None:
        before = self._told.acknowledged
        end = time.monotonic() + 5
        while self._told.acknowledged == before and time.monotonic() < end:  # noqa: ASYNC110  # bounded
            await asyncio.sleep(0)

    async def _at_write(self) -> None:
        """The write-ahead log has just changed: a transaction is under way, or has just ended."""
        log = Path(f"{self._server.store}-wal")
        await asyncio.sleep(self._random.uniform(0.05, 0.5))
        await asyncio.to_thread(_changed, log, 5.0)

    async def _strays_gone(self, killed: float) -> None:
        while self._server.strays():
            if time.monotonic() - killed > GONE_S:
                words = f"processes of a killed server live on after {GONE_S} s"
                self._told.violations.append(words)
                break
            await asyncio.sleep(0.01)
        self.gone_s.append(time.monotonic() - killed)


def _changed(file: Path, within_s: float) -> None:
    def stamp() -> tuple[int, int]:
        try:
            found = file.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    before, end = stamp(), time.monotonic() + within_s
    while stamp() == before and time.monotonic() < end:
        time.sleep(0.0002)

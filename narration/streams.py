"""The open streams of a server: their count, their one heartbeat timer, their drain.

It does not know HTTP: a response attaches a reader when it starts to send, and detaches it when it
stops for whatever cause.
"""

import asyncio
import heapq
import itertools
import random
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from narration.broadcast import Broadcast
from narration.log import NarrationLog
from narration.reader import NoStreamCounters, Reader, StreamCounters
from narration.resume import Position, StreamQuery
from narration.transport import Sender

if TYPE_CHECKING:
    from narration.view import View

RETRY_MS: Final = 2000
"""Milliseconds after which a client comes back, at least; up to half as much again by jitter."""


class Streams:
    """Readers that are attached; on one loop's thread only.

    `heartbeat_s` is how long a stream may be silent (seconds, 0: for ever). `watch_exit` is for an
    application whose server does not call `drain` itself: the response then watches for the
    server's exit. `uniform` gives a number from 0 up to 1.
    """

    def __init__(
        self,
        *,
        heartbeat_s: float = 15.0,
        retry_ms: int = RETRY_MS,
        counters: StreamCounters | None = None,
        watch_exit: bool = False,
        uniform: Callable[[], float] | None = None,
    ) -> None:
        self.counters = counters or NoStreamCounters()
        self.watch_exit = watch_exit
        self._retry_ms = retry_ms
        self._uniform = uniform or random.SystemRandom().random
        self._open: dict[Reader, None] = {}
        self._broadcasts: weakref.WeakValueDictionary[tuple[NarrationLog, View], Broadcast] = (
            weakref.WeakValueDictionary()
        )
        self._heartbeats = Heartbeats(heartbeat_s, self._open)
        self._aborting: asyncio.Event | None = None
        self._closed: asyncio.Event | None = None

    @property
    def count(self) -> int:
        """How many streams are open."""
        return len(self._open)

    def open(self, log: NarrationLog, query: StreamQuery, position: Position) -> Reader:
        """A reader of `log` at `position`; not counted until it is attached."""
        return Reader(
            log,
            query,
            position=position,
            retry_ms=self._jittered(self._retry_ms),
            counters=self.counters,
        )

    def attach(self, reader: Reader) -> None:
        """`reader` begins to send."""
        self._open[reader] = None
        self.counters.stream_opened()
        reader.now = asyncio.get_running_loop().time
        reader.wrote_at = reader.now()
        reader.attach()
        if reader.view.keep_alive:
            self._heartbeats.add(reader)

    def sender(self, reader: Reader) -> Sender:
        """What writes to the connection of `reader`, together with those who see the same."""
        key = (reader.log, reader.view)
        broadcast = self._broadcasts.get(key)
        if broadcast is None:
            broadcast = Broadcast(*key, counters=self.counters, now=reader.now)
            self._broadcasts[key] = broadcast
        return Sender(reader, broadcast)

    def detach(self, reader: Reader) -> None:
        """`reader` has stopped."""
        reader.close()
        del self._open[reader]
        self.counters.stream_closed()
        self._heartbeats.trim()
        if not self._open and self._closed is not None:
            self._closed.set()

    def drain(self, reason: str = "shutdown", *, retry_ms: int | None = None) -> None:
        """Tell each stream that is open now that the server is going, and let it end.

        Each is told a time of its own to come back, from `retry_ms` milliseconds up to half as much
        again. Streams attached later go on, until it is called once more.
        """
        for reader in tuple(self._open):
            self._end(reader, reason, retry_ms)

    def end(self, holds: Callable[[str], bool], reason: str) -> None:
        """End the streams whose owner no longer `holds`; those without an owner go on."""
        owners = {reader.owner for reader in self._open if reader.owner is not None}
        ended = {owner for owner in owners if not holds(owner)}
        for reader in tuple(self._open) if ended else ():
            if reader.owner in ended:
                self._end(reader, reason, None)

    def _end(self, reader: Reader, reason: str, retry_ms: int | None) -> None:
        reader.drain(reason, self._jittered(self._retry_ms if retry_ms is None else retry_ms))

    async def wait_closed(self, timeout_s: float) -> bool:
        """Whether all streams have closed within `timeout_s` seconds."""
        if not self._open:
            return True
        if self._closed is None or self._closed.is_set():
            self._closed = asyncio.Event()
        try:
            await asyncio.wait_for(self._closed.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def abort(self) -> None:
        """Cut off the streams that are open now: their clients do not read."""
        if self._aborting is not None:
            self._aborting.set()
            self._aborting = None
        for reader in self._open:
            if reader.sender is not None:
                reader.sender.abort()

    async def aborted(self) -> None:
        """Wait until the streams that are open now are to be cut off."""
        if self._aborting is None:
            self._aborting = asyncio.Event()
        await self._aborting.wait()

    def _jittered(self, least_ms: int) -> int:
        return round(least_ms * (1 + self._uniform() / 2))


class Heartbeats:
    """One timer for all readers: each that was silent for `interval_s` seconds is told to beat.

    A heap holds each reader once, at the earliest time that it could be due; what it wrote since
    then is looked at only when that time has come. So writing costs nothing here.
    """

    def __init__(self, interval_s: float, still_open: dict[Reader, None]) -> None:
        self._interval_s = interval_s
        self._still_open = still_open
        self._due: list[tuple[float, int, Reader]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reader: Reader) -> None:
        """Begin to watch over `reader`; it ends by itself when the reader is not open any more."""
        if self._interval_s > 0:
            self._push(reader, reader.wrote_at)
            self._arm()

    def trim(self) -> None:
        """Let go of readers that are not open any more, where they are the greater part."""
        if len(self._due) > 2 * len(self._still_open) + 64:
            self._due = [due for due in self._due if due[2] in self._still_open]
            heapq.heapify(self._due)

    def _push(self, reader: Reader, wrote_at: float) -> None:
        due = wrote_at + self._interval_s
        heapq.heappush(self._due, (due, next(self._order), reader))

    def _arm(self) -> None:
        if self._due and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._due[0][0], self._beat)

    def _beat(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._due and self._due[0][0] <= now:
            _, _, reader = heapq.heappop(self._due)
            if reader not in self._still_open:
                continue
            silent = reader.wrote_at + self._interval_s <= now
            if silent:
                reader.beat()
            self._push(reader, now if silent else reader.wrote_at)
        self._arm()

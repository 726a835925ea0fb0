"""One client's place in one log: a cursor, from which it replays, then follows.

A reader has no queue and nobody waits for it: it reads the log in bounded batches when its client
can take more. What the log no longer keeps when it comes to it is told as a gap. It does not know
HTTP: `pull` is all that who sends needs. A task may iterate, on any server; where the connection
itself is at hand, `narration.transport` pulls and writes without one, and readers that have caught
up share one place, kept by `narration.broadcast`.
"""

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, Self

from narration.log import EvictedError, NarrationLog
from narration.resume import Position, StreamQuery, resolve
from narration.view import Draining, Gap, notice, render, retry_line
from telemetry.names import GapReason, StreamEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from narration.broadcast import Broadcast
    from narration.transport import Sender

BATCH_EVENTS: Final = 256
"""Events in one chunk at most."""

BATCH_BYTES: Final = 64 * 1024
"""Bytes of events in one chunk, unless one event alone is larger."""


class StreamCounters(Protocol):
    """What streams count; `telemetry.metrics.Metrics` and a no-op both fit."""

    def stream_opened(self) -> None:
        """A stream was attached."""
        ...

    def stream_closed(self) -> None:
        """A stream was detached."""
        ...

    def delivered(self, count: int) -> None:
        """`count` events were sent to one reader."""
        ...

    def replayed(self, count: int) -> None:
        """`count` of the delivered ones were there before the reader came."""
        ...

    def gap(self, reason: GapReason) -> None:
        """A gap was told."""
        ...

    def slow_reader(self) -> None:
        """The log moved past a reader that was attached."""
        ...


class NoStreamCounters:
    """Counts nothing: for an application that keeps no metrics."""

    def stream_opened(self) -> None:
        """Nothing."""

    def stream_closed(self) -> None:
        """Nothing."""

    def delivered(self, count: int) -> None:
        """Nothing."""

    def replayed(self, count: int) -> None:
        """Nothing."""

    def gap(self, reason: GapReason) -> None:
        """Nothing."""

    def slow_reader(self) -> None:
        """Nothing."""


class Reader:
    """What one client gets of one log, chunk by chunk; used on the loop's thread only.

    It ends after the `end` event, after the last event that was there when it began (with
    `follow=False`), after a drain, or when the log is forgotten: `done` says so. `sender` is who
    pulls from it without iterating, if anyone. `attach` counts it as one of the log's readers.
    """

    shared: ClassVar[bool] = True
    """Whether one who has caught up may be served together with others of the same view."""

    __slots__ = (
        "_attached",
        "_beat_due",
        "_broadcast",
        "_cursor",
        "_gaps",
        "_joined_at",
        "_notice",
        "_retry_ms",
        "_stop",
        "_unwatch",
        "_waiter",
        "_wrote_at",
        "counters",
        "done",
        "log",
        "now",
        "owner",
        "sender",
        "view",
    )

    def __init__(
        self,
        log: NarrationLog,
        query: StreamQuery,
        *,
        position: Position | None = None,
        retry_ms: int | None = None,
        counters: StreamCounters | None = None,
    ) -> None:
        position = position or resolve(log, query)
        self.view = query.view
        self.counters = counters or NoStreamCounters()
        self.done = False
        self.now: Callable[[], float] = time.monotonic  # the loop's time once it is attached
        self.sender: Sender | None = None
        self.owner: str | None = None
        """For whom it reads, in the application's own words; None if nobody asks."""
        self._broadcast: Broadcast | None = None
        self._attached = False
        self._wrote_at = 0.0
        self.log = log
        self._cursor = position.start
        self._gaps = position.gaps
        self._retry_ms = retry_ms
        self._joined_at = log.next
        self._stop = None if query.follow else log.next
        self._notice: Draining | None = None
        self._beat_due = False
        self._waiter: asyncio.Future[None] | None = None
        self._unwatch: Callable[[], None] | None = None

    @property
    def cursor(self) -> int:
        """The sequence that it reads next."""
        return self._cursor if self._broadcast is None else self._broadcast.cursor

    def has_more(self) -> bool:
        """Whether `pull` gives something, or ends, without anything new in the log."""
        log = self.log
        return (
            self.cursor < log.next or self._stop is not None or log.ended or log.forgotten
        ) and not self.done

    @property
    def wrote_at(self) -> float:
        """When something was last sent to its client: seconds of the loop's time."""
        shared = self._broadcast
        return self._wrote_at if shared is None else max(self._wrote_at, shared.wrote_at)

    @wrote_at.setter
    def wrote_at(self, at: float) -> None:
        self._wrote_at = at

    def pull(self) -> bytes:
        """What there is to send now, one batch at most; empty when there is nothing yet."""
        if self.done:
            return b""
        if self._retry_ms is None and not self._gaps:
            return self._following()
        return self._opening() + self._following()

    def attach(self) -> None:
        """Count as one of the log's readers until `close`."""
        if not self._attached:
            self._attached = True
            self.log.readers += 1

    def watch(self, callback: "Callable[[], None] | None" = None) -> None:
        """Be woken by the log from now on, or have `callback` called; `unwatch` ends it."""
        if self._unwatch is None:
            self._unwatch = self.log.watch(callback or self._wake)

    def unwatch(self) -> None:
        """Be woken no more."""
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def share(self, broadcast: "Broadcast") -> None:
        """Be where `broadcast` is, who sends to its client, until `unshare`."""
        self._broadcast = broadcast

    def unshare(self) -> None:
        """Be on its own again, at the place where the others are now."""
        self._cursor, self._wrote_at = self.cursor, self.wrote_at
        self._broadcast = None

    def close(self) -> None:
        """Let go of the log; may be called again."""
        self.unwatch()
        if self._attached:
            self._attached = False
            self.log.readers -= 1
            if not self.log.readers:
                self.log.renderings.clear()

    def drain(self, reason: str, retry_ms: int) -> None:
        """End after what has been told by now, saying why and when to come back."""
        if self._notice is None and not self.done:
            self._notice = Draining(reason=reason, retry_ms=retry_ms)
            stop = self.log.next
            self._stop = stop if self._stop is None else min(stop, self._stop)
            if self.sender is not None:
                self.sender.changed()
            self._wake()

    def beat(self) -> None:
        """Send a heartbeat, if the client has nothing under way."""
        self.log.renderings.clear()  # nobody is at this burst any more
        if self.sender is not None:
            self.sender.beat()
        elif self._waiter is not None:
            self._beat_due = True
            self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.attach()
        self.watch()
        while not self.done:
            chunk = self.pull()
            if not chunk and self._beat_due:
                chunk = self.view.keep_alive
            self._beat_due = False
            if chunk:
                self.wrote_at = self.now()
                return chunk
            if not self.done:
                await self._wait()
        self.close()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """As `close`, for who iterates."""
        self.close()

    def _opening(self) -> bytes:
        retry_ms, self._retry_ms = self._retry_ms, None
        gaps, self._gaps = self._gaps, ()
        is_sse = bool(self.view.keep_alive)
        retry = b"" if retry_ms is None or not is_sse else retry_line(retry_ms)
        return retry + b"".join(self._tell(gap) for gap in gaps)

    def _following(self) -> bytes:
        while not self.log.forgotten:
            if self._stop is not None and self._cursor >= self._stop:
                return self._stopping()
            try:
                chunk, more = self._batch()
            except EvictedError as evicted:
                return self._fallen_behind(evicted.first)
            if chunk or self.done or not more:
                return chunk
        return self._forgotten()

    def _batch(self) -> tuple[bytes, bool]:
        log, cursor = self.log, self._cursor
        replaying = cursor < self._joined_at
        # A batch is all replay or all live, so that each is counted exactly.
        until = self._joined_at if replaying else self._stop
        limit = BATCH_EVENTS if until is None else min(BATCH_EVENTS, until - cursor)
        entries = log.read(cursor, max_events=limit, max_bytes=BATCH_BYTES)
        if not entries:
            self.done = log.ended and cursor >= log.next
            return b"", log.ended and not self.done
        rendering = render(self.view, log, cursor, entries)
        self._cursor = cursor + len(entries)
        self.done = entries[-1].name == StreamEvent.END
        if rendering.shown:
            self.counters.delivered(rendering.shown)
            if replaying:
                self.counters.replayed(rendering.shown)
        return rendering.data, True

    def _stopping(self) -> bytes:
        self.done = True
        return b"" if self._notice is None else notice(self.view, self._notice)

    def _fallen_behind(self, first: int) -> bytes:
        self.counters.slow_reader()
        gap = Gap(from_=self._cursor, to=first - 1, reason=GapReason.SLOW_READER)
        self._cursor = first
        return self._tell(gap)

    def _forgotten(self) -> bytes:
        self.done = True
        last = self.log.next - 1
        missing = last if last >= self._cursor else None
        return self._tell(Gap(from_=self._cursor, to=missing, reason=GapReason.FORGOTTEN))

    def _tell(self, gap: Gap) -> bytes:
        self.counters.gap(GapReason(gap.reason))
        return notice(self.view, gap)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

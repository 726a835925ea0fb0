"""What a running attempt says beside its narration: progress, output, checkpoints.

Called from any thread. Progress is coalesced before it is numbered, so that a flood cannot push a
story out of its log; output is data and is never dropped: a thread that outruns the loop waits.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from app.engine import results
from app.engine.entry import Entry
from app.jobs.model import Job, Progress
from narration.events import Event, OutputEvent, ProgressEvent
from narration.masking import cut
from telemetry.clock import Clock, rfc3339
from telemetry.names import DropReason

_BACKPRESSURE_PAUSE_S: Final = 0.001
_CHECKPOINT_LIMIT: Final = 1 << 20


class AttemptSink:
    """The engine's end of one attempt's `JobContext`.

    `changed` is told, on the loop's thread, of a job with new progress or another checkpoint.
    """

    def __init__(
        self,
        entry: Entry,
        *,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        progress_interval_s: float,
        changed: Callable[[Job], None],
    ) -> None:
        self._entry = entry
        self._clock = clock
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._interval_s = progress_interval_s
        self._tell_changed = changed
        self._closed = False

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Keep the newest progress; it is told at most once an interval."""
        if text is not None:
            story = self._entry.story
            text = cut(story.mask(text), story.max_message_bytes)[0]
        self._entry.story.put(self._take_progress, Progress(done=done, total=total, text=text))

    def output(self, chunk: Any) -> None:
        """Tell one chunk; a thread waits while the hand-off is full.

        Raises:
            UnfitResultError: JSON cannot carry the chunk.

        """
        entry = self._entry
        limit = entry.story.max_message_bytes
        truncated: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
        if isinstance(chunk, str):
            chunk, whole = cut(entry.story.mask(chunk), limit)
            truncated = msgspec.UNSET if whole is None else {"bytes": whole}
            value: Any = chunk
        else:
            encoded = results.encode(chunk, what="output chunk", limit=limit)
            value = results.masked(msgspec.json.decode(encoded), entry.story.mask)
        if threading.get_ident() != self._loop_thread:
            while entry.story.full and not self._loop.is_closed():
                time.sleep(_BACKPRESSURE_PAUSE_S)
        entry.story.put_data(self._output_event, value, truncated, self._clock.wall_ns())

    def checkpoint(self, value: Any) -> None:
        """Keep `value` for the next attempt.

        Raises:
            UnfitResultError: JSON cannot carry it, or it is larger than 1 MiB.

        """
        encoded = results.encode(value, what="checkpoint", limit=_CHECKPOINT_LIMIT)
        # On the road of what is told: what is said after it is not kept before it.
        self._entry.story.put_data(self._take_checkpoint, encoded)

    def close(self) -> None:
        """The attempt is over: tell the newest progress, and take nothing more.

        What an abandoned handler, or a task that it has left behind, says later is counted.
        """
        self._flush()
        self._closed = True

    # --- on the loop's thread -----------------------------------------------------------------

    def _flush(self) -> None:
        if self._entry.disarm("progress"):
            self._entry.story.put(self._progress_event)

    def _take_progress(self, progress: Progress) -> Event | None:
        entry = self._entry
        if self._is_late():
            return None
        entry.job.progress = progress
        self._tell_changed(entry.job)
        if entry.timers and "progress" in entry.timers:
            return None
        now, last = self._clock.monotonic(), entry.progress_told_mono
        if last is None or now - last >= self._interval_s:
            return self._progress_event()
        delay_s = last + self._interval_s - now
        entry.arm("progress", self._loop.call_later(delay_s, self._flush))
        return None

    def _progress_event(self) -> Event | None:
        entry, progress = self._entry, self._entry.job.progress
        if progress is None:
            return None
        entry.progress_told_mono = self._clock.monotonic()
        return ProgressEvent(
            at=rfc3339(self._clock.wall_ns()),
            done=progress.done,
            total=progress.total,
            text=progress.text,
        )

    def _output_event(
        self, chunk: Any, truncated: dict[str, int] | msgspec.UnsetType, wall_ns: int
    ) -> Event | None:
        if self._is_late():
            return None
        return OutputEvent(at=rfc3339(wall_ns), chunk=chunk, truncated=truncated)

    def _take_checkpoint(self, encoded: bytes) -> None:
        if not self._is_late():
            self._entry.job.checkpoint = encoded
            self._tell_changed(self._entry.job)

    def _is_late(self) -> bool:
        if self._closed:
            self._entry.story.counters.dropped(DropReason.LATE)
        return self._closed

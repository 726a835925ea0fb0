"""What a running handler has of its job: `JobContext`.

It works from any thread. It talks to a small sink that the engine (or a child process) gives; it
knows neither, and does not know what becomes of what is said.
"""

import threading
from collections.abc import Mapping
from typing import Any, Final, Protocol

from app.handlers.errors import JobCancelled, Reject, RetryLater, require_finite

__all__ = ["JobCancelled", "JobContext", "JobSink", "Reject", "RetryLater", "StopToken"]


class JobSink(Protocol):
    """Where a context's words go: the engine's end of the attempt, or a child process's pipe.

    Every method may be called from any thread.
    """

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Take the newest progress."""
        ...

    def output(self, chunk: Any) -> None:
        """Take one chunk of output: JSON."""
        ...

    def checkpoint(self, value: Any) -> None:
        """Keep `value`, JSON, for the next attempt."""
        ...


_making: Final = threading.Lock()
"""Held while any token gets what its waiters wait for; never by `set`, which a signal may call."""


class StopToken:
    """Tells a handler, from any thread and once, that it is asked to stop, and why."""

    __slots__ = ("_event", "_set", "reason")

    def __init__(self) -> None:
        self._event: threading.Event | None = None  # made for who waits; most never do
        self._set = False
        self.reason: str | None = None

    def set(self, reason: str) -> None:
        """Ask to stop; the first reason stays."""
        if self._set:
            return
        self.reason = reason
        self._set = True  # before the event is looked for: a waiter makes it, then looks here
        if self._event is not None:
            self._event.set()

    def is_set(self) -> bool:
        """Whether the handler was asked to stop."""
        return self._set

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block this thread until asked to stop, at most `timeout_s` seconds; whether it was."""
        with _making:
            if self._event is None:
                self._event = threading.Event()
        return self._set or self._event.wait(timeout_s)


class JobContext:
    """The job as its handler sees it; injected by annotation.

    Attributes:
        id: the job's id.
        attempt: which attempt this is, from 1.
        tags: the job's tags.
        metadata: the job's metadata.
        last_checkpoint: what an earlier attempt gave to `checkpoint`, or None.
        token: the stop token; `token.wait(seconds)` is a sleep that a cancel cuts short.

    """

    __slots__ = ("_sink", "attempt", "id", "last_checkpoint", "metadata", "tags", "token")

    def __init__(
        self,
        *,
        id: str,  # noqa: A002  # the field's name on the wire
        attempt: int,
        sink: JobSink,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        last_checkpoint: Any = None,
        token: StopToken | None = None,
    ) -> None:
        self.id = id
        self.attempt = attempt
        self.tags: Mapping[str, str] = tags or {}
        self.metadata: Mapping[str, Any] = metadata or {}
        self.last_checkpoint = last_checkpoint
        self.token = token or StopToken()
        self._sink = sink

    def progress(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """Say how far the work is: `done` of `total` (any unit; None where it is unknown).

        Raises:
            ValueError: a number is not finite.

        """
        require_finite("done", done)
        if total is not None:
            require_finite("total", total)
        self._sink.progress(done, total, None if text is None else str(text))

    def output(self, chunk: Any) -> None:
        """Stream one chunk of output, most often text; any JSON value will do.

        Raises:
            ValueError: JSON cannot carry the chunk.

        """
        self._sink.output(chunk)

    def checkpoint(self, value: Any) -> None:
        """Keep `value` (JSON) so that the next attempt finds it in `last_checkpoint`.

        Raises:
            ValueError: JSON cannot carry it, or it is too large.

        """
        self._sink.checkpoint(value)

    @property
    def cancelled(self) -> bool:
        """Whether the handler is asked to stop: a cancel, or a timeout."""
        return self.token.is_set()

    def raise_if_cancelled(self) -> None:
        """Stop here if asked to.

        Raises:
            JobCancelled: the handler is asked to stop; it says why.

        """
        if self.token.is_set():
            raise JobCancelled(self.token.reason or "cancelled")

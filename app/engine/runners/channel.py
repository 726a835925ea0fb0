"""The child's end of the pipe to the server, and the stop that comes as a signal.

What is sent is in the pipe when `send` returns, so that not even a crash right after loses it; a
full pipe is waited for. A stop raises in the main thread, as Ctrl-C does, but never in the middle
of a frame.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from app.engine.runners.frames import Dropped, Frame, FrameError, encode
from app.handlers.context import JobCancelled, StopToken
from telemetry.names import DropReason

T = TypeVar("T")


class Channel:
    """Writes frames, from any thread, whole and in order."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._writer: int | None = None
        self._closed = False
        self._main_inside = 0
        self._deferred: Callable[[], None] | None = None

    def send(self, frame: Frame) -> None:
        """Send `frame`; what cannot be encoded is counted instead. Silent once closed."""
        try:
            data = encode(frame)
        except FrameError:
            data = encode(Dropped(DropReason.ERROR, 1))
        main = threading.current_thread() is threading.main_thread()
        if main:
            self._main_inside += 1
        try:
            self._pending.append(data)
            if self._writer != threading.get_ident():  # else a finaliser, inside a write of ours
                self._flush()
        finally:
            if main:
                self._main_inside -= 1
                self._deliver()

    def close(self) -> None:
        """Send no more: what threads say after the end is not heard."""
        self._flush()
        with self._lock:
            self._closed = True

    def defer(self, call: Callable[[], None]) -> bool:
        """Whether the main thread is inside `send`; if so, `call` runs when it leaves."""
        if self._main_inside == 0:
            return False
        self._deferred = call
        return True

    def _flush(self) -> None:
        with self._lock:
            self._writer = threading.get_ident()
            try:
                while self._pending:
                    self._write(self._pending.popleft())
            finally:
                self._writer = None

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._closed:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError:  # the server has gone; the watch on the other pipe ends this process
                self._closed = True

    def _deliver(self) -> None:
        if self._main_inside == 0 and self._deferred is not None:
            call, self._deferred = self._deferred, None
            call()


class Stop:
    """SIGTERM: sets the token, and interrupts a plain function that runs in the main thread."""

    def __init__(self, token: StopToken, channel: Channel, reason: str) -> None:
        self._token = token
        self._channel = channel
        self._reason = reason
        self._interrupts = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def interrupting(self, call: Callable[[], T]) -> T:
        """Run `call`; the first stop, before or meanwhile, raises `JobCancelled` in it.

        `call` never raises by itself; what is raised here was raised around it.
        """
        self._interrupts = True
        try:
            if self._token.is_set():
                raise JobCancelled(self._reason)
            return call()
        finally:
            self._interrupts = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._token.set(self._reason)
        if self._interrupts and not self._channel.defer(self._interrupt):
            self._interrupt()

    def _interrupt(self) -> None:
        if self._interrupts:
            self._interrupts = False
            raise JobCancelled(self._reason)

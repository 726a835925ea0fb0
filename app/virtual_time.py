"""Virtual time: an event loop whose clock jumps to the next timer when nothing else is to do.

For tests of the engine and of users' handlers: hours pass in milliseconds, in the same order every
time. While something real is under way (a thread, a child process: `hold()`), time goes on as it
really does, since nothing here can know how long that takes. It knows neither jobs nor handlers.
"""

import asyncio
import contextlib
import selectors
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

T = TypeVar("T")

EPOCH_NS: Final = 1_767_225_600_000_000_000
"""Wall time at the start: 2026-01-01T00:00:00Z, in Unix nanoseconds."""

LIMIT_S: Final = 366 * 86_400.0
"""Virtual seconds after which a run is taken for endless."""


class VirtualTimeError(RuntimeError):
    """A run on virtual time cannot go on; the message lists the tasks that wait."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing unless something real is under way: it asks for a jump instead."""

    timeline: "_Timeline"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As the standard's, with virtual seconds; a wait without an end is a deadlock."""
        timeline = self.timeline
        if timeline.held:
            return super().select(timeout)
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise VirtualTimeError("nothing will ever happen: no timer, and nothing real, is due")
        timeline.jump(timeout)
        return ready


class _Timeline:
    """What time it is: jumps added up, and real time while anything is held."""

    def __init__(self, limit_s: float) -> None:
        self._lock = threading.Lock()
        self._now = 0.0
        self._limit_s = limit_s
        self._held_since = 0.0
        self.held = 0

    def now(self) -> float:
        """Seconds since the start."""
        with self._lock:
            return self._read()

    def jump(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        with self._lock:
            self._now = self._read() + seconds
            if self._now > self._limit_s:
                raise VirtualTimeError(f"{self._limit_s:g} virtual seconds have passed")

    def hold(self) -> None:
        """Let real time pass until released as often as held."""
        with self._lock:
            if self.held == 0:
                self._held_since = time.monotonic()
            self.held += 1

    def release(self) -> None:
        """Undo one `hold`."""
        with self._lock:
            self._now = self._read()
            self._held_since = time.monotonic()
            self.held -= 1

    def _read(self) -> float:
        return self._now + (time.monotonic() - self._held_since if self.held else 0.0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time; work in its executors is real, and is waited for."""

    def __init__(self, *, limit_s: float = LIMIT_S) -> None:
        self._timeline = _Timeline(limit_s)
        selector = _JumpingSelector()
        selector.timeline = self._timeline
        super().__init__(selector)
        # asyncio runs what is due within its resolution. The system clock's, 1 ns, is less than
        # what a float can tell apart after some months: a timer would never be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._timeline.now()

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Let time pass as it really does; from any thread."""
        self._timeline.hold()
        try:
            yield
        finally:
            self._timeline.release()
            if not self.is_closed():
                self.call_soon_threadsafe(_nothing)  # it may wait for what will not come

    def run_in_executor(  # type: ignore[override]  # the stubs' generic form cannot be repeated here
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """As the standard's; time is held until `func` has returned."""
        held = contextlib.ExitStack()
        held.enter_context(self.hold())
        try:
            future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        except BaseException:
            held.close()
            raise
        future.add_done_callback(lambda _: held.close())
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109  # the standard's signature since 3.12
        """As the standard's; time is held meanwhile."""
        with self.hold():
            await super().shutdown_default_executor()


class VirtualClock:
    """The clock of a `VirtualTimeLoop`, for everything that takes a `telemetry.clock.Clock`."""

    def __init__(self, loop: VirtualTimeLoop, *, epoch_ns: int = EPOCH_NS) -> None:
        self._loop = loop
        self._epoch_ns = epoch_ns

    def wall_ns(self) -> int:
        """Virtual nanoseconds since the Unix epoch."""
        return self._epoch_ns + round(self._loop.time() * 1e9)

    def monotonic(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._loop.time()

    def hold(self) -> contextlib.AbstractContextManager[None]:
        """Let time pass as it really does."""
        return self._loop.hold()


def run_virtual(
    main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, limit_s: float = LIMIT_S
) -> T:
    """Run `main(clock)` to its end on virtual time, on this thread, and give what it returns.

    Raises:
        VirtualTimeError: nothing will ever happen again, or `limit_s` virtual seconds have passed.

    """
    loop = VirtualTimeLoop(limit_s=limit_s)
    clock = VirtualClock(loop)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(main(clock))
        except VirtualTimeError as error:
            raise VirtualTimeError(f"{error}; waiting: {_waiting(loop)}") from None


def _waiting(loop: asyncio.AbstractEventLoop) -> str:
    """The tasks that are not done, each with the line where it waits."""
    places = []
    for task in sorted(asyncio.all_tasks(loop), key=lambda each: each.get_name()):
        frames: Mapping[int, Any] = dict(enumerate(task.get_stack(limit=1)))
        at = [f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in frames.values()]
        places.append(f"{task.get_name()} at {at[0] if at else 'its start'}")
    return ", ".join(places) or "no task"


def _nothing() -> None:
    """Wakes the loop."""

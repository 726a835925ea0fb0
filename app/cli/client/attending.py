"""What a command that shows something live does beside it: signals, keys, and the frames.

All on one loop, without threads. Whatever ends it, the terminal and the signals are put back.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Protocol

from app.cli.client.keys import Keyboard

FRAME_S: Final = 0.1
"""Seconds between two drawings."""

Handler = Callable[[], object]


class Shown(Protocol):
    """What is attended: it draws itself, and understands keys."""

    def tick(self) -> None:
        """Draw again."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


@contextlib.asynccontextmanager
async def attended(
    shown: Shown,
    *,
    signals: Mapping[signal.Signals, Handler],
    key: Callable[[str], object],
    keyboard: Keyboard,
) -> AsyncIterator[None]:
    """Draw `shown` again and again, hand over keys and `signals`, until the block ends.

    Ctrl-Z gives the terminal back before it stops us, and takes it again afterwards, where the
    keys are ours; else the terminal was never taken.
    """
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in signals}
    with keyboard.listening():
        frames = loop.create_task(_draw(shown))
        if keyboard.fd is not None:
            loop.add_reader(keyboard.fd, lambda: [key(each) for each in keyboard.read()])
            loop.add_signal_handler(signal.SIGTSTP, lambda: _stopped(shown, keyboard))
        loop.add_signal_handler(signal.SIGWINCH, shown.tick)
        for number, handler in signals.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in (*signals, signal.SIGTSTP, signal.SIGWINCH):
                loop.remove_signal_handler(number)
            for number, handler_before in before.items():
                signal.signal(number, handler_before)
            if keyboard.fd is not None:
                loop.remove_reader(keyboard.fd)
            frames.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await frames
            shown.close()


async def _draw(shown: Shown) -> None:
    while True:
        await asyncio.sleep(FRAME_S)
        shown.tick()


def _stopped(shown: Shown, keyboard: Keyboard) -> None:
    """Stop as the default action would, with the terminal as it was before."""
    with keyboard.given_back():
        os.kill(os.getpid(), signal.SIGSTOP)  # goes on here at SIGCONT
    shown.tick()

"""`narrator top`: a server as it is, on the whole screen; or once, for scripts.

The numbers and the unfinished jobs are asked for every second, what happens between is followed by
the stream of changes. What is made of it is `board`'s.
"""

import asyncio
import contextlib
import signal
import sys
from itertools import islice
from typing import Annotated, Any, Final

import typer

from app.cli.client.attending import attended
from app.cli.client.board import UNFINISHED, Board
from app.cli.client.board_drawing import draw_board
from app.cli.client.display import Progress
from app.cli.client.following import follow
from app.cli.client.keys import Keyboard
from app.cli.client.output import print_lines
from app.cli.client.reach import AsJson, KeyFile, Server, print_json, reached
from app.cli.client.screen import COLUMNS, Screen
from app.cli.client.watch import operation_named
from app.client import (
    AsyncClient,
    ClientError,
    GapEvent,
    JobRecord,
    JobStateEvent,
    Patience,
    Unreachable,
)
from telemetry.clock import SystemClock

ASK_S: Final = 1.0
"""Seconds between two questions."""
JOBS: Final = 1_000
"""Unfinished jobs that are looked at."""
SNAPSHOT_ROWS: Final = 60
"""Lines that are printed where there is no screen to fill."""

_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE: Final = Patience(calls_s=0.0, streams_s=1e9)
"""It asks again by itself, and says that it could not; the changes come back whenever they can."""


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
    as_json: AsJson = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Watch a server: what waits, runs, and is slow.

    On a terminal it is live: sort, filter, and enter a job to watch it. Elsewhere it is printed
    once.

    For example:

        narrator top

        narrator top --json | jq .queue
    """
    with reached(server, key_file) as client:
        seen = client.overview()
        if as_json:
            print_json(seen.raw)
            return
        if once or not sys.stdout.isatty():
            board = Board(client.server, live=False)
            board.numbers(seen)
            board.listed(islice(client.list(state=UNFINISHED, page_size=JOBS), JOBS))
            lines = draw_board(board, columns=COLUMNS, rows=SNAPSHOT_ROWS)
            print_lines(line for line in lines if line.plain)
            return
        board = Board(client.server)
        while (chosen := asyncio.run(_Top(board, client.key).run())) is not None:
            follow(
                client,
                chosen,
                progress=Progress.TTY,
                as_json=False,
                operation=operation_named(client, chosen.operation),
                key_file=key_file,
            )
            if not _go_back():
                return


def _go_back() -> bool:
    """Wait for a key; whether it does not mean to end."""
    print("any key: back to top   q: quit", flush=True)
    keyboard = Keyboard()
    with keyboard.listening():
        return "q" not in keyboard.read()


class _Top:
    """The live board, until a job is entered or it is left."""

    def __init__(self, board: Board, key: str) -> None:
        self._board = board
        self._server_key = key
        self._screen = Screen(whole=True)
        self._clock = SystemClock()
        self._behind = 0.0  # seconds by which our clock is behind the server's
        self._left: asyncio.Future[JobRecord | None]

    async def run(self) -> JobRecord | None:
        """Show it; the job that is entered, None where it is left."""
        loop = asyncio.get_running_loop()
        self._left = loop.create_future()
        handlers = dict.fromkeys(_ENDINGS, lambda: self._leave(None))
        async with AsyncClient(
            self._board.server, key=self._server_key, patience=_PATIENCE
        ) as client:
            asking: list[asyncio.Future[Any]] = [
                loop.create_task(self._ask(client)),
                loop.create_task(self._follow(client)),
            ]
            try:
                async with attended(self, signals=handlers, key=self._key, keyboard=Keyboard()):
                    await asyncio.wait({self._left, *asking}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in asking:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
        return self._left.result() if self._left.done() else None

    def tick(self) -> None:
        """Draw the board."""
        self._board.now = max(self._board.now, self._clock.wall_ns() / 1e9 + self._behind)
        columns, rows = self._screen.size()
        self._screen.draw(draw_board(self._board, columns=columns, rows=rows))

    def close(self) -> None:
        """Give the terminal back."""
        self._screen.close()

    async def _ask(self, client: AsyncClient) -> None:
        while True:
            try:
                seen = await client.overview()
                page = await client.page(state=UNFINISHED, page_size=JOBS)
            except ClientError as error:
                self._board.notice = f"no answer, asking again: {error}"
            else:
                self._behind = seen.at.timestamp() - self._clock.wall_ns() / 1e9
                self._board.numbers(seen)
                self._board.listed(page.jobs)
                self._board.notice = ""
            await asyncio.sleep(ASK_S)

    async def _follow(self, client: AsyncClient) -> None:
        while True:
            with contextlib.suppress(Unreachable):
                async for event in client.changes(tail=1):
                    if isinstance(event, JobStateEvent | GapEvent):
                        self._board.changed(event)
            await asyncio.sleep(ASK_S)

    def _key(self, name: str) -> None:
        if not self._board.typing and name == "q":
            self._leave(None)
        elif not self._board.typing and name in {"enter", "right"}:
            chosen = self._board.choice()
            if chosen is not None:
                self._leave(chosen)
        else:
            self._board.key(name)
            self.tick()

    def _leave(self, chosen: JobRecord | None) -> None:
        if not self._left.done():
            self._left.set_result(chosen)

"""Follows one job and shows it; Ctrl-C once leaves it alone, twice cancels it.

It decides what signals and keys mean for a job on a server, and the exit code.
"""

import asyncio
import shlex
import signal
import sys
from pathlib import Path
from typing import Final

from app.cli.client.attending import attended
from app.cli.client.display import (
    KEYS,
    NO_KEYS,
    Display,
    DrawnDisplay,
    JsonDisplay,
    Progress,
    display_for,
    progress_of,
)
from app.cli.client.keys import Keyboard
from app.cli.client.lines import SHORT_ID
from app.cli.client.picture import Picture
from app.cli.client.reach import address_of, exit_code
from app.cli.failure import INTERRUPTED
from app.cli.units import short
from app.client import (
    AsyncClient,
    Client,
    ClientError,
    Conflict,
    EndEvent,
    JobRecord,
    Operation,
    Reconnect,
    StreamOptions,
)
from app.client.address import DEFAULT_SERVER

SECOND_S: Final = 3.0
"""Seconds after Ctrl-C in which another one cancels the job."""
CANCEL_S: Final = 10.0
"""Seconds to see the end of a job that was cancelled, before it is left alone."""


def print_job(server: str, job: JobRecord, *, as_json: bool) -> None:
    """The first line of a job that is followed: its id and address, or its record.

    On a terminal it is the address alone, which ends with the id, so that it fits.
    """
    address = address_of(server, job)
    if as_json:
        JsonDisplay().line("job", job.raw)
    else:
        line = address if sys.stdout.isatty() else f"{job.id}  {address}"
        print(f"job {line}", flush=True)


def follow(
    client: Client,
    job: JobRecord,
    *,
    progress: Progress,
    as_json: bool,
    operation: Operation | None = None,
    mode: str | None = None,
    key_file: Path | None = None,
) -> int:
    """Follow `job` on the server of `client` to its end; the exit code. Raises its errors.

    `key_file` is where the key came from, for the words on how to come back.
    """
    progress = progress_of(progress, as_json=as_json)
    display = display_for(
        progress,
        lambda: Picture(
            job.id, job.operation, flowing=operation is not None and operation.generator
        ),
        link=address_of(client.server, job),
        keys=NO_KEYS if Keyboard().fd is None else KEYS,
        again=f"again: narrator retry {job.id[:SHORT_ID]}",
    )
    return asyncio.run(_Following(client, job, display, mode, key_file).run())


class _Following:
    """One job that is followed."""

    def __init__(
        self,
        client: Client,
        job: JobRecord,
        display: Display,
        mode: str | None,
        key_file: Path | None,
    ) -> None:
        self._server = client.server
        self._server_key = client.key
        self._key_file = key_file
        self._job = job
        self._display = display
        self._mode = mode
        self._interrupts = 0
        self._left: asyncio.Future[int]
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling: asyncio.Task[None] | None = None
        self._farewell = ""

    async def run(self) -> int:
        """Follow it; the exit code."""
        loop = asyncio.get_running_loop()
        self._left = loop.create_future()
        async with AsyncClient(self._server, key=self._server_key) as client:
            reading = loop.create_task(self._read(client))
            handlers = {
                signal.SIGINT: lambda: self._interrupted(client),
                signal.SIGTERM: lambda: self._leave(128 + signal.SIGTERM),
                signal.SIGHUP: lambda: self._leave(128 + signal.SIGHUP),
            }
            try:
                async with attended(
                    self._display, signals=handlers, key=self._key, keyboard=Keyboard()
                ):
                    await asyncio.wait({reading, self._left}, return_when=asyncio.FIRST_COMPLETED)
                    if not reading.done():
                        reading.cancel()
            finally:
                for task in (reading, self._cancelling):
                    if task is not None:
                        task.cancel()
                        await asyncio.wait({task})
        if self._farewell:
            self._say_farewell()
        if self._left.done():
            return self._left.result()
        code = reading.result()
        return INTERRUPTED if self._interrupts else code

    async def _read(self, client: AsyncClient) -> int:
        options: StreamOptions = {"on_reconnect": self._broke}
        if self._mode:
            options["mode"] = self._mode
        stream = client.stream(self._job.id, **options)
        async with stream:
            async for event in stream:
                self._display.event(event)
                if isinstance(event, EndEvent):
                    return exit_code(event.state, event.reason)
        record = await client.get(self._job.id)  # the story is gone, the record tells the end
        return exit_code(record.state, record.reason)

    def _broke(self, reconnect: Reconnect) -> None:
        pause = short(reconnect.pause_s)
        self._display.notice(
            f"Connection lost, coming back in {pause}; nothing is lost ({reconnect.reason})"
        )

    def _key(self, name: str) -> None:
        if name == "q":
            self._farewell = self._way_back()
            self._leave(INTERRUPTED)
        else:
            self._display.key(name)

    def _interrupted(self, client: AsyncClient) -> None:
        self._interrupts += 1
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        if self._interrupts == 1:
            self._display.notice(
                f"Leaving job {self._job.id[:SHORT_ID]}, which goes on. "
                f"Ctrl-C again within {SECOND_S:g} s cancels it.",
                lasting=True,
            )
            self._farewell = self._way_back()
            self._timer = loop.call_later(SECOND_S, self._leave, INTERRUPTED)
        elif self._interrupts == 2:  # noqa: PLR2004 — the second one
            self._display.notice(f"Cancelling job {self._job.id[:SHORT_ID]} …", lasting=True)
            self._farewell = ""
            self._cancelling = loop.create_task(self._cancel(client))
        else:
            self._leave(INTERRUPTED)

    async def _cancel(self, client: AsyncClient) -> None:
        """Cancel the job, and give it time to tell its end."""
        try:
            await client.cancel(self._job.id)
        except Conflict:
            pass  # it has ended by itself, and its end is on the way
        except ClientError as error:
            self._farewell = f"the job could not be cancelled: {error}\n{self._way_back()}"
            self._leave(INTERRUPTED)
            return
        self._timer = asyncio.get_running_loop().call_later(CANCEL_S, self._gone_on)

    def _gone_on(self) -> None:
        self._farewell = f"it has not stopped yet\n{self._way_back()}"
        self._leave(INTERRUPTED)

    def _leave(self, code: int) -> None:
        if not self._left.done():
            self._left.set_result(code)

    def _say_farewell(self) -> None:
        if isinstance(self._display, DrawnDisplay):
            print(self._farewell)
        else:
            self._display.notice(self._farewell)

    def _way_back(self) -> str:
        where = "" if self._server == DEFAULT_SERVER else f" --server {self._server}"
        if self._key_file is not None:
            where += f" --key-file {shlex.quote(str(self._key_file))}"
        return f"The job goes on. Come back: narrator watch {self._job.id}{where}"

"""The kill test: clients at work, a server that is killed all the time, and what has to hold.

`python -m tests.kill.run --kills 200 --seed 1`; `make test-kill` does so. What does not hold is
printed, and the exit code is 1.
"""

import argparse
import asyncio
import contextlib
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Final

import httpx

from app.store.inspection import StoreFile
from tests.kill import checker, ledger
from tests.kill.clients import Clients
from tests.kill.frames import Frames
from tests.kill.killer import Killer
from tests.kill.server import FragileServer
from tests.kill.told import Record, Told

CLIENTS: Final = 24
SETTLE_S: Final = 240.0
"""Bound within which all jobs have ended once nothing is killed any more."""
SLACK_S: Final = 30.0
"""What a busy machine may add to a limit."""
SHOWN: Final = 20


class KillTest:
    """One run; afterwards `violations` says what does not hold."""

    def __init__(self, directory: Path, seed: int, *, told: bool = False) -> None:
        self.seed = seed
        self.violations: list[str] = []
        self._progress = told
        self._told = Told()
        self._random = random.Random(seed)
        self.server = FragileServer(directory)
        self._killer = Killer(self.server, self._told, self._random, judge=self._judge)
        self._records: dict[str, Record] = {}
        self._spans: list[ledger.Span] = []
        self._began = time.monotonic()

    async def run(self, kills: int, within_s: float) -> None:
        """Kill the server so many times, then let all jobs end and look at what is there."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        async with httpx.AsyncClient(
            base_url=self.server.url, timeout=30, limits=limits, trust_env=False
        ) as http:
            self._clients = Clients(told=self._told, http=http, random=self._random)
            try:
                await self.server.start()
                working = [asyncio.create_task(self._clients.one()) for _ in range(CLIENTS)]
                await self._killer.run(kills, within_s)
                await self._settle(working)
                found = [*self._told.violations, *self._clients.unexpected]
                found += [words async for words in self._found(http)]
                self.violations = list(dict.fromkeys([*found, *self._on_disk()]))
            finally:
                await asyncio.to_thread(self.server.close)

    def summary(self) -> str:
        """What was done, what was looked at, and what was found."""
        starts, gone = self.server.starts_s, self._killer.gone_s
        events = sum(len(told.events) for told in self._told.jobs.values())
        cut = sum(
            each["outcome"] == "lost"
            for record in self._records.values()
            for each in record["attempts"]
        )
        moments = ", ".join(f"{count} {name}" for name, count in self._killer.moments.items())
        took_s = time.monotonic() - self._began
        told = self._told
        return (
            f"seed {self.seed}: {self.server.kills} kills ({moments}) and {len(starts)} starts in "
            f"{took_s:.0f} s\n"
            f"checked: {len(self._records)} jobs, {told.answers} answers, {events} events told "
            f"{told.frames} times, {len(self._spans)} attempts that ran, {cut} cut, "
            f"{self._clients.resumed} streams resumed\n"
            f"a start took {statistics.median(starts):.2f} s (at most {max(starts):.2f}); what a "
            f"killed server had started was gone after {max(gone, default=0):.2f} s at most\n"
            f"{len(self.violations)} violations"
        )

    # --- judging ------------------------------------------------------------------------------

    async def _judge(self) -> None:
        """After a restart: all that was acknowledged before is there."""
        before = {job_id for job_id, told in self._told.jobs.items() if told.tellings} - {
            job_id for job_id, told in self._told.jobs.items() if told.delete_asked
        }
        listed = {record["id"] for record in await self._clients.listed()}
        gone = {each for each in before - listed if not self._told.jobs[each].delete_asked}
        self._told.violations += [f"{each}: was acknowledged, and is gone" for each in gone]
        if self._progress:
            print(
                f"kill {self.server.kills}: {len(listed)} jobs are there, "
                f"{len(self._told.violations)} violations, start {self.server.starts_s[-1]:.2f} s",
                flush=True,
            )

    async def _settle(self, working: list[asyncio.Task[None]]) -> None:
        """Let the clients finish, and all jobs end."""
        self._clients.stopping = True
        try:
            async with asyncio.timeout(SETTLE_S):
                await asyncio.gather(*working)
                await self._all_ended()
        except TimeoutError:
            self._told.violations.append(f"not all was over {SETTLE_S} s after the last kill")

    async def _all_ended(self) -> None:
        """Wait until every job has ended; deferred ones are followed, so that they start."""
        while True:
            records = await self._clients.listed()
            self._records = {record["id"]: record for record in records}
            left = [each for each in records if each["finished_at"] is None]
            if not left:
                return
            for each in left:
                if each["state"] == "queued" and each["queue_position"] is None:
                    await self._clients.follow(each["id"])
            await asyncio.sleep(0.3)

    async def _found(self, http: httpx.AsyncClient) -> AsyncIterator[str]:
        """What does not hold, of all and of each job."""
        for words in self._compared():
            yield words
        for job_id, record in self._records.items():
            answer = await http.get(f"/v1/jobs/{job_id}/stream", params={"follow": "false"})
            frames = {
                int((frame.id or ".0").partition(".")[2]): frame.raw
                for frame in Frames().feed(answer.content)
            }
            for words in checker.story(record, frames, self._told.jobs[job_id]):
                yield words
            tree = (await http.get(f"/v1/jobs/{job_id}/trace")).json()
            for words in checker.trace(record, tree):
                yield words

    def _compared(self) -> Iterator[str]:
        yield from checker.all_there(self._told, self._records)
        down_s = max(self._killer.downtime_s, default=0.0)
        for job_id, told in self._told.jobs.items():
            yield from checker.tellings(job_id, told)
        for record in self._records.values():
            yield from checker.finished(record)
            yield from checker.limits(record, down_s + SLACK_S)
        self._spans = ledger.read(self.server.ledger)
        forgotten = {job_id for job_id, told in self._told.jobs.items() if told.delete_asked}
        yield from ledger.problems(self._spans, self._records, forgotten)

    def _on_disk(self) -> list[str]:
        with StoreFile(self.server.store) as file:
            found = [str(each) for each in file.findings()]
        complaints = self.server.complaints
        if "Traceback" in complaints:
            found.append(
                f"it has complained:\n{complaints[complaints.index('Traceback') :][:4000]}"
            )
        return found


def main(words: Iterable[str]) -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill.run")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="repeats the choices of a run")
    parser.add_argument("--within-s", type=float, default=3600, help="when to stop killing")
    parser.add_argument("--keep", type=Path, default=None, help="where to leave store and ledger")
    given = parser.parse_args(list(words))
    seed = secrets.randbits(32) if given.seed is None else given.seed
    with contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        print(f"seed {seed}", flush=True)
        test = KillTest(directory, seed, told=True)
        asyncio.run(test.run(given.kills, given.within_s))
    for violation in test.violations[:SHOWN]:
        print(f"VIOLATION {violation}")
    print(test.summary())
    return bool(test.violations)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Our engine in a process of its own, with an environment of its own; see `Ours`.

It answers lines of JSON: `hold` fills the registry and a log, `run` measures so many of a thing and
gives its CPU microseconds each. `total_s` is the CPU time of the whole process so far, so that what
happens between two questions (an exporter's thread) can be counted as well.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import uvloop

from narration.reader import Reader
from narration.resume import StreamQuery
from tests.benchmarks.engines import ROOM, Ours
from tests.benchmarks.works import Stories, say

Work = Callable[[int], None]

LOG_EVENTS: Final = 200_000


class Bench:
    """An engine that holds jobs, and a log that holds messages."""

    def __init__(self) -> None:
        self._ours = Ours(None, retention_jobs=ROOM, retention_bytes=1 << 40)
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._told = Stories(log_events=LOG_EVENTS)
        self._runner.run(self._bind())
        self._context, self._log = self._told.open()

    def hold(self, jobs: int, messages: int) -> None:
        """Keep so many jobs, half of them finished and half waiting; and a log so long."""
        self._ours.run(jobs // 2, "noop", batch=10)
        self._ours.wait(jobs // 2)
        self._ours.settle()
        self.emit(messages)

    def run(self, what: str, count: int) -> float:
        """CPU microseconds of each of `count` things: `job`, `submit`, `emit` or `read`."""
        work: Work = getattr(self, what)
        began = time.process_time()
        work(count)
        return (time.process_time() - began) / count * 1e6

    def close(self) -> None:
        """Stop."""
        self._runner.close()
        self._ours.close()

    def job(self, count: int) -> None:
        """Run jobs of ten events."""
        self._ours.run(count, "ten_events")

    def submit(self, count: int) -> None:
        """Submit jobs that wait."""
        self._ours.wait(count)

    def emit(self, messages: int) -> None:
        """Put messages into the log."""
        self._runner.run(self._say(messages, lambda: None))

    def read(self, messages: int) -> None:
        """The same, each read by one reader at once."""
        reader = Reader(self._log, StreamQuery(from_=self._log.next))

        def pull() -> None:
            assert reader.pull()

        self._runner.run(self._say(messages, pull))

    async def _say(self, messages: int, after_each: Callable[[], None]) -> None:
        with self._told.tracer.start_as_current_span("talk", self._context) as span:
            for _ in range(messages):
                say(span, 1)
                after_each()

    async def _bind(self) -> None:
        self._told.bind()


def main() -> None:
    """Answer until stdin ends."""
    bench = Bench()
    for line in sys.stdin:
        question: dict[str, Any] = json.loads(line)
        do = question.pop("do")
        if do == "hold":
            bench.hold(**question)
            answer: dict[str, Any] = {}
        else:
            answer = {"each_us": bench.run(**question), "total_s": time.process_time()}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    bench.close()


if __name__ == "__main__":
    main()

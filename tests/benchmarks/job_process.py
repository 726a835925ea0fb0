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

from opentelemetry.context import Context

from narration.log import NarrationLog
from narration.reader import Reader
from narration.resume import StreamQuery
from tests.benchmarks.engines import ROOM, Ours
from tests.benchmarks.works import Stories, say

LOG_EVENTS: Final = 200_000
MESSAGES: Final = 200
"""Of one round on the log."""


class Bench:
    """An engine that holds jobs, and a log that holds messages."""

    def __init__(self) -> None:
        self._ours = Ours(None, retention_jobs=ROOM, retention_bytes=1 << 40)
        self._things: dict[str, Callable[[int], None]] = {
            "job": lambda count: self._ours.run(count, "ten_events"),
            "submit": self._ours.wait,
            "emit": self._emit,
            "read": self._read,
        }

    def hold(self, jobs: int, messages: int) -> None:
        """Keep so many jobs, half of them finished and half waiting; and a log so long."""
        self._ours.run(jobs // 2, "noop", batch=10)
        self._ours.wait(jobs // 2)
        self._told = Stories(log_events=LOG_EVENTS)
        self._story: tuple[Context, NarrationLog] = self._told.open()
        self._emit(messages)

    def run(self, what: str, count: int) -> float:
        """CPU microseconds of each of `count` things."""
        began = time.process_time()
        self._things[what](count)
        return (time.process_time() - began) / count * 1e6

    def close(self) -> None:
        """Stop."""
        self._ours.close()

    def _emit(self, messages: int) -> None:
        async def main() -> None:
            self._told.bind()
            self._say(messages)

        asyncio.run(main())

    def _read(self, messages: int) -> None:
        async def main() -> None:
            self._told.bind()
            log = self._story[1]
            reader = Reader(log, StreamQuery(from_=log.next))
            for _ in range(messages):
                self._say(1)
                assert reader.pull()

        asyncio.run(main())

    def _say(self, messages: int) -> None:
        context, _ = self._story
        with self._told.tracer.start_as_current_span("talk", context) as span:
            say(span, messages)


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

"""The open streams: one count, one heartbeat timer, one drain."""

import asyncio
from collections import Counter

import pytest

from narration.events import OutputEvent
from narration.log import NarrationLog
from narration.reader import NoStreamCounters, Reader
from narration.resume import StreamQuery, resolve
from narration.streams import Streams
from narration.view import KEEP_ALIVE, Format
from tests.narration.serving import bounded, until

AT = "2026-01-01T00:00:00.000000Z"


class Counted(NoStreamCounters):
    """Keeps how many streams were opened and closed."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()

    def stream_opened(self) -> None:
        """One more."""
        self.events["opened"] += 1

    def stream_closed(self) -> None:
        """One less."""
        self.events["closed"] += 1


def a_log() -> NarrationLog:
    return NarrationLog("j", epoch="e", limit=100, schedule=asyncio.get_running_loop().call_soon)


def attached(streams: Streams, log: NarrationLog, query: StreamQuery | None = None) -> Reader:
    query = query or StreamQuery()
    reader = streams.open(log, query, resolve(log, query))
    streams.attach(reader)
    return reader


async def reading(reader: Reader, seen: list[bytes]) -> None:
    async for chunk in reader:
        seen.append(chunk)  # noqa: PERF401 - what was seen by now is looked at while it goes on


def test_streams_are_counted_while_they_are_attached() -> None:
    async def test() -> None:
        counted = Counted()
        streams = Streams(counters=counted, heartbeat_s=0)
        log = a_log()
        first, second = attached(streams, log), attached(streams, log)

        assert streams.count == 2
        assert not await streams.wait_closed(0.001)

        streams.detach(first)
        streams.detach(second)

        assert streams.count == 0
        assert await streams.wait_closed(0.001)
        assert counted.events == {"opened": 2, "closed": 2}
        assert log.watched == 0

    bounded(test())


def test_waiting_for_the_last_stream_ends_when_it_is_detached() -> None:
    async def test() -> None:
        streams = Streams(heartbeat_s=0)
        for _ in range(2):  # as often as it is asked
            reader = attached(streams, a_log())
            waiting = asyncio.create_task(streams.wait_closed(30))
            await asyncio.sleep(0)
            streams.detach(reader)

            assert await waiting

    bounded(test())


def test_each_stream_is_told_a_time_of_its_own_to_come_back() -> None:
    async def test() -> None:
        numbers = iter([0.0, 0.5, 0.999])
        streams = Streams(heartbeat_s=0, retry_ms=1000, uniform=lambda: next(numbers))
        retries = [attached(streams, a_log()).pull() for _ in range(3)]

        assert retries == [b"retry: 1000\n", b"retry: 1250\n", b"retry: 1500\n"]

    bounded(test())


def test_a_drain_tells_those_that_are_open_and_not_those_that_come_later() -> None:
    async def test() -> None:
        streams = Streams(heartbeat_s=0)
        log = a_log()
        early = attached(streams, log)
        streams.drain()
        late = attached(streams, log)

        assert b"event: draining" in early.pull()
        assert early.done
        assert b"draining" not in late.pull()
        assert not late.done

        streams.drain()

        assert b"event: draining" in late.pull()

    bounded(test())


@pytest.mark.parametrize("readers", [1, 20])
def test_silent_streams_get_heartbeats_from_one_timer(readers: int) -> None:
    async def test() -> None:
        streams = Streams(heartbeat_s=0.03)
        log = a_log()
        seen: list[list[bytes]] = [[] for _ in range(readers)]
        tasks = [asyncio.create_task(reading(attached(streams, log), chunks)) for chunks in seen]
        await until(lambda: all(chunks.count(KEEP_ALIVE) >= 3 for chunks in seen))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        assert len(streams._heartbeats._due) == readers

    bounded(test())


def test_a_stream_with_traffic_is_not_beaten_for() -> None:
    """A chunk within every interval: the heartbeat is never due, however often the timer looks."""

    async def test() -> None:
        streams = Streams(heartbeat_s=5)
        beats = streams._heartbeats
        log = a_log()
        reader = attached(streams, log)
        seen: list[bytes] = []
        task = asyncio.create_task(reading(reader, seen))
        await until(lambda: len(seen) == 1)
        now = asyncio.get_running_loop().time()
        beats._due = [(now - 1, 0, reader)]  # looked at early, as after a chunk that came late
        log.append(OutputEvent(at=AT, chunk="x"))
        await until(lambda: len(seen) == 2)
        beats._beat()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert KEEP_ALIVE not in seen
        assert beats._due[0][0] == pytest.approx(reader.wrote_at + 5)

    bounded(test())


def test_ndjson_streams_get_no_heartbeats() -> None:
    async def test() -> None:
        streams = Streams(heartbeat_s=0.01)
        attached(streams, a_log(), StreamQuery(format=Format.NDJSON))

        assert streams._heartbeats._due == []

    bounded(test())


def test_streams_that_have_closed_are_let_go_of_before_their_heartbeat_is_due() -> None:
    async def test() -> None:
        streams = Streams(heartbeat_s=3_600)
        log = a_log()
        for _ in range(500):
            streams.detach(attached(streams, log))

        assert len(streams._heartbeats._due) <= 65

    bounded(test())


def test_a_timer_that_finds_only_closed_streams_rests() -> None:
    async def test() -> None:
        streams = Streams(heartbeat_s=0.01)
        streams.detach(attached(streams, a_log()))
        await until(lambda: streams._heartbeats._timer is None)

        assert streams._heartbeats._due == []

    bounded(test())


def test_an_abort_reaches_those_who_wait_for_it_and_is_over() -> None:
    async def test() -> None:
        streams = Streams(heartbeat_s=0)
        streams.abort()  # nobody waits
        first = asyncio.create_task(streams.aborted())
        await asyncio.sleep(0)
        streams.abort()
        await first
        second = asyncio.create_task(streams.aborted())
        await asyncio.sleep(0)

        assert not second.done()
        second.cancel()

    bounded(test())

"""Written to the connection: the same events in the same order as sent, whatever it takes when."""

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narration.events import EndEvent, OutputEvent
from narration.log import LockedLog, NarrationLog
from narration.reader import BATCH_EVENTS
from narration.resume import StreamQuery, resolve
from narration.streams import Streams
from narration.transport import chunk
from narration.view import KEEP_ALIVE, Format
from telemetry.names import Level
from tests.narration.counted import Counted
from tests.narration.frames import Client
from tests.narration.serving import bounded, until
from tests.narration.wires import Wire, connect, turns

AT = "2026-01-01T00:00:00.000000Z"


def a_log(*, limit: int = 1_000) -> NarrationLog:
    return NarrationLog("j", epoch="e", limit=limit, schedule=asyncio.get_running_loop().call_soon)


def some_streams(counters: Counted | None = None) -> Streams:
    return Streams(heartbeat_s=0, uniform=lambda: 0.5, counters=counters)


def tell(log: NarrationLog, count: int = 1) -> None:
    for _ in range(count):
        log.append(OutputEvent(at=AT, chunk="x"))


def end(log: NarrationLog) -> None:
    log.append(EndEvent(at=AT, state="completed", marker="[DONE]"))


def seen(wire: Wire) -> Client:
    client = Client()
    client.take_all(wire.chunks)
    return client


async def sent(streams: Streams, log: NarrationLog, query: StreamQuery) -> bytes:
    """What a client gets by the other road."""
    reader = streams.open(log, query, resolve(log, query))
    streams.attach(reader)
    try:
        return b"".join([each async for each in reader])
    finally:
        streams.detach(reader)


# --- the same as by the other road ---------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("tell"), st.integers(1, 5)),
    st.tuples(st.just("turn"), st.integers(1, 3)),
    st.tuples(st.just("attach"), st.integers(1, 4)),
    st.tuples(st.just("pause"), st.integers(0, 5)),
    st.tuples(st.just("resume"), st.integers(0, 5)),
)
VIEWS = [
    StreamQuery(),
    StreamQuery(format=Format.TEXT),
    StreamQuery(format=Format.NDJSON),
    StreamQuery(level=Level.WARN),
]


async def played(
    steps: list[tuple[str, int]], log: NarrationLog, streams: Streams, *, sending: bool
) -> tuple[list[Wire], list[asyncio.Task[bytes]]]:
    """Take `steps`, then let all that are paused go on to the end of the story.

    With `sending`, each reader has a twin by the other road, with the same query.
    """
    wires: list[Wire] = []
    twins: list[asyncio.Task[bytes]] = []
    for step, number in [("attach", 3), *steps]:
        if step == "tell":
            tell(log, number)
        elif step == "turn":
            await turns(number)
        elif step == "attach":
            query = VIEWS[len(wires) % len(VIEWS)] if sending else StreamQuery()
            wires.append(connect(streams, log, query, room=number))
            if sending:
                twins.append(asyncio.ensure_future(sent(streams, log, query)))
        elif wires and step == "pause":
            wires[number % len(wires)].pause()
        elif wires:
            wires[number % len(wires)].resume(number or None)
    end(log)
    while not all(wire.running.done() for wire in wires):
        await turns()
        for wire in wires:
            wire.resume()
    return wires, twins


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_a_client_gets_the_bytes_that_the_other_road_gives(steps: list[tuple[str, int]]) -> None:
    """Whatever is paused when, in every view."""

    async def test() -> None:
        log, streams = a_log(), some_streams()
        wires, twins = await played(steps, log, streams, sending=True)

        for wire, twin in zip(wires, twins, strict=True):
            assert wire.running.result()
            assert wire.body == await twin
        assert (log.watched, log.readers, streams.count) == (0, 0, 0)

    bounded(test())


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60), st.integers(1, 6))
def test_what_a_log_has_let_go_of_meanwhile_is_told_and_the_rest_comes_once(
    steps: list[tuple[str, int]], limit: int
) -> None:
    async def test() -> None:
        log, counted = a_log(limit=limit), Counted()
        wires, _ = await played(steps, log, some_streams(counted), sending=False)

        delivered = 0
        for wire in wires:
            client = seen(wire)
            delivered += len(client.sequences)
            assert client.sequences == sorted(set(range(1, log.next)) - client.missing())
            assert client.names[-1] == "end"
        assert counted.events["delivered"] == delivered

    bounded(test())


def test_a_story_that_a_thread_tells_is_written_whole() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        log = LockedLog("j", epoch="e", limit=5_000, schedule=loop.call_soon_threadsafe)
        streams = some_streams()
        wires = [connect(streams, log) for _ in range(3)]
        await turns()

        def telling() -> None:
            tell(log, 3_000)
            end(log)

        told = loop.run_in_executor(None, telling)
        late = [connect(streams, log, room=2)]
        while not all(wire.running.done() for wire in wires + late):
            late[0].resume(2)
            await asyncio.sleep(0.001)
        await told

        for wire in wires + late:
            assert seen(wire).sequences == list(range(1, 3_002))

    bounded(test())


# --- shared ---------------------------------------------------------------------------------------


def test_a_burst_is_framed_once_for_all_who_see_it_alike() -> None:
    async def test() -> None:
        log, streams, counted = a_log(), some_streams(), Counted()
        streams.counters = counted
        first, second = connect(streams, log), connect(streams, log)
        other = connect(streams, log, StreamQuery(format=Format.NDJSON))
        await turns()
        for wire in (first, second, other):
            wire.written.clear()
        tell(log, 16)
        await turns()

        assert len(first.written) == len(other.written) == 1
        assert first.written[0] is second.written[0]
        assert first.body.count(b"event: output") == other.body.count(b'"output"') == 16
        assert counted.events == {"delivered": 48}
        assert log.watched == 2  # one for each view
        assert log.renderings == {}

        end(log)

    bounded(test())


def test_readers_who_come_later_join_those_who_have_caught_up() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        tell(log, 2 * BATCH_EVENTS + 1)
        early = connect(streams, log)
        await turns(6)
        late = connect(streams, log)
        await turns(6)
        tell(log)
        await turns()

        assert [len(wire.chunks) for wire in (early, late)] == [4, 4]  # a batch each, then the last
        assert early.written[-1] is late.written[-1]

        end(log)

    bounded(test())


def test_one_who_joins_in_the_middle_of_a_burst_takes_nothing_from_the_others() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        early = connect(streams, log)
        await turns()
        late = connect(streams, log)
        tell(log, 2)  # both before the log's notification and the new reader's first look
        await turns()
        tell(log)
        await turns()

        assert seen(early).sequences == seen(late).sequences == [1, 2, 3]
        end(log)

    bounded(test())


# --- the connection -------------------------------------------------------------------------------


def test_nothing_is_read_for_a_connection_that_is_full_and_it_is_told_what_it_missed() -> None:
    async def test() -> None:
        log, streams, counted = a_log(limit=5), some_streams(), Counted()
        streams.counters = counted
        full, other = connect(streams, log, room=2), connect(streams, log)
        await turns()
        tell(log)
        await turns()
        assert full.is_paused
        for _ in range(20):
            tell(log)
            await turns()

        assert full.reader.cursor == 2
        assert len(full.written) == 2

        full.resume()
        await turns()

        assert seen(full).gaps == [(2, 16, "slow_reader")]
        assert seen(full).sequences == [1, *range(17, 22)]
        assert seen(other).sequences == list(range(1, 22))
        assert counted.events["slow"] == 1
        end(log)

    bounded(test())


def test_a_burst_of_more_than_the_log_keeps_is_told_to_each_as_a_gap() -> None:
    async def test() -> None:
        log, streams = a_log(limit=5), some_streams()
        wires = [connect(streams, log) for _ in range(3)]
        await turns()
        tell(log, 20)
        await turns(4)

        for wire in wires:
            assert seen(wire).gaps == [(1, 15, "slow_reader")]
            assert seen(wire).sequences == list(range(16, 21))
        assert log.watched == 1
        end(log)

    bounded(test())


def test_a_stream_ends_only_when_the_end_of_its_body_can_be_sent() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        wire = connect(streams, log, room=2)
        await turns()
        end(log)
        await turns()

        assert wire.is_paused
        assert not wire.running.done()

        wire.resume()

        assert await wire.running
        assert seen(wire).names == ["end"]

    bounded(test())


def test_a_connection_that_is_lost_is_let_go_at_once() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        one, other = connect(streams, log), connect(streams, log)
        await turns()
        one.sender.lost()
        one.sender.lost()
        tell(log)
        assert not await one.running

        assert one.sender.gone
        assert len(one.written) == 1
        await turns()
        assert seen(other).sequences == [1]
        end(log)

    bounded(test())


def test_a_connection_whose_write_fails_stalls_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        broken, other = connect(streams, log), connect(streams, log)
        await turns()
        streams.sender(broken.reader)  # the same broadcast
        broken.is_paused = True  # its `write` fails from now on
        with caplog.at_level(logging.ERROR):
            tell(log)
            await turns()

        assert seen(other).sequences == [1]
        assert not await broken.running
        assert "could not be written to" in caplog.text
        end(log)

    bounded(test())


# --- what is said to one reader -------------------------------------------------------------------


def test_a_drain_writes_what_was_told_by_then_and_says_when_to_come_back() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        one, other = connect(streams, log), connect(streams, log)
        full = connect(streams, log, room=1)
        await turns()
        tell(log, 2)
        streams.drain()
        tell(log, 2)
        await turns()

        for wire in (one, other):
            assert await wire.running
            assert seen(wire).sequences == [1, 2]
            assert seen(wire).names[-1] == "draining"
        assert not full.running.done()
        full.resume()
        assert await full.running
        assert full.body == one.body
        assert log.watched == 0

    bounded(test())


def test_a_forgotten_log_ends_its_streams_with_a_gap() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        joined, joining = connect(streams, log), connect(streams, log, StreamQuery(from_=9))
        await turns()
        log.forget()
        for wire in (joined, joining):
            assert await wire.running
            assert seen(wire).gaps[-1][2] == "forgotten"

    bounded(test())


def test_an_abort_cuts_off_those_who_do_not_read() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        full, other = connect(streams, log, room=1), connect(streams, log)
        await turns()
        streams.drain()
        await turns()
        assert other.running.done()
        assert not await streams.wait_closed(0.001)
        streams.abort()

        assert not await full.running
        assert not full.sender.gone  # it was we who left
        assert await streams.wait_closed(1)

    bounded(test())


def test_one_who_waits_for_a_sequence_to_come_gets_nothing_earlier() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        tell(log, 2)
        waiting, other = connect(streams, log, StreamQuery(from_=5)), connect(streams, log)
        await turns()
        for _ in range(4):
            tell(log)
            await turns()

        assert seen(waiting).sequences == [5, 6]
        assert seen(other).sequences == [1, 2, 3, 4, 5, 6]
        assert log.watched == 1  # they are together now
        end(log)

    bounded(test())


def test_without_follow_a_stream_ends_with_what_was_there() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        tell(log, 3)
        wire = connect(streams, log, StreamQuery(follow=False))
        tell(log, 3)

        assert await wire.running
        assert seen(wire).sequences == [1, 2, 3]

    bounded(test())


def test_silent_connections_get_heartbeats_and_those_that_are_full_do_not() -> None:
    async def test() -> None:
        streams = Streams(heartbeat_s=0.03)
        log = a_log()
        silent, full = connect(streams, log), connect(streams, log, room=1)
        await until(lambda: silent.written.count(chunk(KEEP_ALIVE)) >= 3)

        assert len(full.written) == 1
        assert len(streams._heartbeats._due) == 2
        streams.abort()
        await asyncio.gather(silent.running, full.running)

    bounded(test())


def test_what_was_written_to_all_counts_as_a_sign_of_life_of_each() -> None:
    async def test() -> None:
        streams = Streams(heartbeat_s=3_600)
        log = a_log()
        wire = connect(streams, log)
        await turns()
        wire.reader.wrote_at = before = asyncio.get_running_loop().time() - 60
        tell(log)
        await turns()

        assert wire.reader.wrote_at > before
        end(log)
        await wire.running

    bounded(test())


def test_a_reader_that_is_cancelled_is_let_go_of() -> None:
    async def test() -> None:
        log, streams = a_log(), some_streams()
        wire = connect(streams, log)
        await turns()
        wire.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wire.running
        tell(log)
        await turns()

        assert len(wire.written) == 1
        assert (log.watched, log.readers, streams.count) == (0, 0, 0)

    bounded(test())

"""Readers: a cursor that replays, follows, says what is missing, and ends."""

import asyncio

import pytest

from narration.events import EndEvent, NarrationEvent, OutputEvent
from narration.log import NarrationLog
from narration.reader import BATCH_BYTES, BATCH_EVENTS, Reader
from narration.resume import StreamQuery
from narration.view import Format
from telemetry.names import Level
from tests.narration.counted import Counted
from tests.narration.frames import Client

AT = "2026-01-01T00:00:00.000000Z"


def a_log(*, limit: int = 10_000) -> NarrationLog:
    return NarrationLog("j", epoch="e", limit=limit, schedule=lambda callback: callback())


def tell(log: NarrationLog, count: int = 1, *, chunk: str = "x") -> None:
    for _ in range(count):
        log.append(OutputEvent(at=AT, chunk=chunk))


def say(log: NarrationLog, level: str) -> None:
    log.append(
        NarrationEvent(
            at=AT,
            job_id="j",
            kind="narrate",
            level=level,
            actor="a",
            action="b",
            text="c",
            fields={},
            attempt=1,
        )
    )


def end(log: NarrationLog) -> None:
    log.append(EndEvent(at=AT, state="completed", marker="[DONE]"))


def pulled(reader: Reader) -> Client:
    """What a client has seen that takes all there is now."""
    client = Client()
    while chunk := reader.pull():
        client.take(chunk)
    return client


def test_a_reader_replays_then_follows_then_ends() -> None:
    log = a_log()
    tell(log, 2)
    reader = Reader(log, StreamQuery())
    before = pulled(reader)
    tell(log, 2)
    end(log)
    after = pulled(reader)

    assert (before.sequences, after.sequences) == ([1, 2], [3, 4, 5])
    assert after.names[-1] == "end"
    assert reader.done
    assert reader.pull() == b""


def test_a_chunk_is_bounded_in_events_and_bytes() -> None:
    log = a_log()
    tell(log, BATCH_EVENTS + 1)
    reader = Reader(log, StreamQuery())

    assert reader.pull().count(b"\ndata: ") == BATCH_EVENTS
    assert reader.pull().count(b"\ndata: ") == 1

    large = a_log()
    tell(large, 10, chunk="y" * (BATCH_BYTES // 3))

    assert Reader(large, StreamQuery()).pull().count(b"\ndata: ") == 2


def test_retry_is_sent_once_and_first() -> None:
    log = a_log()
    tell(log)
    reader = Reader(log, StreamQuery(), retry_ms=2100)
    first = reader.pull()
    tell(log)

    assert first.startswith(b"retry: 2100\nid: e.1\n")
    assert b"retry" not in reader.pull()


def test_retry_is_sent_before_there_is_an_event() -> None:
    assert Reader(a_log(), StreamQuery(), retry_ms=5).pull() == b"retry: 5\n"


def test_ndjson_has_no_retry_line() -> None:
    assert Reader(a_log(), StreamQuery(format=Format.NDJSON), retry_ms=5).pull() == b""


def test_a_gap_of_the_position_comes_first() -> None:
    log = a_log(limit=2)
    tell(log, 5)
    client = pulled(Reader(log, StreamQuery(last_event_id="?")))

    assert client.gaps == [(None, None, "unknown_id"), (1, 3, "evicted")]
    assert client.names == ["gap", "gap", "output", "output"]


def test_a_reader_that_the_log_moves_past_is_told_so_and_goes_on() -> None:
    log = a_log(limit=3)
    counted = Counted()
    tell(log)
    reader = Reader(log, StreamQuery(), counters=counted)
    pulled(reader)
    tell(log, 10)
    client = pulled(reader)

    assert client.gaps == [(2, 8, "slow_reader")]
    assert client.sequences == [9, 10, 11]
    assert counted.events == {"delivered": 4, "replayed": 1, "gap slow_reader": 1, "slow": 1}


def test_replayed_is_what_was_there_before_the_reader() -> None:
    log = a_log()
    counted = Counted()
    tell(log, 5)
    reader = Reader(log, StreamQuery(from_=3), counters=counted)
    tell(log, 4)
    pulled(reader)

    assert counted.events == {"delivered": 7, "replayed": 3}


def test_only_what_is_shown_is_counted() -> None:
    log = a_log()
    counted = Counted()
    for level in ("debug", "error", "debug"):
        say(log, level)
    client = pulled(Reader(log, StreamQuery(level=Level.WARN), counters=counted))

    assert client.sequences == [2]
    assert counted.events == {"delivered": 1, "replayed": 1}


def test_a_filter_that_shows_nothing_reads_on_to_what_it_shows() -> None:
    log = a_log()
    for _ in range(3 * BATCH_EVENTS):
        say(log, "debug")
    tell(log)

    assert b'"seq":769' in Reader(log, StreamQuery(level=Level.WARN)).pull()


def test_without_follow_a_reader_ends_with_what_was_there() -> None:
    log = a_log()
    tell(log, 3)
    reader = Reader(log, StreamQuery(follow=False))
    tell(log, 3)
    client = pulled(reader)

    assert client.sequences == [1, 2, 3]
    assert reader.done


def test_without_follow_an_empty_log_is_an_empty_stream() -> None:
    reader = Reader(a_log(), StreamQuery(follow=False))

    assert reader.pull() == b""
    assert reader.done


def test_from_a_sequence_to_come_nothing_earlier_is_sent() -> None:
    log = a_log()
    tell(log, 2)
    reader = Reader(log, StreamQuery(from_=4))

    assert pulled(reader).sequences == []
    tell(log, 3)
    assert pulled(reader).sequences == [4, 5]


def test_from_a_sequence_that_never_comes_the_reader_ends_with_the_story() -> None:
    log = a_log()
    tell(log, 2)
    reader = Reader(log, StreamQuery(from_=40))
    end(log)

    assert pulled(reader).sequences == []
    assert reader.done


def test_a_forgotten_log_ends_its_reader_with_a_gap() -> None:
    log = a_log()
    tell(log, 3)
    behind, caught_up = Reader(log, StreamQuery(from_=2)), Reader(log, StreamQuery(from_=4))
    log.forget()

    assert pulled(behind).gaps == [(2, 3, "forgotten")]
    assert pulled(caught_up).gaps == [(4, None, "forgotten")]
    assert behind.done
    assert caught_up.done


def test_a_drain_sends_what_was_told_by_then_and_says_when_to_come_back() -> None:
    log = a_log()
    tell(log, 3)
    reader = Reader(log, StreamQuery())
    reader.drain("shutdown", 2000)
    reader.drain("again", 1)
    tell(log, 3)
    client = pulled(reader)

    assert client.sequences == [1, 2, 3]
    assert client.names[-1] == "draining"
    assert client.data[-1] == {"reason": "shutdown", "retry_ms": 2000}
    assert reader.done


def test_a_drain_of_an_ended_story_says_the_end_and_no_more() -> None:
    log = a_log()
    tell(log)
    end(log)
    reader = Reader(log, StreamQuery())
    reader.drain("shutdown", 2000)

    assert pulled(reader).names == ["output", "end"]


def test_a_drain_ends_a_reader_that_waits_for_a_later_sequence() -> None:
    reader = Reader(a_log(), StreamQuery(from_=9))
    reader.drain("shutdown", 2000)

    assert pulled(reader).names == ["draining"]
    reader.drain("shutdown", 2000)
    assert reader.pull() == b""


def test_iterating_waits_for_the_log_and_lets_go_of_it_at_the_end() -> None:
    async def main() -> tuple[list[bytes], int]:
        loop = asyncio.get_running_loop()
        log = NarrationLog("j", epoch="e", limit=10, schedule=loop.call_soon)
        reader = Reader(log, StreamQuery())

        async def read() -> list[bytes]:
            return [chunk async for chunk in reader]

        task = asyncio.create_task(read())
        for _ in range(3):
            tell(log)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        end(log)
        return await task, log.watched

    chunks, watched = asyncio.run(main())

    assert b"".join(chunks).count(b"id: ") == 4
    assert watched == 0


def test_iterating_over_nothing_ends_at_once_where_nothing_is_followed() -> None:
    async def main() -> list[bytes]:
        return [chunk async for chunk in Reader(a_log(), StreamQuery(follow=False))]

    assert asyncio.run(main()) == []


def test_a_heartbeat_is_sent_only_to_a_reader_that_waits() -> None:
    async def main() -> list[bytes]:
        log = NarrationLog("j", epoch="e", limit=10, schedule=lambda callback: callback())
        reader = Reader(log, StreamQuery())
        reader.beat()  # nobody waits: nothing is owed
        tell(log)
        first = await anext(reader)
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        reader.beat()
        second = await waiting
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        reader.beat()
        tell(log)  # an event is as good as a heartbeat
        third = await waiting
        await reader.aclose()
        return [first[:4], second, third[:4]]

    assert asyncio.run(main()) == [b"id: ", b": keep-alive\n", b"id: "]


def test_a_reader_that_is_cancelled_can_be_closed_and_is_not_woken_again() -> None:
    async def main() -> int:
        log = NarrationLog("j", epoch="e", limit=10, schedule=lambda callback: callback())
        reader = Reader(log, StreamQuery())
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        reader.close()
        reader.close()
        tell(log)
        return log.watched

    assert asyncio.run(main()) == 0

"""A log as a JSON stream: offsets, segments, cursors, and events with where they end."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narration.durable import (
    SEGMENT_BYTES,
    SEGMENT_EVENTS,
    Cursors,
    GoneOffset,
    InvalidOffset,
    Place,
    Segment,
    SegmentReader,
    offset_of,
    place_of,
    segment,
)
from narration.events import EndEvent, OutputEvent
from narration.log import NarrationLog
from narration.reader import NoStreamCounters
from telemetry.clock import SystemClock

AT = "2026-01-01T00:00:00.000000Z"


class FixedClock(SystemClock):
    """A clock that shows one time: seconds since the protocol's own beginning."""

    def __init__(self, seconds: int) -> None:
        self.wall_ns = lambda: (1_728_432_000 + seconds) * 1_000_000_000


def a_log(*, told: int = 0, limit: int = 10_000, epoch: str = "e") -> NarrationLog:
    log = NarrationLog("j", epoch=epoch, limit=limit, schedule=lambda callback: callback())
    tell(log, told)
    return log


def tell(log: NarrationLog, count: int = 1, *, chunk: str = "x") -> None:
    for _ in range(count):
        log.append(OutputEvent(at=AT, chunk=chunk))


def end(log: NarrationLog) -> None:
    log.append(EndEvent(at=AT, state="completed", marker="[DONE]"))


def items(found: Segment) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(found.body)
    return told


def read(log: NarrationLog, offset: str) -> Segment:
    return segment(log, place_of(log, offset))


def a_reader(log: NarrationLog, offset: str = "-1") -> SegmentReader:
    return SegmentReader(log, place_of(log, offset), cursor="7", counters=NoStreamCounters())


def test_an_item_is_the_event_with_its_name_among_its_data() -> None:
    log = a_log(told=1)
    end(log)

    assert items(read(log, "-1")) == [
        {"event": "output", "seq": 1, "at": AT, "chunk": "x"},
        {
            "event": "end",
            "seq": 2,
            "at": AT,
            "state": "completed",
            "reason": None,
            "result": None,
            "failure": None,
            "marker": "[DONE]",
        },
    ]


@given(told=st.integers(0, 40), limit=st.integers(1, 50), ends=st.booleans(), data=st.data())
def test_segments_that_follow_each_other_are_the_story_with_nothing_lost_or_twice(
    told: int, limit: int, ends: bool, data: st.DataObject
) -> None:
    log = a_log(told=told, limit=limit)
    if ends:
        end(log)
    offset, seen = "-1", list[int]()
    while True:
        found = read(log, offset)
        seen += [each["seq"] for each in items(found) if each["event"] != "gap"]
        offset = found.next_offset
        if found.up_to_date:
            break

    assert seen == list(range(log.first, log.next))
    assert found.closed is ends
    assert place_of(log, offset).start == log.next


@given(st.lists(st.integers(1, 10**15), min_size=2, max_size=2, unique=True))
def test_offsets_sort_as_text_as_they_do_in_time(starts: list[int]) -> None:
    log = a_log()
    earlier, later = sorted(starts)

    assert offset_of(log, earlier) < offset_of(log, later)


@given(st.integers(0, 20), st.integers(1, 25))
def test_an_offset_is_where_its_reader_goes_on(told: int, start: int) -> None:
    log = a_log(told=told)
    if start <= log.next:
        assert place_of(log, offset_of(log, start)) == Place(start=start)
    else:
        with pytest.raises(InvalidOffset):
            place_of(log, offset_of(log, start))


def test_what_is_no_longer_kept_is_gone() -> None:
    log = a_log(told=5, limit=2)

    with pytest.raises(GoneOffset):
        place_of(log, offset_of(log, 3))
    assert place_of(log, offset_of(log, 4)).start == 4


def test_an_offset_of_another_epoch_is_gone() -> None:
    with pytest.raises(GoneOffset):
        place_of(a_log(told=5), offset_of(a_log(epoch="other"), 1))


def test_a_forgotten_log_is_gone() -> None:
    log = a_log(told=3)
    place = place_of(log, "-1")
    log.forget()

    with pytest.raises(GoneOffset):
        segment(log, place)


@given(st.text(max_size=30))
def test_any_other_text_is_refused_or_gone(text: str) -> None:
    log = a_log(told=3)
    known = {"-1", "now", *(offset_of(log, start) for start in range(1, 5))}
    if text not in known:
        with pytest.raises((InvalidOffset, GoneOffset)):
            place_of(log, text)


@pytest.mark.parametrize("text", ["", "e.1", "e_1", "e_00000000000000001", "a,b", " ", "e_٣" * 16])
def test_what_no_log_gives_is_refused(text: str) -> None:
    with pytest.raises(InvalidOffset):
        place_of(a_log(told=3), text)


def test_the_beginning_says_how_much_is_no_longer_kept() -> None:
    log = a_log(told=5, limit=2)
    found = read(log, "-1")

    assert items(found)[0] == {"event": "gap", "from": 1, "to": 3, "reason": "evicted"}
    assert [each["seq"] for each in items(found)[1:]] == [4, 5]
    assert found.count == 2


def test_now_is_after_all_that_is_there() -> None:
    log = a_log(told=5)
    found = read(log, "now")

    assert (items(found), found.up_to_date, found.closed) == ([], True, False)
    assert found.next_offset == offset_of(log, 6)


def test_a_segment_is_bounded_by_events_and_by_bytes() -> None:
    many = read(a_log(told=SEGMENT_EVENTS + 1), "-1")
    log = a_log()
    tell(log, 3, chunk="x" * SEGMENT_BYTES)
    large = read(log, "-1")

    assert (many.count, many.up_to_date) == (SEGMENT_EVENTS, False)
    assert (large.count, large.up_to_date) == (1, False)


def test_a_tag_changes_when_the_story_grows_or_ends() -> None:
    log = a_log(told=1)
    tags = [read(log, "-1").tag, read(log, "now").tag]
    tell(log)
    tags += [read(log, "-1").tag]
    at_the_end = offset_of(log, 4)
    end(log)
    tags += [read(log, "-1").tag, read(log, at_the_end).tag, read(log, "now").tag]

    assert len(set(tags)) == len(tags) - 1  # the last two are the same place
    assert tags[-1].endswith(":c")


def test_a_cursor_is_the_number_of_the_interval() -> None:
    cursors = Cursors(FixedClock(20 * 1000 + 5), uniform=lambda: 0.0)

    assert cursors.after(None) == "1000"
    assert cursors.after("999") == "1000"
    assert cursors.after("no number") == "1000"


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_cursor_never_goes_back_and_never_stays(now: int, held: int, chance: float) -> None:
    cursor = int(Cursors(FixedClock(now), uniform=lambda: chance).after(str(held)))

    assert cursor > held
    assert cursor <= max(now // 20, held + 180)


def test_events_are_followed_by_where_they_end() -> None:
    log = a_log(told=2)
    reader = a_reader(log)

    assert reader.pull().decode() == (
        f"event: data\ndata:{read(log, '-1').body.decode()}\n\n"
        'event: control\ndata:{"streamNextOffset":"e_0000000000000002",'
        '"streamCursor":"7","upToDate":true}\n\n'
    )
    assert (reader.pull(), reader.done) == (b"", False)


def test_a_reader_with_nothing_to_read_is_told_where_it_is() -> None:
    reader = a_reader(a_log(told=2), "now")

    assert reader.pull() == (
        b'event: control\ndata:{"streamNextOffset":"e_0000000000000002",'
        b'"streamCursor":"7","upToDate":true}\n\n'
    )


def test_the_end_closes_the_stream_without_a_cursor() -> None:
    log = a_log(told=1)
    reader = a_reader(log)
    reader.pull()
    end(log)

    assert reader.pull().endswith(
        b'event: control\ndata:{"streamNextOffset":"e_0000000000000002",'
        b'"upToDate":true,"streamClosed":true}\n\n'
    )
    assert reader.done


def test_a_closed_stream_says_so_to_who_comes_at_its_end() -> None:
    log = a_log(told=1)
    end(log)
    reader = a_reader(log, "now")

    assert b'"streamClosed":true' in reader.pull()
    assert reader.done


def test_only_the_last_segment_is_up_to_date() -> None:
    reader = a_reader(a_log(told=SEGMENT_EVENTS + 1))

    assert b"upToDate" not in reader.pull()
    assert b"upToDate" in reader.pull()


def test_a_reader_that_is_too_slow_is_let_go_to_come_back() -> None:
    log = a_log(told=2, limit=3)
    reader = a_reader(log)
    reader.pull()
    tell(log, 10)

    assert (reader.pull(), reader.done) == (b"", True)


def test_a_drained_reader_reads_what_there_is_and_ends() -> None:
    log = a_log(told=1)
    reader = a_reader(log)
    reader.drain("shutdown", 0)

    assert b"control" in reader.pull()
    assert reader.done


def test_a_reader_of_a_forgotten_log_ends() -> None:
    log = a_log(told=1)
    reader = a_reader(log)
    log.forget()

    assert (reader.pull(), reader.done) == (b"", True)


def test_arrival_is_waited_for() -> None:
    async def test() -> None:
        log = a_log(told=1)
        reader = a_reader(log, "now")
        arriving = asyncio.create_task(reader.arrival())
        await asyncio.sleep(0)
        assert not arriving.done()
        tell(log)
        await arriving
        reader.close()

    asyncio.run(test())


def test_its_time_is_over_after_a_minute() -> None:
    async def test() -> None:
        reader = a_reader(a_log(told=1))
        reader.attach()
        assert reader.pull()
        handle = reader._over
        assert handle is not None
        before = reader.expired
        handle._run()
        assert (before, reader.expired) == (False, True)
        assert (reader.pull(), reader.done) == (b"", True)
        reader.close()

    asyncio.run(test())

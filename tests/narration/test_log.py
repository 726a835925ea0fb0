"""The log: a ring that numbers, keeps and tells."""

import json
import sys
from collections.abc import Callable
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narration.events import EndEvent, NarrationEvent, OutputEvent, StateEvent
from narration.held_log import HeldLog
from narration.log import ENTRY_OVERHEAD, EvictedError, LockedLog, NarrationLog
from telemetry.names import Level

AT = "2026-01-01T00:00:00.000000Z"


class Bursts:
    """Collects what is scheduled, until the test runs it: a loop in the test's hands."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], None]] = []

    def __call__(self, callback: Callable[[], None]) -> None:
        """Keep `callback` for the next `run`."""
        self.scheduled.append(callback)

    def run(self) -> None:
        """One turn of the loop."""
        callbacks, self.scheduled = self.scheduled, []
        for callback in callbacks:
            callback()


def a_log(*, limit: int = 100, schedule: Bursts | None = None) -> NarrationLog:
    return NarrationLog("job", epoch="e1", limit=limit, schedule=schedule or Bursts())


def output(chunk: object = "x") -> OutputEvent:
    return OutputEvent(at=AT, chunk=chunk)


def end() -> EndEvent:
    return EndEvent(at=AT, state="completed", marker="[DONE]")


def chunks(log: NarrationLog) -> list[object]:
    return [json.loads(entry.data)["chunk"] for entry in log.entries()]


def test_the_first_sequence_is_one_and_it_rises_by_one() -> None:
    log = a_log()

    assert [log.append(output()) for _ in range(3)] == [1, 2, 3]
    assert [json.loads(entry.data)["seq"] for entry in log.entries()] == [1, 2, 3]


def test_a_full_log_keeps_the_newest() -> None:
    log = a_log(limit=3)
    for number in range(1, 8):
        log.append(output(number))

    assert (log.first, log.next) == (5, 8)
    assert chunks(log) == [5, 6, 7]


def test_a_log_keeps_no_more_bytes_than_it_may_but_always_the_newest_event() -> None:
    log = NarrationLog("job", epoch="e", limit=100, schedule=Bursts(), most_bytes=1000)

    for number in range(10):
        log.append(output(f"{number}" + "x" * 300))
        assert log.size <= 1000
    assert [str(chunk)[0] for chunk in chunks(log)] == ["8", "9"]

    log.append(output("y" * 5000))
    assert (log.first, log.next) == (11, 12)
    log.append(output("z"))
    assert chunks(log) == ["z"]


def test_nothing_is_appended_after_the_end() -> None:
    log = a_log()
    log.append(end())

    assert log.ended
    assert log.append(output()) is None
    assert log.next == 2


def test_a_log_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one event"):
        a_log(limit=0)


def test_reading_stops_at_either_bound_but_gives_at_least_one() -> None:
    log = a_log()
    for _ in range(10):
        log.append(output("y" * 100))
    size = len(log.entries()[0].data)

    assert len(log.read(1, max_events=4, max_bytes=10**6)) == 4
    assert len(log.read(1, max_events=10, max_bytes=3 * size)) == 3
    assert len(log.read(1, max_events=10, max_bytes=1)) == 1
    assert log.read(11, max_events=10, max_bytes=1) == []
    assert log.read(999, max_events=10, max_bytes=1) == []


def test_reading_what_is_evicted_says_where_the_log_begins() -> None:
    log = a_log(limit=2)
    for _ in range(5):
        log.append(output())

    with pytest.raises(EvictedError) as caught:
        log.read(2, max_events=1, max_bytes=1)

    assert (caught.value.start, caught.value.first) == (2, 4)


def test_only_ids_that_the_log_has_given_are_parsed() -> None:
    log = a_log()
    log.append(output())
    log.append(output())

    assert log.parse_id(log.event_id(2)) == 2
    for text in ("e1.3", "e1.0", "e1.01", "e1.-1", "e2.1", "1", "", "e1.", ".1", "e1.1 ", "e1.²"):
        assert log.parse_id(text) is None, text
    assert log.parse_id("e1." + "9" * 5000) is None


def test_a_burst_is_told_once() -> None:
    bursts = Bursts()
    log = a_log(schedule=bursts)
    told: list[int] = []
    log.watch(lambda: told.append(log.next))
    for _ in range(5):
        log.append(output())
    bursts.run()
    log.append(output())
    bursts.run()

    assert told == [6, 7]


def test_nobody_is_scheduled_where_nobody_watches() -> None:
    bursts = Bursts()
    log = a_log(schedule=bursts)
    stop = log.watch(lambda: None)
    stop()
    stop()
    log.append(output())

    assert bursts.scheduled == []
    assert log.watched == 0


def test_a_watcher_that_fails_does_not_stall_those_behind_it() -> None:
    bursts = Bursts()
    log = a_log(schedule=bursts)
    told: list[str] = []

    def fail() -> None:
        raise RuntimeError("broken")

    log.watch(fail)
    log.watch(lambda: told.append("second"))
    log.append(output())
    bursts.run()

    assert told == ["second"]


def test_a_forgotten_log_keeps_nothing_and_tells_its_watchers() -> None:
    bursts = Bursts()
    log = a_log(schedule=bursts)
    told: list[bool] = []
    log.append(output())
    log.watch(lambda: told.append(log.forgotten))
    log.forget()
    bursts.run()

    assert told == [True]
    assert (log.size, log.entries(), log.first) == (0, [], log.next)
    assert log.append(output()) is None


def test_an_entry_has_the_level_of_its_message_and_any_other_event_the_highest() -> None:
    log = a_log()
    log.append(
        NarrationEvent(
            at=AT,
            job_id="job",
            kind="narrate",
            level="debug",
            actor="a",
            action="b",
            text="c",
            fields={},
            attempt=1,
        )
    )
    log.append(StateEvent(at=AT, state="running"))

    assert [entry.level for entry in log.entries()] == [Level.DEBUG, Level.FATAL]
    assert [entry.name for entry in log.entries()] == ["narration", "state"]


@given(st.integers(1, 12), st.lists(st.integers(0, 40), max_size=60))
def test_a_ring_of_any_size_holds_the_newest_in_order(limit: int, sizes: list[int]) -> None:
    log = a_log(limit=limit)
    for number, size in enumerate(sizes):
        log.append(output(f"{number}:" + "z" * size))
    kept = list(enumerate(sizes))[-limit:]

    assert chunks(log) == [f"{number}:" + "z" * size for number, size in kept]
    assert log.next - log.first == len(kept)
    assert log.size == sum(len(entry.data) + ENTRY_OVERHEAD for entry in log.entries())
    for start in range(log.first, log.next + 1):
        assert log.read(start, max_events=99, max_bytes=10**6) == log.entries()[start - log.first :]


@given(
    limit=st.integers(min_value=1, max_value=12),
    most_bytes=st.integers(min_value=1, max_value=2000),
    sizes=st.lists(st.integers(min_value=0, max_value=400), max_size=60),
)
def test_a_ring_within_both_bounds_holds_as_many_of_the_newest_as_fit(
    limit: int, most_bytes: int, sizes: list[int]
) -> None:
    log = NarrationLog("job", epoch="e", limit=limit, schedule=Bursts(), most_bytes=most_bytes)
    for number, size in enumerate(sizes):
        log.append(output(f"{number}:" + "x" * size))

        kept = log.entries()
        assert len(kept) == log.next - log.first
        assert log.size == sum(len(entry.data) + ENTRY_OVERHEAD for entry in kept)
        assert 1 <= len(kept) <= limit
        assert log.size <= most_bytes or len(kept) == 1
        assert [json.loads(each.data)["seq"] for each in kept] == [*range(log.first, log.next)]


def test_memory_is_bounded_by_the_limit_and_told_truly() -> None:
    log = a_log(limit=50)
    for _ in range(5_000):
        log.append(output("w" * 500))
    real = sum(sys.getsizeof(entry) + sys.getsizeof(entry.data) for entry in log.entries())

    assert len(log._entries) == 50
    assert 0.7 < log.size / real < 1.3


# --- packed ---------------------------------------------------------------------------------------


def packed(log: NarrationLog) -> NarrationLog:
    for _ in log.pack():
        pass
    return log


@given(st.integers(1, 12), st.lists(st.text(max_size=40), max_size=30), st.integers(1, 99))
def test_a_packed_log_reads_as_before(limit: int, texts: list[str], max_bytes: int) -> None:
    loose, log = a_log(limit=limit), a_log(limit=limit)
    for each in (loose, log):
        for number, text in enumerate(texts):
            each.keep("narration", list(Level)[number % 5], text.encode())
        each.append(end())
    packed(log)

    assert log.entries() == loose.entries()
    assert (log.first, log.next, log.ended) == (loose.first, loose.next, loose.ended)
    for start in range(loose.first, loose.next + 2):
        for count in (1, 3, 99):
            assert log.read(start, max_events=count, max_bytes=max_bytes) == loose.read(
                start, max_events=count, max_bytes=max_bytes
            )
    for sequence in range(loose.next + 2):
        assert log.parse_id(f"e1.{sequence}") == loose.parse_id(f"e1.{sequence}")
    if log.first > 1:
        with pytest.raises(EvictedError):
            log.read(log.first - 1, max_events=1, max_bytes=1)


def test_a_log_that_has_not_ended_is_not_packed() -> None:
    log = a_log()
    log.append(output())
    size = log.size
    packed(log)

    assert log.size == size
    assert log.append(output()) == 2


def test_a_packed_log_tells_truly_how_little_it_takes() -> None:
    log = a_log(limit=500)
    for number in range(1_000):
        log.append(output(f"{number} is a line like any other"))
    log.append(end())
    loose = log.size
    packed(log)
    real = sum(map(sys.getsizeof, log._packed))

    assert log._entries == []
    assert log.size < loose / 5
    assert 0.9 < log.size / real < 1.1


def test_a_long_log_is_packed_in_steps_and_can_be_read_between_them() -> None:
    log = a_log(limit=1_000)
    for number in range(999):
        log.append(output(number))
    log.append(end())
    before, steps = log.entries(), 0
    for _ in log.pack():
        steps += 1

        assert log.entries() == before
    assert steps > 1
    assert log.entries() == before
    assert list(log.pack()) == []


def test_a_log_that_is_forgotten_while_it_is_packed_stays_forgotten() -> None:
    log = a_log()
    log.append(end())
    steps = log.pack()
    next(steps)
    log.forget()

    assert list(steps) == []
    assert (log.size, log.entries()) == (0, [])


def test_a_packed_log_can_be_forgotten() -> None:
    log = a_log()
    log.append(end())
    packed(log).forget()

    assert (log.size, log.entries(), log.first) == (0, [], log.next)


def test_a_locked_log_takes_events_from_several_threads() -> None:
    log = LockedLog("job", epoch="e", limit=64, schedule=Bursts())

    def tell() -> None:
        for _ in range(500):
            log.append(output())

    threads = [Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = log.read(log.first, max_events=99, max_bytes=10**6)

    assert (log.first, log.next) == (1_937, 2_001)
    assert [json.loads(entry.data)["seq"] for entry in entries] == list(range(1_937, 2_001))
    assert log.entries() == entries
    log.forget()
    assert log.entries() == []


def test_a_log_that_holds_events_keeps_no_more_bytes_than_it_may() -> None:
    log = HeldLog(
        "job", epoch="e", limit=100, schedule=Bursts(), most_bytes=1000, on_hold=lambda _: None
    )
    for number in range(10):
        log.append(output(f"{number}" + "x" * 300))
        assert log.size <= 1000
    log.release(log.number)

    assert [str(chunk)[0] for chunk in chunks(log)] == ["8", "9"]
    assert (log.first, log.next, log.number) == (9, 11, 11)
    assert log.size == sum(len(entry.data) + ENTRY_OVERHEAD for entry in log.entries())

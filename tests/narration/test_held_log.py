"""A log whose events are held until they are released, beside a plain one that gets the same."""

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from narration.events import EndEvent, OutputEvent
from narration.held_log import HeldLog
from narration.log import ENTRY_OVERHEAD, Entry, EvictedError, NarrationLog
from telemetry.names import Level

PICK = st.integers(0, 100)


def _held(limit: int, calls: list[Any], holds: list[HeldLog]) -> HeldLog:
    return HeldLog("j", epoch="e", limit=limit, schedule=calls.append, on_hold=holds.append)


class _Reader:
    """Follows a log from its `start` on, some events at a time, as those of `narration.reader`."""

    def __init__(self, log: HeldLog, start: int) -> None:
        self.log = log
        self.cursor = start
        self.seen: dict[int, Entry] = {}
        self.gaps: list[tuple[int, int]] = []
        self.wakes = 0
        self.unwatch = log.watch(self.wake)

    def wake(self) -> None:
        self.wakes += 1

    def read(self, most: int) -> None:
        """Take up to `most` events; what is no longer there is a gap."""
        if self.log.forgotten:
            return
        try:
            entries = self.log.read(self.cursor, max_events=most, max_bytes=1 << 20)
        except EvictedError as evicted:
            self.gaps.append((self.cursor, evicted.first - 1))
            self.cursor = evicted.first
            return
        for entry in entries:
            self.seen[self.cursor] = entry
            self.cursor += 1


class HeldMachine(RuleBasedStateMachine):
    """Tells, releases, reads, restarts, packs and forgets, in any order."""

    @initialize(limit=st.integers(1, 6))
    def begin(self, limit: int) -> None:
        """A held log, and a plain one that has room for all."""
        self.limit = limit
        self.calls: list[Any] = []
        self.holds: list[HeldLog] = []
        self.log = _held(limit, self.calls, self.holds)
        self.plain = NarrationLog("j", epoch="e", limit=10_000, schedule=self.calls.append)
        self.readers: list[_Reader] = []
        self.released = 1
        self.given: set[int] = set()

    # --- what is done -------------------------------------------------------------------------

    @rule(texts=st.lists(st.text(max_size=5), min_size=1, max_size=8), encoded=st.booleans())
    def tell(self, texts: list[str], encoded: bool) -> None:
        """Some events, encoded already or not."""
        for text in texts:
            before = len(self.holds)
            if encoded:
                got = [
                    log.keep("output", Level.INFO, text.encode()) for log in (self.log, self.plain)
                ]
            else:
                got = [
                    log.append(OutputEvent(at="t", chunk=text)) for log in (self.log, self.plain)
                ]
            self._check_given(*got)
            assert len(self.holds) == before + (got[0] is not None)

    @rule()
    def end(self) -> None:
        """The last event."""
        event = [
            log.append(EndEvent(at="t", state="completed", marker="[DONE]"))
            for log in (self.log, self.plain)
        ]
        self._check_given(*event)

    def _check_given(self, sequence: int | None, expected: int | None) -> None:
        if self.log.forgotten:
            assert sequence is None
            return
        assert sequence == expected
        if sequence is not None:
            assert sequence not in self.given
            self.given.add(sequence)

    @rule(before=st.integers(0, 12))
    def release(self, before: int) -> None:
        """Up to some place: before what was released, within it, or all."""
        self._release(min(self.released - 2 + before, self.log.number))

    @rule()
    def release_all(self) -> None:
        """What a batch does that has it all."""
        self._release(self.log.number)

    def _release(self, sequence: int) -> None:
        log, (held_from, _) = self.log, self.log.held()
        shown = log.next if held_from >= sequence else sequence  # else all of it was pushed out
        log.release(sequence)
        assert log.forgotten or log.next == shown
        self.released = max(self.released, sequence)

    @rule(start=PICK)
    def attach(self, start: int) -> None:
        """Another reader, from anywhere that may be read."""
        at = self.log.first + start % (self.log.next - self.log.first + 1)
        self.readers.append(_Reader(self.log, at))

    @precondition(lambda self: self.readers)
    @rule(pick=PICK, most=st.integers(1, 4))
    def read(self, pick: int, most: int) -> None:
        """A reader takes some."""
        self.readers[pick % len(self.readers)].read(most)

    @rule()
    def restart(self) -> None:
        """What was released is what there is: the rest was never kept, and its ids are free."""
        if self.log.forgotten:
            return
        entries, following = self.log.entries(), self.log.next
        ended = self.log.ended
        self.log = _held(self.limit, self.calls, self.holds)
        self.log.restore(entries, following)
        assert (self.log.ended, self.log.ending) == (ended, ended)
        kept = (
            self.plain.read(1, max_events=following - 1, max_bytes=1 << 20) if following > 1 else []
        )
        self.plain = NarrationLog("j", epoch="e", limit=10_000, schedule=self.calls.append)
        for entry in kept:
            self.plain.keep(*entry)
        self.plain.ended = ended
        self.given = {*range(1, following)}
        self.released = following
        self.readers.clear()

    @rule(steps=st.integers(0, 3))
    def pack(self, steps: int) -> None:
        """As a compaction does, perhaps not to its end; only once it has ended."""
        for _, _ in zip(range(steps), self.log.pack(), strict=False):
            assert self.log.ended

    @precondition(lambda self: len(self.given) > 10)
    @rule()
    def forget(self) -> None:
        """For good."""
        self.log.forget()

    # --- what holds ---------------------------------------------------------------------------

    @invariant()
    def what_is_read_was_released_and_is_what_was_told(self) -> None:
        """A run of the plain log, up to what was released and no further."""
        if not hasattr(self, "log"):
            return
        log = self.log
        if log.forgotten:
            assert (log.entries(), log.held()[1], log.size) == ([], [], 0)
            return
        assert log.first <= log.next <= log.number
        assert log.number == self.plain.number
        held_from, held = log.held()
        assert held_from + len(held) == log.number
        assert len(held) <= self.limit
        assert log.next <= self.released <= held_from
        told = self.plain.entries()
        assert log.entries() == told[log.first - 1 : log.next - 1]
        assert held == told[held_from - 1 :]
        assert len(log.entries()) <= self.limit
        assert log.ended == (self.plain.ended and log.next == log.number)
        if not log._packed:
            kept = [*log.entries(), *held]
            assert log.size == sum(len(each.data) + ENTRY_OVERHEAD for each in kept)
        assert log.parse_id(log.event_id(log.next)) is None
        if log.next > 1:
            assert log.parse_id(log.event_id(log.next - 1)) == log.next - 1

    @invariant()
    def readers_see_each_event_once_in_order_or_are_told_of_a_gap(self) -> None:
        """Whenever they came, and however slow they are."""
        if not hasattr(self, "log"):
            return
        told = self.plain.entries()
        for reader in self.readers:
            assert all(entry == told[sequence - 1] for sequence, entry in reader.seen.items())
            assert [*reader.seen] == sorted(reader.seen)
            assert all(sequence < self.released for sequence in reader.seen)
            passed = {each for first, last in reader.gaps for each in range(first, last + 1)}
            assert passed.isdisjoint(reader.seen)
            begun = min([*reader.seen, *passed], default=reader.cursor)
            assert {*reader.seen, *passed} == {*range(begun, reader.cursor)}


def test_a_held_log_shows_a_run_of_what_a_plain_one_would_whatever_is_done_to_it() -> None:
    run_state_machine_as_test(
        HeldMachine,
        settings=hypothesis.settings(
            max_examples=150,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[*hypothesis.HealthCheck],
        ),
    )


def _told(log: HeldLog, count: int) -> None:
    for number in range(count):
        log.append(OutputEvent(at="t", chunk=number))


def test_what_is_held_beyond_the_limit_pushes_out_the_oldest_and_readers_are_told() -> None:
    log = _held(3, [], [])
    _told(log, 2)
    log.release(3)
    reader = _Reader(log, 1)
    reader.read(1)
    _told(log, 5)

    assert log.held()[0] == 5
    log.release(log.number)
    reader.read(9)
    reader.read(9)
    assert reader.gaps == [(2, 4)]
    assert [*reader.seen] == [1, 5, 6, 7]
    assert (log.first, log.next) == (5, 8)


def test_watchers_are_woken_when_events_are_released_and_not_before() -> None:
    calls: list[Any] = []
    log = _held(9, calls, [])
    reader = _Reader(log, 1)
    _told(log, 4)
    assert not calls
    log.release(3)
    log.release(5)
    assert len(calls) == 1  # once a burst
    calls.pop()()
    assert reader.wakes == 1


def test_nothing_is_numbered_after_the_end_though_it_is_not_released() -> None:
    log = _held(9, [], [])
    log.append(EndEvent(at="t", state="completed", marker="[DONE]"))

    assert log.append(OutputEvent(at="t", chunk=1)) is None
    assert (log.ending, log.ended, log.number) == (True, False, 2)
    log.release(2)
    assert log.ended


@pytest.mark.parametrize("kept", [0, 2])
def test_a_log_is_restored_where_it_was(kept: int) -> None:
    log = _held(5, [], [])
    entries = [Entry("output", Level.INFO, b"x")] * kept
    log.restore(entries, 8)

    assert (log.first, log.next, log.number) == (8 - kept, 8, 8)
    assert log.append(OutputEvent(at="t", chunk=1)) == 8
    assert log.next == 8


def test_a_smaller_log_keeps_the_newest_of_what_there_was() -> None:
    log = _held(2, [], [])
    log.restore([Entry("output", Level.INFO, str(each).encode()) for each in range(5)], 6)

    assert [entry.data for entry in log.entries()] == [b"3", b"4"]
    assert (log.first, log.next) == (4, 6)

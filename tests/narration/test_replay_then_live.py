"""Replay then live: nothing lost, nothing twice, whatever the interleaving."""

import asyncio
import contextlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from narration.events import EndEvent, OutputEvent
from narration.log import LockedLog, NarrationLog
from narration.reader import Reader
from narration.resume import StreamQuery
from tests.narration.frames import Client

AT = "2026-01-01T00:00:00.000000Z"
STORY = 12


def told(log: NarrationLog, number: int, of: int) -> None:
    """Tell event `number` of a story of `of` events, the last of which is its end."""
    if number == of:
        log.append(EndEvent(at=AT, state="completed", marker="[DONE]"))
    else:
        log.append(OutputEvent(at=AT, chunk=number))


PLACES = [
    (attached_at, resumed_after)
    for attached_at in range(STORY + 1)
    for resumed_after in range(min(attached_at, STORY - 1) + 1)
]


@pytest.mark.parametrize(("attached_at", "resumed_after"), PLACES)
def test_a_client_gets_the_whole_story_wherever_it_attaches_and_resumes(
    attached_at: int, resumed_after: int
) -> None:
    """`resumed_after` 0 is a client that has seen nothing yet."""
    log = NarrationLog("j", epoch="e", limit=100, schedule=lambda callback: callback())
    client = Client(last_id=f"e.{resumed_after}" if resumed_after else None)
    reader: Reader | None = None
    for number in range(STORY + 1):
        if number:
            told(log, number, STORY)
        if number == attached_at:
            reader = Reader(log, StreamQuery(last_event_id=client.last_id))
        if reader is not None:
            client.take(reader.pull())

    assert client.sequences == list(range(resumed_after + 1, STORY + 1))
    assert client.gaps == []


async def visit(log: NarrationLog, client: Client, chunks: int) -> bool:
    """Read `chunks` chunks at most, resuming where `client` was; whether the story has ended."""
    reader = Reader(log, StreamQuery(last_event_id=client.last_id))
    with contextlib.closing(reader):
        async for chunk in reader:
            client.take(chunk)
            chunks -= 1
            if not chunks:
                break
    return reader.done


async def produce(log: NarrationLog, events: int, random_: random.Random) -> None:
    """A producer that seldom lets others run."""
    for number in range(1, events + 1):
        told(log, number, events)
        if random_.random() < 0.2:
            await asyncio.sleep(0)


async def follow(log: NarrationLog, client: Client, random_: random.Random) -> None:
    """A client that is cut off again and again."""
    await asyncio.sleep(random_.random() * 0.002)
    ended = False
    while not ended:
        ended = await visit(log, client, random_.randint(1, 6))


@pytest.mark.parametrize("seed", range(20))
def test_clients_that_come_and_go_under_a_fast_producer_miss_nothing(seed: int) -> None:
    """Many clients on one loop, each cut off at random and resumed by its last id."""
    random_ = random.Random(seed)
    clients = [Client() for _ in range(10)]
    events = 600

    async def main() -> int:
        loop = asyncio.get_running_loop()
        log = NarrationLog("j", epoch="e", limit=events, schedule=loop.call_soon)
        following = (follow(log, client, random_) for client in clients)
        await asyncio.gather(produce(log, events, random_), *following)
        return log.watched

    assert asyncio.run(main()) == 0
    for client in clients:
        assert client.sequences == list(range(1, events + 1))
        assert client.gaps == []


@pytest.mark.parametrize("limit", [3, 50, 1_000])
def test_a_story_told_by_a_thread_is_read_whole_but_for_its_gaps(limit: int) -> None:
    events = 3_000

    async def main() -> Client:
        loop = asyncio.get_running_loop()
        log = LockedLog("j", epoch="e", limit=limit, schedule=loop.call_soon_threadsafe)
        client = Client()

        def tell() -> None:
            for number in range(1, events + 1):
                told(log, number, events)

        telling = loop.run_in_executor(None, tell)
        async for chunk in Reader(log, StreamQuery()):
            client.take(chunk)
        await telling
        return client

    client = asyncio.run(main())

    assert client.sequences == sorted(set(range(1, events + 1)) - client.missing())
    assert client.sequences[-1] == events


def test_a_slow_reader_never_delays_another() -> None:
    """One never reads: the other has each event on the same turn, and the log keeps its bound."""
    log = NarrationLog("j", epoch="e", limit=10, schedule=lambda callback: callback())
    slow, quick = Reader(log, StreamQuery()), Reader(log, StreamQuery())
    client, late = Client(), Client()
    slow.watch()
    late.take(slow.pull())
    for number in range(1, 1_001):
        told(log, number, 1_000)
        client.take(quick.pull())
    while chunk := slow.pull():
        late.take(chunk)

    assert client.sequences == list(range(1, 1_001))
    assert client.gaps == []
    assert late.gaps == [(1, 990, "slow_reader")]
    assert late.sequences == list(range(991, 1_001))


class Streaming(RuleBasedStateMachine):
    """Clients that attach, read, are cut off and resume, on a log that evicts.

    Each client's model: what it has seen and what gaps told it, together, is the log from its first
    event on, in order, with nothing twice.
    """

    clients: dict[int, Client]
    readers: dict[int, Reader]

    @initialize(limit=st.integers(1, 8))
    def begin(self, limit: int) -> None:
        """A log that keeps `limit` events."""
        self.log = NarrationLog("j", epoch="e", limit=limit, schedule=lambda callback: callback())
        self.clients, self.readers = {}, {}

    @rule(count=st.integers(1, 6))
    def append(self, count: int) -> None:
        """The job goes on."""
        for _ in range(count):
            self.log.append(OutputEvent(at=AT, chunk="x"))

    @rule()
    def finish(self) -> None:
        """The job ends."""
        self.log.append(EndEvent(at=AT, state="completed", marker="[DONE]"))

    @rule(key=st.integers(0, 2))
    def attach(self, key: int) -> None:
        """A client comes, or comes back."""
        client = self.clients.setdefault(key, Client())
        self.readers[key] = Reader(self.log, StreamQuery(last_event_id=client.last_id))

    @rule(key=st.integers(0, 2))
    def read(self, key: int) -> None:
        """One chunk reaches a client."""
        if key in self.readers:
            self.clients[key].take(self.readers[key].pull())

    @rule(key=st.integers(0, 2))
    def disconnect(self, key: int) -> None:
        """A client is cut off."""
        self.readers.pop(key, None)

    @invariant()
    def nothing_is_lost_or_twice_or_out_of_order(self) -> None:
        """What was seen and what gaps told is all there was, once."""
        for client in getattr(self, "clients", {}).values():
            seen = client.sequences
            assert seen == sorted(set(seen))
            assert not client.missing() & set(seen)
            if seen:
                assert client.missing() | set(seen) >= set(range(1, seen[-1] + 1))

    @invariant()
    def the_log_keeps_its_bound(self) -> None:
        """Memory is bounded."""
        if hasattr(self, "log"):
            assert len(self.log.entries()) <= self.log._limit

    def teardown(self) -> None:
        """Whoever resumes to the end has the whole story but for its gaps."""
        if not hasattr(self, "log"):
            return
        self.finish()
        for client in (*self.clients.values(), Client()):
            reader = Reader(self.log, StreamQuery(last_event_id=client.last_id))
            while chunk := reader.pull():
                client.take(chunk)
            everything = set(range(1, self.log.next))
            assert reader.done
            assert client.missing() | set(client.sequences) == everything


TestStreaming: Any = Streaming.TestCase
TestStreaming.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(st.sampled_from(["append", "read"]), max_size=80), st.integers(1, 5))
def test_one_reader_and_any_interleaving(steps: list[str], limit: int) -> None:
    log = NarrationLog("j", epoch="e", limit=limit, schedule=lambda callback: callback())
    reader, client = Reader(log, StreamQuery()), Client()
    for step in [*steps, "read", "read"]:
        if step == "append":
            log.append(OutputEvent(at=AT, chunk="x"))
        else:
            client.take(reader.pull())

    assert client.missing() | set(client.sequences) == set(range(1, log.next))
    assert client.sequences == sorted(client.sequences)

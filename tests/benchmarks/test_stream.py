"""Delivering one story to many readers: the server's CPU, and how late a message is.

Both servers keep all their readers connected; in each round one of them speaks. The publisher of
the C server is this process, over HTTP, as it has to be; its own CPU is not counted, nor is the
client's.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.benchmarks.measuring import Measure
from tests.benchmarks.nchan import Nchan
from tests.benchmarks.operations import PADDING
from tests.benchmarks.recording import Record, Size
from tests.benchmarks.servers import Narrator, Tool

MESSAGE = '{"tick":"~tick %d~ %s","pad":"%s"}'
MESSAGE_BYTES = 388
"""Of its data; with its frame it is then as long as ours, whose frames say more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`jobs` jobs with `readers` readers each; each job says `bursts` times `burst` messages."""

    jobs: int = 1
    readers: int
    bursts: int
    burst: int = 1
    interval_s: float
    rounds: int = 3

    @property
    def deliveries(self) -> int:
        """How many ticks all readers get in a round."""
        return self.jobs * self.readers * self.bursts * self.burst


LOADS = {
    "stream-100": Load(readers=100, bursts=400, interval_s=0.005),
    "stream-1000": Load(readers=1000, bursts=50, interval_s=0.05),
    "stream-5000": Load(readers=5000, bursts=12, interval_s=0.25),
    "stream-500x2": Load(jobs=500, readers=2, bursts=40, interval_s=0.08),
    "stream-bursts": Load(readers=1000, bursts=12, burst=16, interval_s=0.15),
}
LATENCY = Load(readers=1000, bursts=30, interval_s=0.1)


def quick(load: Load) -> Load:
    """As little of it as shows that it works."""
    return Load(
        jobs=min(load.jobs, 4),
        readers=min(load.readers, 10),
        bursts=3,
        burst=load.burst,
        interval_s=0.01,
        rounds=1,
    )


@pytest.fixture(scope="module")
def narrator() -> Iterator[Narrator]:
    """A server that runs as many jobs as there are."""
    with Narrator(concurrency=1000, log_limit=100_000) as started:
        yield started


@pytest.mark.parametrize("key", LOADS)
def test_cpu_of_deliveries(
    record: Record, size: Size, narrator: Narrator, nchan: Nchan, key: str
) -> None:
    load = size.of(LOADS[key], quick(LOADS[key]))
    with ours(narrator, load) as told, theirs(nchan, load) as published:
        record.pair(
            key,
            cpu_per_million(narrator, told, load),
            cpu_per_million(nchan, published, load),
            rounds=load.rounds,
        )

    record.beside(bytes_of_ours=told.bytes_each, bytes_of_the_reference=published.bytes_each)


def test_how_late_a_message_is(
    record: Record, size: Size, narrator: Narrator, nchan: Nchan
) -> None:
    load = size.of(LATENCY, quick(LATENCY))
    with ours(narrator, load) as told, theirs(nchan, load) as published:
        record.pair("latency", p99_ms(told, load), p99_ms(published, load), rounds=load.rounds)


class Told:
    """Readers, all connected, and how to make their stories go on."""

    def __init__(self, client: Tool, speak: Callable[[], None]) -> None:
        self._client = client
        self._speak = speak
        self.bytes_each = 0.0

    def round(self, load: Load, *, stamped: bool = False) -> list[int]:
        """Say and read one round; with `stamped`, the nanoseconds that each delivery took."""
        self._client.begin(do="read", ticks=load.deliveries, stamped=stamped)
        self._speak()
        told = self._client.answer()
        assert told["ticks"] == load.deliveries, {**told, "took_ns": "…"}
        self.bytes_each = told["bytes"] / load.deliveries
        took: list[int] = told["took_ns"]
        return took


@contextmanager
def ours(narrator: Narrator, load: Load) -> Iterator[Told]:
    """Our readers; the jobs are cancelled at the end."""
    key = str(time.monotonic_ns())
    ids = [narrator.submit("talk", key=key) for _ in range(load.jobs)]
    narrator.until("running", load.jobs)
    plan: dict[str, Any] = {
        "bursts": load.bursts,
        "burst": load.burst,
        "interval_s": load.interval_s,
    }
    with ExitStack() as stack:
        for each in ids:
            stack.callback(narrator.client.post, f"/v1/jobs/{each}/cancel")
        client = stack.enter_context(Tool("client"))
        connect(client, narrator.port, [f"/v1/jobs/{each}/stream" for each in ids], load)

        yield Told(client, lambda: narrator.go(key, load.jobs, **plan))


@contextmanager
def theirs(peer: Nchan, load: Load) -> Iterator[Told]:
    """The readers of nchan."""
    channels = [f"c{time.monotonic_ns()}x{each}" for each in range(load.jobs)]

    def speak() -> None:
        for _ in range(load.bursts):
            peer.publish([each for each in channels for _ in range(load.burst)], message())
            time.sleep(load.interval_s)

    with Tool("client") as client:
        connect(client, peer.port, [f"/sub/{each}" for each in channels], load)
        yield Told(client, speak)


def connect(client: Tool, port: int, paths: list[str], load: Load) -> None:
    """Open all readers."""
    told = client.ask(do="open", port=port, paths=paths, each=load.readers)
    assert told == {"open": load.jobs * load.readers, "missing": 0}


def message() -> bytes:
    """A message as long as ours, which says when it was published."""
    text = MESSAGE % (time.monotonic_ns(), PADDING, "")
    return (MESSAGE % (time.monotonic_ns(), PADDING, "x" * (MESSAGE_BYTES - len(text)))).encode()


def cpu_per_million(server: Narrator | Nchan, told: Told, load: Load) -> Measure:
    """CPU seconds of the server per million deliveries."""

    def measure() -> float:
        before = server.cpu_s()
        told.round(load)
        return (server.cpu_s() - before) / load.deliveries * 1e6

    return measure


def p99_ms(told: Told, load: Load) -> Measure:
    """How long 99 of 100 deliveries took at most, milliseconds."""

    def measure() -> float:
        took = sorted(told.round(load, stamped=True))
        return took[len(took) * 99 // 100] / 1e6

    return measure

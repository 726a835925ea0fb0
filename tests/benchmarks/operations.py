"""The operations that a measured server runs; `go` tells those that wait in `talk` what to say."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from opentelemetry import trace

from app import lifespan, operation
from narration import narrate
from tests.benchmarks.works import EVENTS, say

PADDING = "the quick brown fox jumps over the lazy dog"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Say `bursts` times `burst` messages, `interval_s` seconds apart."""

    bursts: int
    burst: int
    interval_s: float


class Gates:
    """Where talks of one key wait for their next plan."""

    def __init__(self) -> None:
        self.waiting: defaultdict[str, list[asyncio.Queue[Plan]]] = defaultdict(list)


@lifespan
async def gates() -> AsyncIterator[Gates]:
    """One for the server."""
    yield Gates()


@operation
async def talk(key: str, *, gates: Gates) -> None:
    """Wait for `go`, say what it wants, wait again; until cancelled."""
    plans: asyncio.Queue[Plan] = asyncio.Queue()
    gates.waiting[key].append(plans)
    while True:
        plan = await plans.get()
        for _ in range(plan.bursts):
            for _ in range(plan.burst):
                narrate("tick", f"~tick {time.monotonic_ns()}~ {PADDING}")
            await asyncio.sleep(plan.interval_s)


@operation
async def go(key: str, bursts: int, burst: int, interval_s: float, *, gates: Gates) -> int:
    """Let every talk of `key` say something; how many there are."""
    waiting = gates.waiting[key]
    for each in waiting:
        each.put_nowait(Plan(bursts=bursts, burst=burst, interval_s=interval_s))
    return len(waiting)


@operation
async def noop() -> None:
    """Do nothing."""


@operation
async def ten_events() -> None:
    """Ten events with two attributes each."""
    say(trace.get_current_span(), EVENTS)


@operation
async def block() -> None:
    """Wait until cancelled."""
    await asyncio.get_running_loop().create_future()

"""What the parts of the engine share: the state, the clock and the people to tell."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan

from app.engine.counters import JobCounters
from app.engine.entry import Entry, Kept
from app.engine.feed import Feed
from app.engine.journal import Journal
from app.engine.observer import Observer
from app.handlers.lifespan import Resources
from app.jobs.queue import JobQueue
from app.jobs.registry import JobRegistry
from app.settings import Settings
from telemetry.clock import Clock


@dataclass(slots=True, kw_only=True)
class Core:
    """All state of one engine; read and written on the loop's thread only."""

    settings: Settings
    clock: Clock
    random: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    registry: JobRegistry
    queue: JobQueue
    observer: Observer
    metrics: JobCounters
    feed: Feed
    journal: Journal
    resources: Resources
    export: Callable[[ReadableSpan], None]
    """Exports a span that ended in a child process."""
    entries: dict[str, Entry] = field(default_factory=dict)
    """The jobs that have not finished, by id."""
    kept: dict[str, Kept] = field(default_factory=dict)
    """Those that have, until they are forgotten."""
    free_slots: int = 0
    draining: bool = False

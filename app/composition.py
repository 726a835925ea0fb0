"""The composition root: the engine and all its parts are wired here, and nowhere else.

It decides nothing but which of two parts serves: with a store or without, told or silent.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from functools import partial

from app.engine.core import Core
from app.engine.counters import Counters
from app.engine.engine import Engine
from app.engine.feed import Feed
from app.engine.journal import Journal, NoJournal
from app.engine.observer import Observer
from app.engine.recovery import Restored
from app.engine.store_journal import StoreJournal
from app.handlers.lifespan import Resources
from app.handlers.operation import Operation
from app.jobs.ids import new_job_id
from app.jobs.queue import Concurrency, JobQueue
from app.jobs.registry import JobRegistry
from app.settings import Settings
from app.store.protocol import Store
from narration.held_log import HeldLog
from narration.hub import Limits, LogOf, Narration
from narration.log import NarrationLog
from narration.log_events import LogEvents
from narration.masking import masker
from narration.silence import Silence
from narration.story import Story
from narration.streams import Streams
from telemetry.clock import Clock, SystemClock
from telemetry.logs import EventLogger
from telemetry.tracing import Tracing

_logger = logging.getLogger(__name__)


def compose(
    operations: Mapping[str, Operation],
    *,
    settings: Settings,
    clock: Clock,
    counters: Counters,
    uniform: Callable[[], float],
    tracing: Tracing,
    event_logger: EventLogger | None,
    resources: Resources,
    store: Store | None,
    mounted: bool,
) -> Engine:
    """An engine on the running loop, started, with the jobs that `store` has.

    `mounted` says that another's server serves it.

    Raises:
        StoreError: what is in the store can't be read.

    """
    loop = asyncio.get_running_loop()
    real_time = isinstance(clock, SystemClock)
    journal, log_of, feed_of = _journal(store, clock, counters, threaded=real_time)
    narration = Narration(
        tracing.provider if settings.narration else None,
        clock=clock,
        counters=counters,
        mask=masker([each.get_secret_value() for each in settings.secrets]),
        fast_events=settings.fast_events,
        log_events=None if event_logger is None else _log_events(event_logger, clock, counters),
        log_of=log_of,
        limits=Limits(
            log_events=settings.log_limit,
            spans=settings.span_limit,
            message_bytes=settings.max_message_bytes,
            log_bytes=settings.log_bytes,
        ),
        streams=Streams(
            heartbeat_s=settings.heartbeat_s,
            counters=counters,
            # Another's server waits for its connections before it ends our lifespan.
            watch_exit=mounted,
        ),
    )
    narration.bind()

    def feed_log() -> NarrationLog:
        epoch = uuid.uuid4().hex[:8]
        return feed_of("feed", epoch=epoch, limit=settings.feed_limit, schedule=loop.call_soon)

    core = Core(
        settings=settings,
        clock=clock,
        random=uniform,
        loop=loop,
        registry=JobRegistry(
            journal.changed if journal.durable else None,
            cursor_key=None if store is None else store.secret(),
        ),
        queue=JobQueue(
            {each.name: _concurrency(each) for each in operations.values()},
            per_tenant=settings.tenant_running or None,
        ),
        observer=Observer(
            tracer=tracing.tracer,
            metrics=counters,
            clock=clock,
            link_parent=settings.trace_parent == "link",
            told_to=_told_to(narration, settings, clock),
        ),
        metrics=counters,
        feed=Feed(feed_log),
        journal=journal,
        resources=resources,
        export=tracing.export,
    )
    engine = Engine(
        core,
        operations=operations,
        narration=narration,
        new_id=new_job_id,
        real_time=real_time,
    )
    if store is not None:
        _tell_restored(engine.restore(store))
    engine.start()
    return engine


def _journal(
    store: Store | None, clock: Clock, counters: Counters, *, threaded: bool
) -> tuple[Journal, LogOf, LogOf]:
    """What notes changes; and what makes the logs of jobs, and of the feed."""
    if store is None:
        return NoJournal(), NarrationLog, NarrationLog
    loop = asyncio.get_running_loop()
    journal = StoreJournal(store, loop=loop, clock=clock, counters=counters, threaded=threaded)
    return (
        journal,
        partial(HeldLog, on_hold=journal.hold),
        partial(HeldLog, on_hold=journal.pass_on),
    )


def _told_to(narration: Narration, settings: Settings, clock: Clock) -> Callable[[Story], Story]:
    """Where a job's words go: into its own story, or where narration is off, nowhere."""
    if settings.narration:
        return lambda story: story
    silence = Silence(
        clock=clock,
        mask=narration.mask,
        max_message_bytes=narration.limits.message_bytes,
    )
    return lambda _: silence


def _log_events(events: EventLogger, clock: Clock, counters: Counters) -> LogEvents:
    return LogEvents(events.logger, clock=clock, dropped=counters.logs_exported.exporter_dropped)


def _concurrency(operation: Operation) -> Concurrency:
    return Concurrency(
        limit=operation.defaults.concurrency, per_key=operation.defaults.key_concurrency
    )


def _tell_restored(restored: Restored) -> None:
    """What was found in the store, in the log."""
    if restored.finished or restored.waiting or restored.cut:
        _logger.info(
            "taken up from the store: finished %d, waiting %d, cut in an attempt %d",
            restored.finished,
            restored.waiting,
            restored.cut,
        )
    for operation, count in restored.unserved.items():
        _logger.warning(
            "the store has %d unfinished jobs of operation %r, which this server does not serve; "
            "they wait until one does, or are cancelled",
            count,
            operation,
        )

"""`Narrator`, one job server: an application of its own, mounted in another one, or in process.

Nothing happens until its lifespan (`running`) starts it on an event loop; then `composition` wires
its engine.
"""

import asyncio
import importlib.metadata
import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from app.access.key_ring import KeyRing
from app.access.keys_file import tenant_of
from app.access.stream_tokens import SECRET_BYTES, StreamTokens
from app.composition import compose
from app.engine.counters import Counters, Uncounted
from app.engine.engine import Engine
from app.handlers.discovery import operations_of
from app.handlers.lifespan import Resources
from app.handlers.operation import Operation
from app.http.access import Access, KeyAccess, OpenAccess
from app.http.application import create_application
from app.http.instrumentation import instrument
from app.jobs.errors import Unavailable
from app.jobs.model import DEFAULT_TENANT
from app.jobs.record import JobRecord
from app.jobs.submission import Submission
from app.settings import Settings
from app.store.protocol import Store
from app.store.sqlite import SqliteStore
from narration.durable import Cursors
from narration.logs import NarrationHandler, install_logs
from telemetry.clock import Clock, SystemClock
from telemetry.export import ExportState
from telemetry.logs import build_event_logger, logger_provider
from telemetry.metrics import Metrics
from telemetry.threads import context_in_threads
from telemetry.tracing import build_tracing, make_global

_logger = logging.getLogger(__name__)

Handler = Operation | Callable[..., Any]

KEYS_INTERVAL_S: Final = 1.0
"""Seconds between two looks at the keys file."""

ACCESS_ENDED: Final = "access_ended"
"""Why a stream is closed whose key opens nothing any more."""

STREAMS_CLOSE_S: Final = 5.0
"""Seconds that the clients of streams have to take their last event, at the end of a drain."""


class NotRunningError(Unavailable):
    """The narrator was called before its lifespan began, or after it ended."""

    code = "not-running"

    def __init__(self) -> None:
        super().__init__(
            "this Narrator is not running: enter `async with narrator.running():`, "
            "or let the application that mounts it do so in its lifespan",
            retry_after_s=1.0,
        )


class Narrator:
    """One job server.

    `operations` are functions marked with `@operation`, or what `app.handlers.discovery` loads.
    `tracer_provider` is the application's own; without it the global one, if an SDK's is set, else
    one made as OpenTelemetry's variables say. `bound` is the address that the server listens on,
    None where another application mounts this one.

    Raises:
        OSError, app.access.keys_file.KeysFileError: the keys file that the settings name is none.

    """

    def __init__(
        self,
        operations: Iterable[Handler],
        *,
        settings: Settings | None = None,
        tracer_provider: TracerProvider | None = None,
        clock: Clock | None = None,
        bound: str | None = None,
        uniform: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.clock = clock or SystemClock()
        self.metrics = Metrics(clock=self.clock) if self.settings.metrics else None
        self.counters: Counters = self.metrics or Uncounted()
        self._operations = {each.name: each for each in _loaded(operations)}
        self.counters.expect(self._operations)
        self._uniform = uniform or random.SystemRandom().random
        self._tracing = build_tracing(
            provider=tracer_provider or _global_provider(),
            counters=self.counters.spans_exported,
            bound_s=self.settings.telemetry_shutdown_s,
        )
        self._event_logger = (
            build_event_logger(
                self._tracing.provider.resource,
                counters=self.counters.logs_exported,
                bound_s=self.settings.telemetry_shutdown_s,
            )
            if self.settings.log_events and self.settings.narration
            else None
        )
        self._mounted = bound is None
        self._ring = (
            None
            if self.settings.keys is None
            else KeyRing(self.settings.keys, wall_ns=self.clock.wall_ns)
        )
        self._access = self._make_access()
        self._engine: Engine | None = None
        self.application: FastAPI = create_application(
            engine=lambda: self.engine,
            settings=self.settings,
            metrics=self.metrics,
            resource=self._tracing.provider.resource,
            exporting=self._export_states,
            cursors=Cursors(self.clock, self._uniform),
            access=self._access,
            bound=bound,
            lifespan=self._lifespan,
            version=_version(),
        )
        instrument(self.application, self._tracing.provider)

    @property
    def engine(self) -> Engine:
        """The engine; `NotRunningError` outside of `running`."""
        if self._engine is None:
            raise NotRunningError
        return self._engine

    # --- in process ---------------------------------------------------------------------------

    async def submit(self, operation: str, /, **params: Any) -> JobRecord:
        """Submit a job in process; its span is a child of the current one.

        It is the tenant `default`'s; `for_tenant` submits for another.

        Raises:
            NotRunningError, and what `Engine.submit` raises.

        """
        return await self.for_tenant(DEFAULT_TENANT).submit(operation, **params)

    async def result(self, job_id: str, *, timeout_s: float = 3600.0) -> JobRecord:
        """The job once it has finished, or as it is after `timeout_s` seconds."""
        return await self.for_tenant(DEFAULT_TENANT).result(job_id, timeout_s=timeout_s)

    def for_tenant(self, tenant: str) -> "TenantJobs":
        """The same calls for the jobs of one tenant; what is kept of a tenant stays.

        Raises:
            app.access.keys_file.KeysFileError: that is no name of a tenant.

        """
        return TenantJobs(self, tenant_of(tenant, place="for_tenant"))

    # --- its life -----------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Narrator"]:
        """Run on this loop; at the end, drain (`drain_s`) and flush telemetry.

        Raises:
            ResourceError: a `@lifespan` function failed.

        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._flush)
            if not isinstance(trace.get_tracer_provider(), TracerProvider):
                make_global(self._tracing.provider)
            resources = Resources()
            stack.push_async_callback(resources.close)
            for each in self._operations.values():
                await resources.open(each.lifespans)
            self._instrument(stack)
            engine = compose(
                self._operations,
                settings=self.settings,
                clock=self.clock,
                counters=self.counters,
                uniform=self._uniform,
                tracing=self._tracing,
                event_logger=self._event_logger,
                resources=resources,
                store=self._open_store(stack),
                mounted=self._mounted,
            )
            self._engine = engine
            stack.callback(self._stop)
            self._watch_keys(stack, engine)
            grace_s = 0.0  # where the block was left by an exception, nobody waits
            try:
                yield self
                grace_s = self.settings.drain_s
            finally:
                if not engine.draining:
                    await engine.drain(grace_s)
                await engine.close()

    async def drain(self) -> None:
        """Take nothing new, finish what runs within `drain_s`, tell every stream."""
        engine = self.engine
        await engine.drain(self.settings.drain_s)
        engine.streams.drain("shutdown")
        await engine.streams.wait_closed(STREAMS_CLOSE_S)
        engine.streams.abort()

    def abort(self) -> None:
        """Let go of children at once: the process is about to end."""
        if self._engine is not None:
            self._engine.kill_all()

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        async with self.running():
            yield

    def _make_access(self) -> Access:
        tokens = StreamTokens(
            os.urandom(SECRET_BYTES),
            life_s=self.settings.stream_token_s,
            wall_ns=self.clock.wall_ns,
        )
        return OpenAccess(tokens) if self._ring is None else KeyAccess(self._ring, tokens)

    def _watch_keys(self, stack: AsyncExitStack, engine: Engine) -> None:
        """Look at the keys file each second, and end the streams of keys that open no more."""
        ring, access = self._ring, self._access
        if ring is None:
            return

        async def watch() -> None:
            while True:
                await asyncio.sleep(KEYS_INTERVAL_S)
                ring.look()
                engine.streams.end(access.holds, ACCESS_ENDED)

        stack.callback(asyncio.create_task(watch(), name="narrator-keys").cancel)

    def _open_store(self, stack: AsyncExitStack) -> Store | None:
        """The store that the settings name, if they do; closed at the end."""
        path = self.settings.store
        if path is None:
            return None
        store = SqliteStore(path, sync=self.settings.store_sync)
        stack.callback(store.close)
        return store

    def _instrument(self, stack: AsyncExitStack) -> None:
        """What carries a job's context into threads, and logs into its story; undone at the end."""
        stack.enter_context(context_in_threads())
        if not self.settings.narration:
            return
        provider, root = logger_provider(self._tracing.provider.resource), logging.getLogger()
        handler = NarrationHandler(once=install_logs(provider).once if provider else None)
        root.addHandler(handler)
        root.handlers.insert(0, root.handlers.pop())  # first: see `install_logs`
        stack.callback(root.removeHandler, handler)

    def _stop(self) -> None:
        if self._engine is not None:
            self._engine.stop()
        self._engine = None

    def _export_states(self) -> list[ExportState]:
        parts = (self._tracing, self._event_logger)
        states = [part.export_state() for part in parts if part is not None]
        return [state for state in states if state is not None]

    async def _flush(self) -> None:
        """Send what is left of both signals, at once: the bound is of the whole."""
        await asyncio.sleep(0)  # what was stored last is emitted first
        bound_s = self.settings.telemetry_shutdown_s
        ends = [asyncio.to_thread(self._tracing.shutdown, bound_s)]
        if self._event_logger is not None:
            ends.append(asyncio.to_thread(self._event_logger.shutdown, bound_s))
        await asyncio.gather(*ends)


class TenantJobs:
    """The calls of a `Narrator` in process, for the jobs of one tenant."""

    def __init__(self, narrator: Narrator, tenant: str) -> None:
        self._narrator = narrator
        self.tenant = tenant

    async def submit(self, operation: str, /, **params: Any) -> JobRecord:
        """Submit a job in process; its span is a child of the current one.

        Raises:
            NotRunningError, and what `Engine.submit` raises.

        """
        submission = Submission(operation=operation, params=params)
        engine, tenant = self._narrator.engine, self.tenant
        taken = engine.submit(submission, parent=otel_context.get_current(), tenant=tenant)
        record = engine.record(taken.job_id, tenant=tenant)
        await engine.settled(taken.job_id)
        return record

    async def result(self, job_id: str, *, timeout_s: float = 3600.0) -> JobRecord:
        """The job once it has finished, or as it is after `timeout_s` seconds.

        Raises:
            NotRunningError, JobNotFound: it is none of this tenant's.

        """
        return await self._narrator.engine.wait(job_id, timeout_s, tenant=self.tenant)


def _loaded(operations: Iterable[Handler]) -> list[Operation]:
    given = list(operations)
    ready = [each for each in given if isinstance(each, Operation)]
    marked = [each for each in given if not isinstance(each, Operation)]
    return [*ready, *operations_of(marked)]


def _global_provider() -> TracerProvider | None:
    """The application's own provider, where it has set one."""
    provider = trace.get_tracer_provider()
    return provider if isinstance(provider, TracerProvider) else None


def _version() -> str:
    try:
        return importlib.metadata.version("job-narrator")
    except importlib.metadata.PackageNotFoundError:
        return "0"

"""A real server on a free port, in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.cli.server import Server, address_of, configuration, listen
from app.service import Narrator
from app.settings import Settings
from tests.plain_http import PLAIN

WAIT_S = 20
"""Bound of everything that a test waits for; far beyond what it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server, a client for it, and the spans that it has made."""

    client: httpx.AsyncClient
    narrator: Narrator
    url: str
    spans: InMemorySpanExporter

    async def submit(self, operation: str, **fields: Any) -> dict[str, Any]:
        """The record of a new job."""
        answer = await self.client.post("/v1/jobs", json={"operation": operation, **fields})
        assert answer.status_code == 202, answer.text
        record: dict[str, Any] = answer.json()
        return record

    async def ended(self, job_id: str) -> dict[str, Any]:
        """The record of a job once it has ended."""
        answer = await self.client.get(f"/v1/jobs/{job_id}", params={"wait": WAIT_S})
        record: dict[str, Any] = answer.json()
        assert record["finished_at"] is not None, record
        return record

    async def until(self, job_id: str, state: str) -> dict[str, Any]:
        """The record of a job once it is in `state`."""
        async with asyncio.timeout(WAIT_S):
            while True:
                record: dict[str, Any] = (await self.client.get(f"/v1/jobs/{job_id}")).json()
                if record["state"] == state:
                    return record
                await asyncio.sleep(0.01)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@asynccontextmanager
async def serving(
    operations: Sequence[Callable[..., Any]], **settings: Any
) -> AsyncIterator[Served]:
    """Serve `operations` until the block ends."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sockets = listen("127.0.0.1", 0)
    settings = {"drain_s": 0, "cancel_grace_s": 1, **settings}
    narrator = Narrator(
        operations=operations, settings=Settings(**settings), tracer_provider=provider
    )
    ready = asyncio.Event()
    server = Server(
        configuration(narrator.application),
        ready=ready.set,
        drain=narrator.drain,
        abort=lambda: None,
        running=narrator.running,
    )
    task = asyncio.create_task(server.serve(sockets))
    url = address_of(sockets[0])
    try:
        async with asyncio.timeout(WAIT_S):
            await ready.wait()
        async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, verify=PLAIN) as client:
            yield Served(client=client, narrator=narrator, url=url, spans=exporter)
    finally:
        server.begin_drain()
        async with asyncio.timeout(WAIT_S):
            await task


@pytest.fixture
def serve() -> Serve:
    """`serving`, for modules that cannot import it."""
    return serving


@pytest.fixture
def run() -> Callable[[Awaitable[None]], None]:
    """Runs a test's coroutine, within a bound."""

    def run(test: Awaitable[None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(3 * WAIT_S):
                await test

        asyncio.run(bounded())

    return run

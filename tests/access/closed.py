"""A server that asks for keys, two tenants, and a stranger: in process, over ASGI."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app import operation
from app.access.keys_edit import create
from app.access.keys_file import Scope
from app.service import Narrator
from app.settings import Settings

WAIT_S: Final = 20
"""Bound of everything that a test waits for; far beyond what it takes."""

ALL: Final = (Scope.SUBMIT, Scope.READ, Scope.CANCEL)
OURS: Final = "acme"
THEIRS: Final = "evil"
"""The tenant that attacks."""


@operation("add")
async def add(a: int = 1, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@operation("forever")
async def forever() -> None:
    """Wait for a cancellation."""
    await asyncio.Event().wait()


@operation("say")
async def say(text: str) -> str:
    """Give back what was given."""
    return text


OPERATIONS: Final = (add, forever, say)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The server, its keys file, and who calls."""

    narrator: Narrator
    keys: Path
    spans: InMemorySpanExporter
    http: httpx.AsyncClient
    """A stranger's: it sends no key."""

    def key(
        self,
        tenant: str = OURS,
        scopes: Iterable[Scope] = ALL,
        expires_at: datetime | None = None,
    ) -> str:
        """A new key, which the server knows."""
        key, _ = create(
            self.keys, tenant=tenant, scopes=scopes, expires_at=expires_at, random=os.urandom
        )
        self.look()
        return key

    def look(self) -> None:
        """Have the server read its keys again, as it does each second."""
        ring = self.narrator._ring
        assert ring is not None
        ring.look()

    def caller(self, tenant: str = OURS, scopes: Iterable[Scope] = ALL) -> "Caller":
        """Somebody with a new key."""
        return Caller(self, self.key(tenant, scopes))


class Caller:
    """Somebody who calls with a key."""

    def __init__(self, closed: Closed, key: str) -> None:
        self._http = closed.http
        self.key = key

    async def call(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """The answer to a call with the key."""
        return await self._http.request(
            method, path, headers={**bearer(self.key), **(headers or {})}, **options
        )

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON of a GET that goes well."""
        answer = await self.call("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def submit(self, name: str = "add", **fields: Any) -> str:
        """The id of a new job."""
        answer = await self.call("POST", "/v1/jobs", json={"operation": name, **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def ended(self, name: str = "add", **fields: Any) -> str:
        """The id of a job that has ended."""
        job_id = await self.submit(name, **fields)
        assert (await self.get(f"/v1/jobs/{job_id}", wait=WAIT_S))["finished_at"] is not None
        return job_id


def bearer(key: str) -> dict[str, str]:
    """The header that sends `key`."""
    return {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def closed(folder: Path, **settings: Any) -> AsyncIterator[Closed]:
    """The server, until the block ends."""
    keys = folder / "keys.toml"
    keys.touch(mode=0o600)
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    settings = {"drain_s": 0, "cancel_grace_s": 1, "blocked_loop_s": 60, "keys": keys, **settings}
    narrator = Narrator(
        OPERATIONS, settings=Settings(**settings), tracer_provider=provider, bound="127.0.0.1"
    )
    transport = httpx.ASGITransport(narrator.application, raise_app_exceptions=False)
    async with (
        narrator.running(),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield Closed(narrator=narrator, keys=keys, spans=spans, http=client)


def run(folder: Path, test: Callable[[Closed], Awaitable[None]], **settings: Any) -> None:
    """Run `test` against a closed server."""

    async def main() -> None:
        async with asyncio.timeout(3 * WAIT_S), closed(folder, **settings) as server:
            await test(server)

    asyncio.run(main())

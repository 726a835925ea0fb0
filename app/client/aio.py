"""The client for coroutines on asyncio: the same calls as `app.client.sync`, awaited.

It performs the steps of `app.client.calls` and `resume`; all that is decided is decided there.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from app.client.calls import API, Calls, Job, JobFilter, JobOptions, job_path
from app.client.connection import SILENCE_S, TIMEOUT_S, Setup, built
from app.client.events import Event
from app.client.patience import Patience
from app.client.records import JobPage, JobRecord, Operation, Overview
from app.client.resume import Following, StreamOptions
from app.client.steps import Deliver, Open, Pause, Read, Run, Send, Step, Steps

_T = TypeVar("_T")


class AsyncClient:
    """A job-narrator server, to be used with `async with`, or closed at the end, on one loop.

    The arguments and errors are those of `Client`.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        silence_s: float = SILENCE_S,
        patience: Patience | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        setup = Setup(
            server=server,
            key=key,
            timeout_s=timeout_s,
            silence_s=silence_s,
            patience=patience or Patience(),
            headers=headers,
        )
        self._key = setup.key_in_use()
        self._link = setup.link()
        self._calls = Calls(self._link)
        self._http = httpx.AsyncClient(transport=transport, **setup.options())

    @property
    def server(self) -> str:
        """The address in use."""
        return str(self._http.base_url).rstrip("/")

    @property
    def key(self) -> str:
        """As `Client.key`."""
        return self._key

    async def submit(
        self,
        operation: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> JobRecord:
        """As `Client.submit`."""
        return await self._call(self._calls.submit(operation, params, idempotency_key, options))

    def stream(self, job: Job, **options: Unpack[StreamOptions]) -> "AsyncStream":
        """As `Client.stream`."""
        return AsyncStream(self, Following(self._link, job_path(job, "stream"), options))

    def changes(self, **options: Unpack[StreamOptions]) -> "AsyncStream":
        """As `Client.changes`."""
        return AsyncStream(self, Following(self._link, f"{API}/stream", options, of_changes=True))

    async def result(self, job: Job, *, timeout_s: float | None = None) -> Any:
        """As `Client.result`."""
        return await self._call(self._calls.result(job, timeout_s))

    async def wait(self, job: Job, *, timeout_s: float | None = None) -> JobRecord:
        """As `Client.wait`."""
        return await self._call(self._calls.wait(job, timeout_s))

    async def get(self, job: Job) -> JobRecord:
        """As `Client.get`."""
        return await self._call(self._calls.get(job))

    async def cancel(self, job: Job) -> JobRecord:
        """As `Client.cancel`."""
        return await self._call(self._calls.cancel(job))

    async def retry(
        self,
        job: Job,
        params: Mapping[str, Any] | None = None,
        *,
        operation: str | None = None,
        idempotency_key: str | None = None,
        **changes: Unpack[JobOptions],
    ) -> JobRecord:
        """As `Client.retry`."""
        steps = self._calls.retry(job, operation, params, idempotency_key, changes)
        return await self._call(steps)

    async def delete(self, job: Job) -> None:
        """As `Client.delete`."""
        await self._call(self._calls.delete(job))

    async def operations(self) -> tuple[Operation, ...]:
        """As `Client.operations`."""
        return await self._call(self._calls.operations())

    async def overview(self) -> Overview:
        """As `Client.overview`."""
        return await self._call(self._calls.overview())

    def list(
        self, *, page_size: int | None = None, **chosen: Unpack[JobFilter]
    ) -> AsyncIterator[JobRecord]:
        """As `Client.list`."""
        return self._drive(Run(self._calls.list(page_size, **chosen)))

    async def page(
        self,
        *,
        cursor: str | None = None,
        page_size: int | None = None,
        **chosen: Unpack[JobFilter],
    ) -> JobPage:
        """As `Client.page`."""
        return await self._call(self._calls.page(cursor, page_size, **chosen))

    async def close(self) -> None:
        """As `Client.close`."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(self, steps: Steps[_T]) -> _T:
        run = Run(steps)
        async for _ in self._drive(run):  # a call delivers nothing
            pass
        return run.result

    async def _drive(self, run: Run[Any]) -> AsyncGenerator[Any, None]:
        """Perform the steps of `run` to its end; what it delivers."""
        connection = _Connection(self._http, self._link.timeout_s)
        try:
            while (step := run.step) is not None:
                if isinstance(step, Deliver):
                    yield step.item
                    run.answered(None)
                    continue
                try:
                    given = await connection.perform(step)
                except httpx.RequestError as error:
                    run.failed(error)
                else:
                    run.answered(given)
        finally:
            await connection.close()


class AsyncStream(AsyncIterator[Event]):
    """The events of a stream, once; to leave it early, use `async with` or `close`."""

    def __init__(self, client: AsyncClient, following: Following) -> None:
        self._following = following
        self._events = client._drive(Run(following.steps()))  # noqa: SLF001 — its other half

    @property
    def last_event_id(self) -> str:
        """Where to go on another time; empty before the first event."""
        return self._following.last_event_id

    async def __anext__(self) -> Event:
        event: Event = await anext(self._events)
        return event

    async def close(self) -> None:
        """Close the connection; nothing comes after it."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class _Connection:
    """Performs steps; holds the stream that is open."""

    def __init__(self, http: httpx.AsyncClient, timeout_s: float) -> None:
        self._http = http
        self._timeout_s = timeout_s
        self._stream: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def perform(self, step: Step) -> object:
        """What `step` gives; raises httpx.RequestError."""
        match step:
            case Send(request):
                return await self._http.send(built(self._http, request, self._timeout_s))
            case Open(request):
                return await self._open(built(self._http, request, self._timeout_s))
            case Read():
                return None if self._chunks is None else await anext(self._chunks, None)
            case Pause(seconds):
                await self.close()
                await asyncio.sleep(seconds)
        return None

    async def _open(self, request: httpx.Request) -> httpx.Response:
        await self.close()
        self._stream = await self._http.send(request, stream=True)
        self._chunks = self._stream.aiter_bytes()
        if self._stream.status_code != httpx.codes.OK:
            await self._stream.aread()
        return self._stream

    async def close(self) -> None:
        """Close the stream, if one is open."""
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None

"""The client for code that waits: it performs the steps of `app.client.calls` and `resume`.

What is asked and what answers mean is decided there; `app.client.aio` is the same for coroutines.
"""

import time
from collections.abc import Generator, Iterator, Mapping
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


class Client:
    """A job-narrator server, to be used with `with`, or closed at the end; safe between threads.

    `server` is its address, by default `NARRATOR_SERVER`, else `http://127.0.0.1:8000`. `key` opens
    it, where it is closed; by default `NARRATOR_KEY`, and an empty one sends none. `timeout_s` is
    how long connecting, and an answer, may take; `silence_s` how long a stream may send nothing
    at all; `patience` for how long the client tries by itself; `headers` go with every request.
    `transport` replaces the network (httpx).

    Every call raises what `app.client.errors` has, and ValueError for params that JSON can't carry.
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
        transport: httpx.BaseTransport | None = None,
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
        self._http = httpx.Client(transport=transport, **setup.options())

    @property
    def server(self) -> str:
        """The address in use."""
        return str(self._http.base_url).rstrip("/")

    @property
    def key(self) -> str:
        """The key that goes along, which no repr and no error shows; empty without one."""
        return self._key

    def submit(
        self,
        operation: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> JobRecord:
        """Submit a job; its record.

        Without a key of yours it goes with a random one, so that sending it again after a broken
        connection can't make a second job. The current span, if there is one, is its parent.
        """
        return self._call(self._calls.submit(operation, params, idempotency_key, options))

    def stream(self, job: Job, **options: Unpack[StreamOptions]) -> "Stream":
        """Follow a job's story from its beginning to its `EndEvent`, over breaks.

        Nothing is sent before the first event is asked for.
        """
        return Stream(self, Following(self._link, job_path(job, "stream"), options))

    def changes(self, **options: Unpack[StreamOptions]) -> "Stream":
        """Follow the state changes of all jobs (`JobStateEvent`); never ends.

        The server keeps the newest; a `GapEvent` means: list the jobs again.
        """
        return Stream(self, Following(self._link, f"{API}/stream", options, of_changes=True))

    def result(self, job: Job, *, timeout_s: float | None = None) -> Any:
        """Wait for a job's end and give what its handler returned.

        Raises:
            JobFailed, JobCancelled: by how it ended.
            NotFinished: after `timeout_s` seconds; None waits as long as it takes.

        """
        return self._call(self._calls.result(job, timeout_s))

    def wait(self, job: Job, *, timeout_s: float | None = None) -> JobRecord:
        """Wait for a job's end, whatever it is, and give its record.

        Raises:
            NotFinished: after `timeout_s` seconds; None waits as long as it takes.

        """
        return self._call(self._calls.wait(job, timeout_s))

    def get(self, job: Job) -> JobRecord:
        """A job's record as it is now."""
        return self._call(self._calls.get(job))

    def cancel(self, job: Job) -> JobRecord:
        """Ask a job to stop; its record, which is `cancelling` until it has.

        Raises:
            Conflict: it has ended.

        """
        return self._call(self._calls.cancel(job))

    def retry(
        self,
        job: Job,
        params: Mapping[str, Any] | None = None,
        *,
        operation: str | None = None,
        idempotency_key: str | None = None,
        **changes: Unpack[JobOptions],
    ) -> JobRecord:
        """Run a finished job again as a new one, whose record this is.

        `params` are laid over the old ones, key by key; other fields replace theirs. The key is as
        `submit`'s, and one that was used there can't be used here.

        Raises:
            Conflict: it has not ended.

        """
        return self._call(self._calls.retry(job, operation, params, idempotency_key, changes))

    def delete(self, job: Job) -> None:
        """Forget a finished job: its record, story and trace.

        Raises:
            Conflict: it has not ended.

        """
        self._call(self._calls.delete(job))

    def operations(self) -> tuple[Operation, ...]:
        """What can be run, by name."""
        return self._call(self._calls.operations())

    def overview(self) -> Overview:
        """The server in numbers: what waits, runs and is kept, and its slots and streams."""
        return self._call(self._calls.overview())

    def list(
        self, *, page_size: int | None = None, **chosen: Unpack[JobFilter]
    ) -> Iterator[JobRecord]:
        """The jobs that match, newest first; pages are fetched as they are needed."""
        return self._drive(Run(self._calls.list(page_size, **chosen)))

    def page(
        self,
        *,
        cursor: str | None = None,
        page_size: int | None = None,
        **chosen: Unpack[JobFilter],
    ) -> JobPage:
        """One page of the jobs that match, with the cursor of the next and the count of all."""
        return self._call(self._calls.page(cursor, page_size, **chosen))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, steps: Steps[_T]) -> _T:
        run = Run(steps)
        for _ in self._drive(run):  # a call delivers nothing
            pass
        return run.result

    def _drive(self, run: Run[Any]) -> Generator[Any, None, None]:
        """Perform the steps of `run` to its end; what it delivers."""
        connection = _Connection(self._http, self._link.timeout_s)
        try:
            while (step := run.step) is not None:
                if isinstance(step, Deliver):
                    yield step.item
                    run.answered(None)
                    continue
                try:
                    given = connection.perform(step)
                except httpx.RequestError as error:
                    run.failed(error)
                else:
                    run.answered(given)
        finally:
            connection.close()


class Stream(Iterator[Event]):
    """The events of a stream, once; to leave it early, use `with` or `close`."""

    def __init__(self, client: Client, following: Following) -> None:
        self._following = following
        self._events = client._drive(Run(following.steps()))  # noqa: SLF001 — its other half

    @property
    def last_event_id(self) -> str:
        """Where to go on another time; empty before the first event."""
        return self._following.last_event_id

    def __next__(self) -> Event:
        event: Event = next(self._events)
        return event

    def close(self) -> None:
        """Close the connection; nothing comes after it."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Connection:
    """Performs steps; holds the stream that is open."""

    def __init__(self, http: httpx.Client, timeout_s: float) -> None:
        self._http = http
        self._timeout_s = timeout_s
        self._stream: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def perform(self, step: Step) -> object:
        """What `step` gives; raises httpx.RequestError."""
        match step:
            case Send(request):
                return self._http.send(built(self._http, request, self._timeout_s))
            case Open(request):
                return self._open(built(self._http, request, self._timeout_s))
            case Read():
                return next(self._chunks, None)
            case Pause(seconds):
                self.close()
                time.sleep(seconds)
        return None

    def _open(self, request: httpx.Request) -> httpx.Response:
        self.close()
        self._stream = self._http.send(request, stream=True)
        self._chunks = self._stream.iter_bytes()
        if self._stream.status_code != httpx.codes.OK:
            self._stream.read()
        return self._stream

    def close(self) -> None:
        """Close the stream, if one is open."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

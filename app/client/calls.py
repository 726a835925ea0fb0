"""Every call of the client as steps: what is sent, when it is sent again, what the answer means.

It does no I/O, and knows neither threads nor a loop.
"""

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import quote

import httpx

from app.client.answers import GATEWAY, NEVER_SENT, PASSING, refused, unreachable
from app.client.errors import Busy, JobCancelled, JobFailed, NotFinished
from app.client.patience import FIRST_PAUSE_S, Patience, Tries
from app.client.records import (
    JobPage,
    JobRecord,
    Operation,
    Overview,
    job_of,
    operations_of,
    overview_of,
    page_of,
)
from app.client.steps import Deliver, Pause, Request, Send, Steps
from app.jobs.encoding import encode_json
from telemetry.names import State
from telemetry.propagation import inject

API: Final = "v1"
LONG_POLL_S: Final = 20.0
"""Seconds of one wait: what stands between may cut an answer that takes longer."""

Job = JobRecord | str
"""A job, by its record or its id."""


class JobOptions(TypedDict, total=False):
    """What a submission may say beside operation and params; a test compares it with the server's.

    README.md says what each means. Times are in seconds.
    """

    priority: str | None
    tags: Mapping[str, str]
    metadata: Mapping[str, Any]
    start: str
    attach_timeout_s: float | None
    timeout_s: float | None
    queue_timeout_s: float | None
    deadline_s: float | None
    retry: Mapping[str, Any] | None
    concurrency_key: str | None
    cancel_when_unwatched: bool


class JobFilter(TypedDict, total=False):
    """Which jobs to list; what is left out does not matter. All tags must hold."""

    state: str | Sequence[str]
    operation: str
    tag: str | Sequence[str]
    text: str
    since: datetime | str
    until: datetime | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What all calls and streams of a client share.

    `timeout_s` is how long an answer may take, `silence_s` how long a stream may say nothing at
    all, heartbeats included. `now` gives seconds that never go back, `uniform` 0 up to 1.
    """

    patience: Patience
    timeout_s: float
    silence_s: float
    now: Callable[[], float]
    uniform: Callable[[], float]

    def tries(self, within_s: float) -> Tries:
        """The tries of one call or stream."""
        return Tries(within_s, now=self.now, uniform=self.uniform)


def _once(idempotency_key: str | None) -> dict[str, str]:
    """The header by which a request that is sent twice is done once."""
    return {"idempotency-key": uuid.uuid4().hex if idempotency_key is None else idempotency_key}


class Calls:
    """The calls, each as steps that return what it is for."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def submit(
        self,
        operation: str,
        params: Mapping[str, Any] | None,
        idempotency_key: str | None,
        options: JobOptions,
    ) -> Steps[JobRecord]:
        """A new job; sent again with the same key, it is the same job."""
        body = {"operation": operation, "params": dict(params or {}), **options}
        request = self._request("POST", f"{API}/jobs", body=body, headers=_once(idempotency_key))
        return job_of((yield from self._exchange(request, repeatable=True)).content)

    def get(self, job: Job) -> Steps[JobRecord]:
        """The record as it is now."""
        request = self._request("GET", job_path(job))
        return job_of((yield from self._exchange(request, repeatable=True)).content)

    def wait(self, job: Job, within_s: float | None) -> Steps[JobRecord]:
        """The record once the job has ended."""
        begun = self._link.now()
        while True:
            asked_at = self._link.now()
            left = math.inf if within_s is None else max(0.0, begun + within_s - asked_at)
            poll_s = min(left, LONG_POLL_S)
            request = self._request(
                "GET", job_path(job), query={"wait": f"{poll_s:.3f}"}, longer_s=poll_s
            )
            record = job_of((yield from self._follow_up(request, left)).content)
            if record.ended:
                return record
            if within_s is not None and self._link.now() >= begun + within_s:
                raise NotFinished(record, within_s)
            if self._link.now() - asked_at < poll_s / 2:  # somebody between does not wait
                yield Pause(min(poll_s, 1.0))

    def result(self, job: Job, within_s: float | None) -> Steps[Any]:
        """What the handler returned, once the job has completed."""
        record = yield from self.wait(job, within_s)
        if record.state == State.CANCELLED:
            raise JobCancelled(record)
        if record.state != State.COMPLETED:
            raise JobFailed(record)
        return record.result

    def cancel(self, job: Job) -> Steps[JobRecord]:
        """Ask it to stop."""
        request = self._request("POST", job_path(job, "cancel"), body={})
        return job_of((yield from self._exchange(request, repeatable=False)).content)

    def retry(
        self,
        job: Job,
        operation: str | None,
        params: Mapping[str, Any] | None,
        idempotency_key: str | None,
        changes: JobOptions,
    ) -> Steps[JobRecord]:
        """A new job that repeats it; sent again with the same key, it is the same new job."""
        given = {"operation": operation, "params": None if params is None else dict(params)}
        body = {name: value for name, value in given.items() if value is not None} | {**changes}
        sent = _once(idempotency_key)
        request = self._request("POST", job_path(job, "retry"), body=body, headers=sent)
        return job_of((yield from self._exchange(request, repeatable=True)).content)

    def delete(self, job: Job) -> Steps[None]:
        """Forget it."""
        yield from self._exchange(self._request("DELETE", job_path(job)), repeatable=False)

    def operations(self) -> Steps[tuple[Operation, ...]]:
        """What can be run."""
        request = self._request("GET", f"{API}/operations")
        return operations_of((yield from self._exchange(request, repeatable=True)).content)

    def overview(self) -> Steps[Overview]:
        """The server in numbers."""
        request = self._request("GET", f"{API}/overview")
        return overview_of((yield from self._exchange(request, repeatable=True)).content)

    def page(
        self, cursor: str | None, limit: int | None, **chosen: Unpack[JobFilter]
    ) -> Steps[JobPage]:
        """One page of jobs."""
        query: dict[str, Any] = {**chosen, "cursor": cursor, "limit": limit}
        request = self._request("GET", f"{API}/jobs", query=query)
        return page_of((yield from self._exchange(request, repeatable=True)).content)

    def list(self, limit: int | None, **chosen: Unpack[JobFilter]) -> Steps[None]:
        """Delivers every record, asking for a page when the one before has been taken."""
        cursor: str | None = None
        while True:
            page = yield from self.page(cursor, limit, **chosen)
            for each in page.jobs:
                yield Deliver(each)
            cursor = page.next
            if cursor is None:
                return

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        longer_s: float = 0.0,
    ) -> Request:
        sent = {"accept": "application/json", **inject(), **(headers or {})}
        if body is not None:
            sent["content-type"] = "application/json"
        return Request(
            method=method,
            path=path,
            query=query_of(query or {}),
            headers=sent,
            content=None if body is None else encode_json(body),
            silence_s=self._link.timeout_s + longer_s,
        )

    def _follow_up(self, request: Request, within_s: float) -> Steps[httpx.Response]:
        """A read that goes on over a restart of the server, as streams do."""
        tries = self._link.tries(min(self._link.patience.streams_s, within_s))
        return self._sent(request, tries, repeatable=True, passing=GATEWAY)

    def _exchange(self, request: Request, *, repeatable: bool) -> Steps[httpx.Response]:
        """The successful answer to `request`, or the error that it is."""
        tries = self._link.tries(self._link.patience.calls_s)
        tries.begun()
        return self._sent(request, tries, repeatable=repeatable)

    def _sent(
        self,
        request: Request,
        tries: Tries,
        *,
        repeatable: bool,
        passing: frozenset[int] = frozenset(),
    ) -> Steps[httpx.Response]:
        """The successful answer to `request`.

        It is sent again where that can do no harm: nothing of it had left, or it is `repeatable`
        (a read, or a submission with its key); answers in `passing` are failures of that kind.
        """
        busy = self._link.tries(self._link.patience.busy_s)
        while True:
            try:
                response: httpx.Response = yield Send(request)
            except httpx.RequestError as error:
                harmless = isinstance(error, NEVER_SENT)
                again = harmless or (repeatable and isinstance(error, PASSING))
                pause = self._pause(tries) if again else None
                if pause is None:
                    raise unreachable(error, tries=tries.count) from error
            else:
                if response.is_success:
                    return response
                refusal = refused(response)
                if response.status_code in passing:
                    pause = self._pause(tries)
                elif isinstance(refusal, Busy):
                    wished = refusal.retry_after_s
                    pause = self._pause(busy) if wished is None else busy.exactly(wished)
                else:
                    pause = None
                if pause is None:
                    raise refusal
            yield Pause(pause)

    def _pause(self, tries: Tries) -> float | None:
        return tries.pause(FIRST_PAUSE_S, longest_s=self._link.patience.longest_pause_s)


def job_path(job: Job, *parts: str) -> str:
    """The path of a job, or of a part of it.

    Raises:
        ValueError: the id is empty or dots, which would be another path.

    """
    job_id = job if isinstance(job, str) else job.id
    if not job_id.strip("."):
        raise ValueError(f"the id of a job is not {job_id!r}")
    return "/".join((API, "jobs", quote(job_id, safe=""), *parts))


def query_of(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Query parameters: None is left out, a list is repeated."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        several = isinstance(value, Sequence) and not isinstance(value, str)
        pairs += [
            (name, _text(each)) for each in (value if several else [value]) if each is not None
        ]
    return tuple(pairs)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)

"""Routes of jobs: submit, list, read, cancel, retry, forget. They translate; the engine decides."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import FastAPI, Query, Request
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from app.http.access import CANCEL, READ, SUBMIT
from app.http.body import read_json
from app.http.openapi import body_of, ok, problems
from app.http.problems import INVALID, Problem
from app.http.records import accepted, mounted, record_response
from app.http.routes import get_route, write_route
from app.http.serving import (
    API,
    JsonResponse,
    Serving,
    headers,
    invalid_submission,
    refuse_unknown_parameters,
    root_path,
    validated,
)
from app.jobs.errors import Conflict
from app.jobs.idempotency import body_hash, retry_hash
from app.jobs.record import JobRecord
from app.jobs.registry import MAX_PAGE, JobFilter
from app.jobs.submission import RetryChanges, Submission
from telemetry.names import State
from telemetry.propagation import extract

MAX_WAIT_S: Final = 3600.0
MAX_KEY: Final = 255
"""Characters of an Idempotency-Key."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ListQuery(BaseModel):
    """What to list, newest first."""

    model_config = ConfigDict(extra="forbid")

    state: list[State] = Field(default=[], description="Only these states; may be repeated.")
    operation: str | None = Field(default=None, description="Only this operation.")
    tag: list[str] = Field(
        default=[],
        description="Only jobs with this tag: `key`, or `key:value`; repeated, all must hold.",
    )
    text: str | None = Field(
        default=None,
        max_length=200,
        description="Only jobs with this in id, operation, tags or params, whatever its case.",
    )
    since: AwareDatetime | None = Field(default=None, description="Created at or after this time.")
    until: AwareDatetime | None = Field(default=None, description="Created before this time.")
    limit: int = Field(default=100, ge=1, le=MAX_PAGE, description="Jobs on one page.")
    cursor: str | None = Field(default=None, description="`next` of the page before.")


class RecordQuery(BaseModel):
    """How to read one job."""

    model_config = ConfigDict(extra="forbid")

    wait: float | None = Field(
        default=None,
        ge=0,
        le=MAX_WAIT_S,
        allow_inf_nan=False,
        description="Seconds to wait for the job's end; the record as it then is, either way.",
    )


class JobPage(BaseModel):
    """One page of jobs."""

    jobs: list[JobRecord]
    next: str | None = Field(description="The cursor of the next page; null on the last.")
    total: int = Field(description="All jobs that match.")


class JobRoutes:
    """The routes under `/v1/jobs` that deal in records."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def submit(self, request: Request) -> Response:
        """Submit a job.

        Params are validated against the operation's own signature before anything is queued. With
        an `Idempotency-Key`, a repeated request answers with the first one's job.
        """
        refuse_unknown_parameters(request, ())
        key = idempotency_key(request)
        body = await read_json(request, limit=self._serving.settings.max_body_bytes)
        submission = validated(Submission, body)
        engine, tenant = self._serving.engine(), self._serving.tenant(request)
        taken = engine.submit(
            submission,
            parent=caller_context(request),
            idempotency_key=key,
            body_hash=None if key is None else body_hash(body),
            tenant=tenant,
        )
        record = engine.record(taken.job_id, tenant=tenant)
        await engine.settled(taken.job_id)
        return accepted(record, request, taken.status)

    async def list(self, request: Request, query: Annotated[ListQuery, Query()]) -> Response:
        """List jobs, newest first, page by page."""
        chosen = JobFilter(
            states=frozenset(query.state),
            operation=query.operation,
            tag=tuple(query.tag),
            text=query.text,
            since=nanoseconds(query.since),
            until=nanoseconds(query.until),
        )
        engine, tenant = self._serving.engine(), self._serving.tenant(request)
        page = engine.find(chosen, query.cursor, query.limit, tenant=tenant)
        await engine.settled(*[each.id for each in page.jobs])
        prefix = root_path(request)
        content = JobPage.model_construct(
            jobs=[mounted(record, prefix) for record in page.jobs],
            next=page.next,
            total=page.total,
        )
        return JsonResponse(content.model_dump_json().encode())

    async def record(
        self, request: Request, job_id: str, query: Annotated[RecordQuery, Query()]
    ) -> Response:
        """Read a job; with `wait`, once it has ended or the time is over."""
        engine, tenant = self._serving.engine(), self._serving.tenant(request)
        if query.wait is None:
            async with self._kept(job_id):
                record = engine.record(job_id, tenant=tenant)
            return record_response(record, request)
        return record_response(await engine.wait(job_id, query.wait, tenant=tenant), request)

    async def cancel(self, request: Request, job_id: str) -> Response:
        """Ask a job to stop; may be repeated while it is `cancelling`."""
        refuse_unknown_parameters(request, ())
        body = await read_json(request, limit=self._serving.settings.max_body_bytes)
        if body not in (None, {}):
            raise Problem(INVALID, "A cancel has no body, or {}.")
        engine = self._serving.engine()
        async with self._kept(job_id):
            record = engine.cancel(job_id, tenant=self._serving.tenant(request))
        return record_response(record, request, 202)

    async def retry(self, request: Request, job_id: str) -> Response:
        """Run a finished job again as a new job, as it was or with changed fields.

        With an `Idempotency-Key`, a repeated request answers with the first one's new job. It is
        one of the same keys as submissions have: one that was sent for another request is a 422.
        """
        refuse_unknown_parameters(request, ())
        key = idempotency_key(request)
        body = await read_json(request, limit=self._serving.settings.max_body_bytes)
        changes = None if body is None else validated(RetryChanges, body)
        engine = self._serving.engine()
        async with self._kept(job_id):
            try:
                record = engine.retry(
                    job_id,
                    changes,
                    caller_context(request),
                    idempotency_key=key,
                    body_hash=None if key is None else retry_hash(job_id, body),
                    tenant=self._serving.tenant(request),
                )
            except ValidationError as error:  # of the old submission and the changes together
                raise invalid_submission(error) from None
        await engine.settled(record.id)
        return accepted(record, request, 202)

    async def forget(self, request: Request, job_id: str) -> Response:
        """Forget a finished job: its record, its story, its trace."""
        refuse_unknown_parameters(request, ())
        engine = self._serving.engine()
        async with self._kept(job_id):
            engine.forget(job_id, tenant=self._serving.tenant(request))
        return Response(status_code=204)

    @asynccontextmanager
    async def _kept(self, job_id: str) -> AsyncIterator[None]:
        """What is told of a job afterwards is kept, a refusal too that says how the job is.

        One that says that it is not there waits for nothing: it may be another's.
        """
        try:
            yield
        except Conflict:
            await self._serving.engine().settled(job_id)
            raise
        await self._serving.engine().settled(job_id)


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the routes of jobs."""
    routes = JobRoutes(serving)
    jobs, job = f"{API}/jobs", f"{API}/jobs/{{job_id}}"
    write_route(
        app,
        "POST",
        jobs,
        routes.submit,
        guard=SUBMIT,
        status_code=202,
        tags=["jobs"],
        responses={
            **ok(202, JobRecord, location=True),
            **problems(400, 404, 413, 415, 422, 429, 503),
        },
        openapi_extra=body_of(Submission, required=True, parameters=[_IDEMPOTENCY_KEY]),
    )
    get_route(
        app,
        jobs,
        routes.list,
        guard=READ,
        tags=["jobs"],
        responses={**ok(200, JobPage), **problems(422, 503)},
    )
    get_route(
        app,
        job,
        routes.record,
        guard=READ,
        tags=["jobs"],
        responses={**ok(200, JobRecord), **problems(404, 422, 503)},
    )
    write_route(
        app,
        "POST",
        f"{job}/cancel",
        routes.cancel,
        guard=CANCEL,
        status_code=202,
        tags=["jobs"],
        responses={**ok(202, JobRecord), **problems(400, 404, 409, 413, 415, 422, 503)},
    )
    write_route(
        app,
        "POST",
        f"{job}/retry",
        routes.retry,
        guard=SUBMIT,
        status_code=202,
        tags=["jobs"],
        responses={
            **ok(202, JobRecord, location=True),
            **problems(400, 404, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=body_of(RetryChanges, required=False, parameters=[_IDEMPOTENCY_KEY]),
    )
    write_route(
        app,
        "DELETE",
        job,
        routes.forget,
        guard=CANCEL,
        status_code=204,
        tags=["jobs"],
        responses=problems(404, 409, 422, 503),
    )


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key header, if there is one (IETF draft of that name).

    Raises:
        Problem: 422, if it is repeated, empty, too long or not printable ASCII.

    """
    given = headers(request, b"idempotency-key")
    if not given:
        return None
    key = given[0]
    if len(given) == 1 and 0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable():
        return key
    legal = f"one header of 1 to {MAX_KEY} printable ASCII characters"
    entry = {"loc": ["header", "Idempotency-Key"], "message": f"Should be {legal}"}
    raise Problem(INVALID, f"An Idempotency-Key is {legal}.", members={"errors": [entry]})


def caller_context(request: Request) -> Context:
    """The parent of a job's span: the caller's span (W3C), else the request's own, if any."""
    context = extract(request.scope["headers"])
    called = trace.get_current_span(context).get_span_context().is_valid
    return context if called else otel_context.get_current()


def nanoseconds(time: datetime | None) -> int | None:
    """`time` since the Unix epoch; exact, for any date that there is."""
    if time is None:
        return None
    since = time - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeating a request with the same key answers with the first one's job.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
}

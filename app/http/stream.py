"""Routes of streams: one job's story, and the state changes of all the caller's jobs, live.

Where a stream begins and what it looks like is `narration`'s; here is only who counts as a watcher:
a 200 on a following GET.
"""

from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.http.access import FEED, READ, STREAM, TOKEN, job_stream
from app.http.body import read_json
from app.http.durable import LIVE, MOST_LONG_POLL_S, DurableRead, is_durable
from app.http.openapi import ok, problems
from app.http.problems import INVALID, Problem
from app.http.routes import get_route, write_route
from app.http.serving import (
    API,
    JSON,
    NDJSON,
    Serving,
    invalid_parameter,
    json_response,
    refuse_unknown_parameters,
    root_path,
)
from narration.log import NarrationLog
from narration.resume import InvalidStreamQuery, StreamQuery, parse_query
from narration.sse import Departure, stream_response
from narration.view import Format, Mode
from telemetry.clock import rfc3339
from telemetry.names import Level, StreamEvent

if TYPE_CHECKING:
    from app.engine.open_streams import OpenStreams

EVENT_STREAM: Final = "text/event-stream"
_PARAMETERS: Final = ("mode", "format", "level", "from", "tail", "follow", "last_event_id")


class StreamRoutes:
    """The two streams."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def job(self, request: Request, job_id: str) -> Response:
        """Follow a job's story: replayed from its beginning, then live, to its `end`.

        204 once all of it was read: there is nothing to come. `Last-Event-ID` (header, else query)
        goes before `from`, `from` before `tail`. With `offset` it is read as a Durable Stream: see
        narration/STREAM.md.
        """
        caller = self._serving.access.caller(request)
        engine, tenant, streams = self._serving.engine(), caller.tenant, self._streams()

        def attached() -> None:
            streams.opened(tenant)
            engine.attached(job_id)

        def detached(who: Departure) -> None:
            streams.closed(tenant)
            engine.detached(job_id, by_client=who is Departure.CLIENT)

        if is_durable(request):
            log = engine.log(job_id, tenant=tenant)
            if "live" in request.query_params:
                streams.check(tenant)
            return DurableRead(
                request,
                log,
                engine.streams,
                self._serving.cursors,
                on_attach=attached,
                on_detach=detached,
                owner=caller.key_id,
            ).response()
        query = stream_query(request)
        log = engine.log(job_id, tenant=tenant)
        if not query.follow:
            return self._stream(request, log, query)
        if request.method == "GET":
            streams.check(tenant)
        return stream_response(
            log,
            query,
            engine.streams,
            on_attach=attached,
            on_detach=detached,
            owner=caller.key_id,
        )

    async def all(self, request: Request) -> Response:
        """Follow the state changes of all jobs.

        The ids are this stream's own, over a bounded ring; a `gap` means: list the jobs again.
        """
        query = stream_query(request)
        feed = self._serving.engine().feed(self._serving.tenant(request))
        return self._stream(request, feed, query)

    async def job_token(self, request: Request, job_id: str) -> Response:
        """Make a token that opens the job's stream for a short time.

        For `EventSource`, which can send no header: the link in `stream` has it.
        """
        await self._refuse_body(request)
        record = self._serving.engine().record(job_id, tenant=self._serving.tenant(request))
        return self._token(request, job_stream(record.id), f"{API}/jobs/{record.id}/stream")

    async def all_token(self, request: Request) -> Response:
        """Make a token that opens the stream of all jobs for a short time."""
        await self._refuse_body(request)
        return self._token(request, FEED, f"{API}/stream")

    def _stream(self, request: Request, log: NarrationLog, query: StreamQuery) -> Response:
        """A stream that nobody waits for: it is counted, and no more."""
        caller, streams = self._serving.access.caller(request), self._streams()
        if request.method == "GET":
            streams.check(caller.tenant)
        return stream_response(
            log,
            query,
            self._serving.engine().streams,
            on_attach=lambda: streams.opened(caller.tenant),
            on_detach=lambda _: streams.closed(caller.tenant),
            owner=caller.key_id,
        )

    def _streams(self) -> "OpenStreams":
        return self._serving.engine().open_streams

    async def _refuse_body(self, request: Request) -> None:
        refuse_unknown_parameters(request, ())
        body = await read_json(request, limit=self._serving.settings.max_body_bytes)
        if body not in (None, {}):
            raise Problem(INVALID, "A token is made without a body, or with {}.")

    def _token(self, request: Request, stream: str, path: str) -> Response:
        issued = self._serving.access.token(request, stream)
        content = {
            "token": issued.token,
            "expires_at": rfc3339(issued.expires_ns),
            "stream": f"{root_path(request)}{path}?{TOKEN}={issued.token}",
        }
        return json_response(content, 201)


class StreamToken(BaseModel):
    """What opens one stream for a short time."""

    token: str
    expires_at: str = Field(description="RFC 3339, in UTC, with microseconds.")
    stream: str = Field(description="The link to the stream, with the token in it.")


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the two streams."""
    routes = StreamRoutes(serving)
    get_route(
        app,
        f"{API}/jobs/{{job_id}}/stream",
        routes.job,
        guard=STREAM,
        tags=["streams"],
        responses={
            **_with_segments(),
            204: {"description": "All was read, or a long-poll's time is over."},
            304: {"description": "The segment is the one that the client has."},
            **problems(400, 404, 410, 422, 429),
        },
        openapi_extra={"parameters": [*_documented(), *_DURABLE]},
    )
    get_route(
        app,
        f"{API}/stream",
        routes.all,
        guard=STREAM,
        tags=["streams"],
        responses={**_STREAMED, **problems(422, 429)},
        openapi_extra={"parameters": _documented()},
    )
    for path, make in (
        (f"{API}/jobs/{{job_id}}/stream-token", routes.job_token),
        (f"{API}/stream-token", routes.all_token),
    ):
        missing = problems(404) if "job_id" in path else {}
        write_route(
            app,
            "POST",
            path,
            make,
            guard=READ,
            status_code=201,
            tags=["streams"],
            responses={**ok(201, StreamToken), **missing, **problems(400, 413, 415, 422)},
        )


def stream_query(request: Request) -> StreamQuery:
    """What the client asks of a stream.

    Raises:
        Problem: 422 for a parameter or a value that means nothing; it names the legal ones.

    """
    refuse_unknown_parameters(request, _PARAMETERS)
    try:
        return parse_query(request.query_params, request.headers.get("last-event-id"))
    except InvalidStreamQuery as error:
        raise invalid_parameter(error.field, str(error), error.legal) from None


_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "One event; `data` is JSON, or text with `format=text`.",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "description": "Opaque; what Last-Event-ID takes."},
        "event": {
            "enum": [*(each.value for each in StreamEvent), "message"],
            "description": "Left out, which means `message`, with `format=text`.",
        },
        "data": {"type": "string"},
        "retry": {"type": "integer", "description": "Milliseconds; sent once."},
    },
}
_STREAMED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events as they come: `state`, `narration`, `progress`, `output`, `gap`, "
        "`draining` and, last, `end`.",
        "content": {
            EVENT_STREAM: {"schema": _EVENT},
            NDJSON: {"schema": {"type": "string"}},
        },
    }
}

_ITEM: Final = {
    "type": "object",
    "description": "One event with its name among its data.",
    "required": ["event"],
    "properties": {"event": {"enum": [each.value for each in StreamEvent]}},
}
_DURABLE: Final[list[dict[str, Any]]] = [
    {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
    for name, schema, text in (
        (
            "offset",
            {"type": "string"},
            "Read as a Durable Stream from here: `-1`, `now` or a Stream-Next-Offset.",
        ),
        ("live", {"enum": [*LIVE]}, "With `offset`: wait for what is to come."),
        ("cursor", {"type": "string"}, "With `live`: the last Stream-Cursor."),
        (
            "timeout",
            {"type": "number", "minimum": 0, "maximum": MOST_LONG_POLL_S},
            "Seconds that a long-poll waits.",
        ),
    )
]


def _with_segments() -> dict[int | str, dict[str, Any]]:
    """The answers of a stream that can be read as a Durable Stream too."""
    streamed = _STREAMED[200]
    segments = {JSON: {"schema": {"type": "array", "items": _ITEM}}}
    return {200: {**streamed, "content": {**streamed["content"], **segments}}}


def _documented() -> list[dict[str, Any]]:
    whole = {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999_999}
    described: list[tuple[str, dict[str, Any], str]] = [
        ("mode", {"enum": [each.value for each in Mode]}, "Which phrasing becomes `text`."),
        ("format", {"enum": [each.value for each in Format]}, "The form of the stream."),
        ("level", {"enum": [each.label for each in Level]}, "The least level of narration."),
        ("from", whole, "Begin with this sequence."),
        ("tail", whole, "Begin with the newest N events, as filtered."),
        ("follow", {"enum": ["true", "false"]}, "Whether to wait for what is to come."),
        ("last_event_id", {"type": "string"}, "Begin after this id, as the header would."),
    ]
    parameters = [
        {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
        for name, schema, text in described
    ]
    return [
        *parameters,
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "Begin after this id.",
            "schema": {"type": "string"},
        },
    ]

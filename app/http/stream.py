"""Routes of streams: one job's story, and the state changes of all jobs, live.

Where a stream begins and what it looks like is `narration`'s; here is only who counts as a watcher:
a 200 on a following GET.
"""

from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import Response

from app.http.durable import LIVE, MOST_LONG_POLL_S, DurableRead, is_durable
from app.http.openapi import problems
from app.http.routes import get_route
from app.http.serving import (
    API,
    JSON,
    NDJSON,
    Serving,
    invalid_parameter,
    refuse_unknown_parameters,
)
from narration.resume import InvalidStreamQuery, StreamQuery, parse_query
from narration.sse import Departure, stream_response
from narration.view import Format, Mode
from telemetry.names import Level, StreamEvent

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
        engine = self._serving.engine()

        def attached() -> None:
            engine.attached(job_id)

        def detached(who: Departure) -> None:
            engine.detached(job_id, by_client=who is Departure.CLIENT)

        if is_durable(request):
            return DurableRead(
                request,
                engine.log(job_id),
                engine.streams,
                self._serving.cursors,
                on_attach=attached,
                on_detach=detached,
            ).response()
        query = stream_query(request)
        log = engine.log(job_id)
        if not query.follow:
            return stream_response(log, query, engine.streams)
        return stream_response(log, query, engine.streams, on_attach=attached, on_detach=detached)

    async def all(self, request: Request) -> Response:
        """Follow the state changes of all jobs.

        The ids are this stream's own, over a bounded ring; a `gap` means: list the jobs again.
        """
        query = stream_query(request)
        engine = self._serving.engine()
        return stream_response(engine.feed, query, engine.streams)


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the two streams."""
    routes = StreamRoutes(serving)
    get_route(
        app,
        f"{API}/jobs/{{job_id}}/stream",
        routes.job,
        tags=["streams"],
        responses={
            **_with_segments(),
            204: {"description": "All was read, or a long-poll's time is over."},
            304: {"description": "The segment is the one that the client has."},
            **problems(400, 404, 410, 422),
        },
        openapi_extra={"parameters": [*_documented(), *_DURABLE]},
    )
    get_route(
        app,
        f"{API}/stream",
        routes.all,
        tags=["streams"],
        responses={**_STREAMED, **problems(422)},
        openapi_extra={"parameters": _documented()},
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

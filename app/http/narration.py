"""The route of a story so far, as one document or as lines."""

from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.http.access import READ
from app.http.openapi import ok, problems
from app.http.routes import get_route
from app.http.serving import API, JSON, NDJSON, Serving
from narration.view import Format, View, document, render


class Form(StrEnum):
    """The forms of a story that is not followed."""

    JSON = "json"
    NDJSON = "ndjson"


class NarrationQuery(BaseModel):
    """How to read a story."""

    model_config = ConfigDict(extra="forbid")

    format: Form | None = Field(default=None, description="Goes before the Accept header.")


class StoredEvent(BaseModel):
    """One event of a story."""

    id: str
    event: str
    data: dict[str, Any]


class StorySoFar(BaseModel):
    """What is kept of a story: `first` is the oldest sequence, `next` the one to come."""

    epoch: str
    first: int
    next: int
    events: list[StoredEvent]


class NarrationRoutes:
    """The story so far."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def story(
        self, request: Request, job_id: str, query: Annotated[NarrationQuery, Query()]
    ) -> Response:
        """Read the story so far; does not count as watching."""
        log = self._serving.engine().log(job_id, tenant=self._serving.tenant(request))
        if (query.format or accepted_form(request)) is Form.JSON:
            return Response(document(View(), log, log.first), media_type=JSON)
        lines = render(View(format=Format.NDJSON), log, log.first, log.entries())
        return Response(lines.data, media_type=NDJSON)


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the route of the story so far."""
    get_route(
        app,
        f"{API}/jobs/{{job_id}}/narration",
        NarrationRoutes(serving).story,
        guard=READ,
        tags=["streams"],
        responses={**_DOCUMENTED, **problems(404, 422)},
    )


def accepted_form(request: Request) -> Form:
    """NDJSON where the Accept header names it, else JSON."""
    accept = request.headers.get("accept", "").lower()
    return Form.NDJSON if NDJSON in accept else Form.JSON


_DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = ok(200, StorySoFar)
_DOCUMENTED[200]["content"] = {NDJSON: {"schema": {"type": "string"}}}

"""The route of the server's state in numbers, for people's views of it: console and `top`.

The same facts as the gauges of `/metrics`, of the caller's own jobs, in one small JSON object that
is cheap to ask for often.
"""

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.http.access import READ
from app.http.openapi import ok, problems
from app.http.routes import get_route
from app.http.serving import API, Serving, json_response, refuse_unknown_parameters


class Waiting(BaseModel):
    """Queued jobs of one priority."""

    depth: int
    oldest_age_s: float = Field(description="How long the oldest has waited; 0 where none waits.")


class Overview(BaseModel):
    """The server as it is now."""

    at: str
    slots: int = Field(description="Jobs that may run at once.")
    running: dict[str, int] = Field(description="Jobs that hold a slot, by operation.")
    retrying: dict[str, int] = Field(description="Jobs that wait for their retry, by operation.")
    queue: dict[str, Waiting] = Field(description="By priority, the highest first.")
    deferred: int = Field(description="Jobs that wait for their first stream.")
    states: dict[str, int] = Field(description="Jobs that are kept, by state.")
    streams: int = Field(description="Open streams.")
    draining: bool


class OverviewRoutes:
    """The state in numbers."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def overview(self, request: Request) -> Response:
        """Say how many jobs wait, run and are kept."""
        refuse_unknown_parameters(request, ())
        return json_response(self._serving.engine().overview(self._serving.tenant(request)))


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the route of the overview."""
    get_route(
        app,
        f"{API}/overview",
        OverviewRoutes(serving).overview,
        guard=READ,
        tags=["operation of the server"],
        responses={**ok(200, Overview), **problems(422)},
    )

"""Whether the process lives, and whether it should be sent work."""

from typing import Final

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.http.openapi import ok, problems
from app.http.problems import NOT_READY, Problem, retry_after
from app.http.routes import get_route
from app.http.serving import Serving, json_response


class Alive(BaseModel):
    """The process answers."""

    status: str


class Ready(BaseModel):
    """The server takes work; `checks` says what was looked at."""

    status: str
    checks: dict[str, bool]


class HealthRoutes:
    """Two probes."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def live(self, request: Request) -> Response:  # noqa: ARG002 — FastAPI's form
        """Whether the event loop turns."""
        return json_response({"status": "alive"})

    async def ready(self, request: Request) -> Response:  # noqa: ARG002 — FastAPI's form
        """Whether work should be sent here; 503 from the beginning of a drain."""
        engine = self._serving.engine()
        checks = engine.ready()
        if all(checks.values()):
            return json_response({"status": "ready", "checks": checks})
        failed = ", ".join(name for name, holds in checks.items() if not holds)
        wait_s = self._serving.settings.drain_s if engine.draining else 1
        raise Problem(
            NOT_READY,
            f"Not ready: {failed}.",
            members={"checks": checks},
            headers={"retry-after": retry_after(wait_s)},
        )


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the probes."""
    routes = HealthRoutes(serving)
    get_route(app, "/livez", routes.live, tags=_TAGS, responses=ok(200, Alive))
    get_route(
        app, "/readyz", routes.ready, tags=_TAGS, responses={**ok(200, Ready), **problems(503)}
    )


_TAGS: Final = ["operation of the server"]

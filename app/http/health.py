"""Whether the process lives, and whether it should be sent work."""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.http.access import OPEN
from app.http.openapi import ok, problems
from app.http.problems import NOT_READY, Problem, retry_after
from app.http.routes import get_route
from app.http.serving import Serving, json_response
from telemetry.export import ExportState


class Alive(BaseModel):
    """The process answers."""

    status: str


class ExporterWarning(BaseModel):
    """A signal does not reach the collector. Jobs, their stories and metrics are unharmed."""

    name: str
    signal: str = Field(description="What is lost: `traces` (spans) or `logs` (log records).")
    message: str
    queue: int = Field(description="Items that wait for export.")
    failed: int = Field(description="Items that could not be sent, since the start.")
    dropped: int = Field(description="Items that found no room, since the start.")
    since_success_s: float | None = Field(
        description="Seconds since items were sent; null if none were."
    )


class AccessWarning(BaseModel):
    """Something is wrong with the keys file; the keys that were there are good."""

    name: str
    message: str


class Ready(BaseModel):
    """The server takes work; `checks` says what was looked at, `warnings` what is wrong besides.

    Who has no key, where one is needed, is told neither.
    """

    status: str
    checks: dict[str, bool]
    warnings: list[ExporterWarning | AccessWarning]


class HealthRoutes:
    """Two probes."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def live(self, request: Request) -> Response:  # noqa: ARG002 — FastAPI's form
        """Whether the event loop turns."""
        return json_response({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """Whether work should be sent here; 503 from the beginning of a drain."""
        engine, access = self._serving.engine(), self._serving.access
        checks, known = engine.ready(), access.known(request)
        warnings = [*_warnings(self._serving.exporting()), *_told(access.warnings())]
        told = {"checks": checks, "warnings": warnings} if known else {"checks": {}, "warnings": []}
        if all(checks.values()):
            return json_response({"status": "ready", **told})
        failed = ", ".join(name for name, holds in checks.items() if not holds)
        wait_s = self._serving.settings.drain_s if engine.draining else 1
        raise Problem(
            NOT_READY,
            f"Not ready: {failed}." if known else "Not ready.",
            members=told,
            headers={"retry-after": retry_after(wait_s) if known else "1"},
        )


def _warnings(exports: Iterable[ExportState]) -> list[dict[str, Any]]:
    """What is wrong, and no reason to send no work: nobody's job needs a collector."""
    return [_warning(export) for export in exports if export.losing]


def _told(warnings: Iterable[str]) -> list[dict[str, Any]]:
    return [{"name": "keys", "message": each} for each in warnings]


def _warning(export: ExportState) -> dict[str, Any]:
    since_s = export.since_success_s
    last = "none were sent yet" if since_s is None else f"the last were sent {since_s:.0f} s ago"
    return {
        "name": "exporter",
        "signal": export.signal,
        "message": f"{export.signal.noun.capitalize()}s do not reach the collector: {last}.",
        "queue": export.waiting,
        "failed": export.failed,
        "dropped": export.dropped,
        "since_success_s": since_s,
    }


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the probes."""
    routes = HealthRoutes(serving)
    get_route(app, "/livez", routes.live, guard=OPEN, tags=_TAGS, responses=ok(200, Alive))
    get_route(
        app,
        "/readyz",
        routes.ready,
        guard=OPEN,
        tags=_TAGS,
        responses={**ok(200, Ready), **problems(503)},
    )


_TAGS: Final = ["operation of the server"]

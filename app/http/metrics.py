"""The route of the metrics: Prometheus's text, or OpenMetrics where the scraper asks for it.

A server that keeps none has nothing at the path, and says why.
"""

from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import Response

from app.http.access import ADMIN, OPEN
from app.http.openapi import problems
from app.http.problems import METRICS_OFF, Problem
from app.http.routes import get_route
from app.http.serving import Serving
from telemetry.metrics import Metrics


class MetricRoutes:
    """One scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def scrape(self, request: Request) -> Response:
        """Metrics as they are now; exemplars only in OpenMetrics."""
        body, media_type = self._metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": media_type})


async def refuse() -> Response:
    """No metrics: they are off."""
    raise Problem(METRICS_OFF, "This server counts nothing: NARRATOR_METRICS is false.")


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the route of the metrics."""
    tags = ["operation of the server"]
    guard = OPEN if serving.settings.metrics_access == "open" else ADMIN
    if serving.metrics is None:
        get_route(app, "/metrics", refuse, guard=guard, tags=tags, responses=problems(404))
    else:
        scrape = MetricRoutes(serving.metrics).scrape
        get_route(app, "/metrics", scrape, guard=guard, tags=tags, responses=_SCRAPED)


_SCRAPED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The metrics.",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/openmetrics-text": {"schema": {"type": "string"}},
        },
    }
}

"""The route of the metrics: Prometheus's text, or OpenMetrics where the scraper asks for it."""

from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import Response

from app.http.routes import get_route
from app.http.serving import Serving


class MetricRoutes:
    """One scrape."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def scrape(self, request: Request) -> Response:
        """Metrics as they are now; exemplars only in OpenMetrics."""
        body, media_type = self._serving.metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": media_type})


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the route of the metrics."""
    get_route(
        app,
        "/metrics",
        MetricRoutes(serving).scrape,
        tags=["operation of the server"],
        responses=_SCRAPED,
    )


_SCRAPED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The metrics.",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/openmetrics-text": {"schema": {"type": "string"}},
        },
    }
}

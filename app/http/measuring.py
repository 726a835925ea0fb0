"""How long each HTTP request waits for its answer: until the head is sent.

A stream's body lasts as long as its reader wants, which says nothing of the server. The route is
its template, and what is no route of ours has none: a client can't make series by asking for paths
or methods that are not there. It does not know what a route does.
"""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.metrics import Metrics

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
"""The method of a request whose own is none of `METHODS`."""
NO_ROUTE: Final = "none"
FAILED: Final = 500
"""What a client is told when the application raises."""


class RequestTimes:
    """ASGI middleware that observes one measurement a request; the outermost of ours."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and look at the head of its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = asyncio.get_running_loop().time()
        answered = False

        async def sent(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._observe(scope, message["status"], began)
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception:
            if not answered:
                self._observe(scope, FAILED, began)
            raise

    def _observe(self, scope: Scope, status: int, began: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        seconds = asyncio.get_running_loop().time() - began
        self._metrics.answered(method, route, status, seconds)

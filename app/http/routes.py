"""Adding routes to the application: documented by FastAPI, and called with as little as they need.

It knows no route.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.problems import Problem, refusal
from app.jobs.errors import NarratorError

Endpoint = Callable[..., Awaitable[Response]]


class PlainRoute(APIRoute):
    """A route whose endpoint is given the request and the path's parameters, as they are.

    FastAPI reads its signature for the document, and has nothing to solve, validate or close when
    it is called: that would cost more than a submission's own validation. What the endpoint refuses
    is answered here, so that it can be called past the framework too.
    """

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        names = tuple(self.param_convertors)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            try:
                response = await endpoint(
                    request, **{name: scope["path_params"][name] for name in names}
                )
            except (NarratorError, Problem) as error:
                response = refusal(error, request)
            await response(scope, receive, send)

        self.app = app


class Shortcut:
    """ASGI middleware that calls plain routes of a fixed path at once, past the framework.

    Routing, its layers of error handling and its stack of contexts cost as much as all that such a
    route does before the engine is called.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, PlainRoute) and not route.param_convertors
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the route, or pass on."""
        route = None
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            route = self._routes.get((scope["method"], path))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route  # as the router says it: others tell a request by its route
        await route.app(scope, receive, send)


def get_route(app: FastAPI, path: str, endpoint: Endpoint, **options: Any) -> None:
    """Add a GET, and the HEAD that goes with it (RFC 9110, 9.3.2); only GET is documented."""
    options.setdefault("summary", summary_of(endpoint))
    app.add_api_route(path, endpoint, methods=["GET"], response_class=Response, **options)
    app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)


def write_route(app: FastAPI, method: str, path: str, endpoint: Endpoint, **options: Any) -> None:
    """Add a call that changes something; it reads its own body."""
    options.setdefault("summary", summary_of(endpoint))
    app.router.add_api_route(
        path,
        endpoint,
        methods=[method],
        response_class=Response,
        route_class_override=PlainRoute,
        **options,
    )


def summary_of(endpoint: Endpoint) -> str:
    """The first line of its docstring, without the stop."""
    return (endpoint.__doc__ or "").partition("\n")[0].removesuffix(".")

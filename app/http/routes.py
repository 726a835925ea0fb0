"""Adding routes to the application: documented by FastAPI, and called with as little as they need.

Each says which scope it needs: without that none can be added. It knows no route.
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.access import Access, Guard
from app.http.problems import Problem, refusal
from app.jobs.errors import NarratorError

Endpoint = Callable[..., Awaitable[Response]]


class GuardedRoute(APIRoute):
    """A route that says what it needs; `protect` holds everyone to it."""

    def __init__(self, path: str, endpoint: Endpoint, *, guard: Guard, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.guard = guard


class PlainRoute(GuardedRoute):
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


def get_route(app: FastAPI, path: str, endpoint: Endpoint, *, guard: Guard, **options: Any) -> None:
    """Add a GET, and the HEAD that goes with it (RFC 9110, 9.3.2); only GET is documented."""
    options.setdefault("summary", summary_of(endpoint))
    kind = _kind(GuardedRoute, guard)
    for method in ("GET", "HEAD"):
        app.router.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_class=Response,
            route_class_override=kind,
            **(options if method == "GET" else {"include_in_schema": False}),
        )


def write_route(
    app: FastAPI, method: str, path: str, endpoint: Endpoint, *, guard: Guard, **options: Any
) -> None:
    """Add a call that changes something; it reads its own body."""
    options.setdefault("summary", summary_of(endpoint))
    app.router.add_api_route(
        path,
        endpoint,
        methods=[method],
        response_class=Response,
        route_class_override=_kind(PlainRoute, guard),
        **options,
    )


def protect(app: FastAPI, access: Access) -> None:
    """Hold every route to its guard.

    Raises:
        TypeError: there is a route that says not what it needs.

    """
    for route in app.router.routes:
        if not isinstance(route, GuardedRoute):
            raise TypeError(f"{route} does not say which scope it needs: add it by get_route")
        route.app = access.guarded(route.app, route.guard)


def _kind(route: type[GuardedRoute], guard: Guard) -> type[APIRoute]:
    """`route` with its guard, in the place where FastAPI wants a class to call."""
    return cast("type[APIRoute]", partial(route, guard=guard))


def summary_of(endpoint: Endpoint) -> str:
    """The first line of its docstring, without the stop."""
    return (endpoint.__doc__ or "").partition("\n")[0].removesuffix(".")

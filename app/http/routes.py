"""Adding routes to the application: documented by FastAPI, and called with as little as they need.

It knows no route.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Endpoint = Callable[..., Awaitable[Response]]


class PlainRoute(APIRoute):
    """A route whose endpoint is given the request and the path's parameters, as they are.

    FastAPI reads its signature for the document, and has nothing to solve, validate or close when
    it is called: that would cost more than a submission's own validation.
    """

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive), **scope["path_params"])
            await response(scope, receive, send)

        self.app = app


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

"""The API's documents: the OpenAPI document, and a page to read it.

The page is FastAPI's, which takes Swagger UI from a public address; its policy allows that one.
"""

from typing import Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, Response

from app.http.access import ADMIN, OPEN
from app.http.routes import get_route
from app.http.serving import Serving, json_response, root_path

DOCUMENT: Final = "/openapi.json"
PAGE: Final = "/docs"

_SWAGGER: Final = "https://cdn.jsdelivr.net"
_POLICY: Final = (
    f"default-src 'none'; script-src {_SWAGGER} 'unsafe-inline'; style-src {_SWAGGER}; "
    "img-src data: https://fastapi.tiangolo.com; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class DocumentRoutes:
    """The document and its page."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def document(self, request: Request) -> Response:
        """The OpenAPI document."""
        document = self._app.openapi()
        prefix = root_path(request)
        if prefix:
            document = {**document, "servers": [{"url": prefix}]}
        return json_response(document)

    async def page(self, request: Request) -> Response:
        """The document, to be read and tried."""
        page = get_swagger_ui_html(
            openapi_url=root_path(request) + DOCUMENT, title=f"{self._app.title} - Swagger UI"
        )
        return HTMLResponse(page.body, headers={"content-security-policy": _POLICY})


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the documents, unless they are off."""
    access = serving.settings.docs_access
    if access == "off":
        return
    routes, guard = DocumentRoutes(app), OPEN if access == "open" else ADMIN
    get_route(app, DOCUMENT, routes.document, guard=guard, include_in_schema=False)
    get_route(app, PAGE, routes.page, guard=guard, include_in_schema=False)

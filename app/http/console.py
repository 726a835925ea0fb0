"""The web console: one page for all of its views, and the files that the page is made of.

The files are packaged as they are served: there is no build step, and nothing comes from anywhere
else. The page's policy allows scripts, styles and connections of this server only, so that what a
job says can never become code. They are open to all: there is nothing of anybody's in them. This
module knows nothing of what the page shows.
"""

import hashlib
from html import escape
from importlib.resources import files
from typing import Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.http.access import OPEN
from app.http.routes import get_route
from app.http.serving import Serving, root_path

PAGES: Final = ("/", "/jobs/{job_id}", "/run")
"""Where the page is: it reads its own address."""

HEADERS: Final = {
    # Content Security Policy Level 3.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",  # asked again each time; an unchanged file is a 304
}

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE: Final = "index.html"


class ConsoleRoutes:
    """The page and its files, read once."""

    def __init__(self) -> None:
        folder = files("app.console") / "assets"
        self._files = {each.name: each.read_bytes() for each in folder.iterdir()}
        self._page = self._files.pop(_PAGE).decode()
        content = b"".join(self._files[name] for name in sorted(self._files))
        self._tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    async def page(self, request: Request) -> Response:
        """The console, whichever of its views the address names."""
        base = escape(root_path(request)) + "/"
        return Response(self._page.replace("{base}", base), media_type="text/html", headers=HEADERS)

    async def asset(self, request: Request) -> Response:
        """One file of the page."""
        name = request.path_params["name"]
        data = self._files.get(name)
        if data is None:
            raise HTTPException(404)
        headers = {**HEADERS, "etag": self._tag}
        if request.headers.get("if-none-match") == self._tag:
            return Response(status_code=304, headers=headers)
        media_type = _TYPES[name[name.rfind(".") :]]
        return Response(data, headers={**headers, "content-type": media_type})


def add_routes(app: FastAPI, serving: Serving) -> None:  # noqa: ARG001 — as all routes are added
    """Add the console."""
    routes = ConsoleRoutes()
    for path in PAGES:
        get_route(app, path, routes.page, guard=OPEN, include_in_schema=False)
    get_route(app, "/assets/{name}", routes.asset, guard=OPEN, include_in_schema=False)

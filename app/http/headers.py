"""What every answer says to browsers: run nothing of this, show it nowhere, keep it nowhere.

An answer that says something else of its own (the console's page, a cacheable segment) is left as
it is in that. This module knows no route.
"""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE: Final = {
    # A cache may keep a 404 or a 410 unless it is told not to (RFC 9110, section 15.1).
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_RAW: Final = tuple((name.encode(), value.encode()) for name, value in SAFE.items())


class SafeHeaders:
    """ASGI middleware that adds to each answer those headers of `SAFE` that it has not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add to the head of its answer."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                said = {name for name, _ in headers}
                more = [each for each in _RAW if each[0] not in said]
                message = {**message, "headers": [*headers, *more]}
            await send(message)

        await self._app(scope, receive, sent)

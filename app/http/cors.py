"""Which other pages may call this server from a browser (WHATWG Fetch, CORS): by default none.

Starlette's middleware answers; here is what it is told. A page names its key in a header itself, so
credentials that a browser would add by itself (cookies) are never allowed.
"""

from collections.abc import Sequence
from typing import Any, Final

REMEMBERED_S: Final = 600
"""How long a browser need not ask again, seconds."""


def cors(origins: Sequence[str]) -> dict[str, Any]:
    """The options of the middleware."""
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "HEAD", "POST", "DELETE"],
        "allow_headers": [
            "authorization",
            "content-type",
            "idempotency-key",
            "if-none-match",
            "last-event-id",
            "traceparent",
            "tracestate",
        ],
        "expose_headers": [
            "etag",
            "location",
            "retry-after",
            "stream-closed",
            "stream-cursor",
            "stream-next-offset",
            "stream-up-to-date",
            "www-authenticate",
        ],
        "max_age": REMEMBERED_S,
    }

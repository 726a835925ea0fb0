"""Every error as `application/problem+json` (RFC 9457): what, where, and what would be legal.

One table says which status each error of the domain has. This module knows no route and no engine.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.http.headers import SAFE
from app.jobs import errors

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:job-narrator:problem:"
BLANK: Final = "about:blank"
"""The type of a problem that is no more than its HTTP status (RFC 9457, section 4.2.1)."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of problem: its status, the last part of its `type`, and its title."""

    status: int
    slug: str
    title: str

    @property
    def type(self) -> str:
        """The URI of the kind."""
        return TYPE_PREFIX + self.slug


class Problem(Exception):  # noqa: N818 — RFC 9457's word
    """A request that HTTP itself refuses; becomes a problem document."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.members = dict(members or {})
        self.headers = dict(headers or {})


BAD_JSON: Final = Kind(status=400, slug="malformed-json", title="The body is not valid JSON")
BAD_READ: Final = Kind(status=400, slug="bad-read", title="Not a read of a Durable Stream")
BAD_HOST: Final = Kind(status=400, slug="bad-host", title="One Host header is required")
UNAUTHORIZED: Final = Kind(status=401, slug="unauthorized", title="Who are you?")
FORBIDDEN: Final = Kind(status=403, slug="forbidden", title="The key does not allow this")
FOREIGN_ORIGIN: Final = Kind(
    status=403, slug="foreign-origin", title="Written from another site's page"
)
METRICS_OFF: Final = Kind(status=404, slug="metrics-off", title="Metrics are off")
GONE: Final = Kind(status=410, slug="gone", title="What was asked for is no longer kept")
TOO_LARGE: Final = Kind(status=413, slug="body-too-large", title="The body is too large")
NOT_JSON: Final = Kind(status=415, slug="not-json", title="The body must be JSON")
MISDIRECTED: Final = Kind(status=421, slug="wrong-host", title="This server has another name")
INVALID: Final = Kind(status=422, slug="invalid-request", title="The request is not valid")
NOT_READY: Final = Kind(status=503, slug="not-ready", title="The server is not ready")

STATUSES: Final[Mapping[type[errors.NarratorError], int]] = {
    errors.InvalidInput: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.QueueFull: 429,
    errors.TenantLimit: 429,
    errors.Unavailable: 503,
}
"""The status of each branch of the domain's errors; the nearest ancestor counts."""

_PLACES: Final[Mapping[type[errors.NarratorError], tuple[str, ...]]] = {
    errors.InvalidSubmission: ("body",),
    errors.InvalidParams: ("body", "params"),
}
"""Where in a request the fields are that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A problem document and the headers that go with it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The HTTP response."""
        content = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": self.instance,
            **self.members,
        }
        return Response(
            msgspec.json.encode(content, enc_hook=str),
            status_code=self.status,
            media_type=MEDIA_TYPE,
            headers={**SAFE, **self.headers},
        )


def status_of(error: errors.NarratorError) -> int:
    """The status of a domain error."""
    return next(
        (STATUSES[ancestor] for ancestor in type(error).__mro__ if ancestor in STATUSES), 422
    )


def domain_problem(error: errors.NarratorError, instance: str) -> Document:
    """The problem document of an error of `app.jobs.errors`."""
    members: dict[str, Any] = {}
    place = _PLACES.get(type(error), ())
    wrong: Sequence[errors.FieldError] = getattr(error, "errors", ())
    if wrong:
        members["errors"] = [{**each, "loc": [*place, *each["loc"]]} for each in wrong]
    if hasattr(error, "legal"):
        members["legal"] = error.legal
    if hasattr(error, "job_id"):
        members["job_id"] = error.job_id
    retry_after_s = getattr(error, "retry_after_s", None)
    return Document(
        type=TYPE_PREFIX + error.code,
        title=error.code.replace("-", " ").capitalize(),
        status=status_of(error),
        detail=str(error),
        instance=instance,
        members=members,
        headers={} if retry_after_s is None else {"retry-after": retry_after(retry_after_s)},
    )


def http_problem(problem: Problem, instance: str) -> Document:
    """The problem document of a refusal by HTTP itself."""
    return Document(
        type=problem.kind.type,
        title=problem.kind.title,
        status=problem.kind.status,
        detail=problem.detail,
        instance=instance,
        members=problem.members,
        headers=problem.headers,
    )


def status_problem(
    status: int, instance: str, *, detail: str, headers: Mapping[str, str] | None = None
) -> Document:
    """A problem that is no more than its status: a 404 of a path, a 405, a 500."""
    return Document(
        type=BLANK,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=instance,
        headers=headers or {},
    )


def validation_problem(problems: Sequence[Mapping[str, Any]], instance: str) -> Document:
    """A 422 that names each wrong part of a request and, where there are some, the legal values."""
    told = [validation_entry(problem) for problem in problems]
    where = ", ".join(".".join(str(part) for part in entry["loc"]) for entry in told)
    legal = {
        str(entry["loc"][-1]): entry["legal"] for entry in told if entry["loc"] and "legal" in entry
    }
    return Document(
        type=INVALID.type,
        title=INVALID.title,
        status=INVALID.status,
        detail=f"Not valid: {where}." if where else "Not valid.",
        instance=instance,
        members={"errors": told, **({"legal": legal} if legal else {})},
    )


def validation_entry(problem: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of `errors`: where, what, and the legal values if they can be listed.

    The value itself is not repeated: it may be large, or secret.
    """
    entry: dict[str, Any] = {"loc": list(problem["loc"]), "message": str(problem["msg"])}
    context = problem.get("ctx") or {}
    if "legal" in context:
        entry["legal"] = context["legal"]
    elif "expected" in context:
        entry["legal"] = legal_values(str(context["expected"]))
    return entry


def legal_values(expected: str) -> list[str]:
    """The list in pydantic's "'a', 'b' or 'c'"."""
    return [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]


def retry_after(seconds: float) -> str:
    """The Retry-After header: whole seconds, rounded up, at least one (RFC 9110, 10.2.3)."""
    return str(max(1, math.ceil(seconds)))


def instance_of(request: Request) -> str:
    """Which request a problem is about: its path, as it was sent."""
    raw = request.scope.get("raw_path") or b""
    return raw.decode("ascii", "backslashreplace") or "/"


def refusal(error: errors.NarratorError | Problem, request: Request) -> Response:
    """The answer to what the domain or HTTP itself refuses."""
    instance = instance_of(request)
    if isinstance(error, Problem):
        return http_problem(error, instance).response()
    return domain_problem(error, instance).response()


def allowed_methods(app: FastAPI, request: Request) -> str:
    """The Allow header of a path: every method that some route has for it."""
    found: set[str] = set()
    for route in app.router.routes:
        match, _ = route.matches({**request.scope, "type": "http"})
        if match.value:
            found |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(found))


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.NarratorError | Problem)  # for the type checker  # noqa: S101  # nosec B101
        return refusal(error, request)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # for the type checker  # noqa: S101  # nosec B101
        return validation_problem(error.errors(), instance_of(request)).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # for the type checker  # noqa: S101  # nosec B101
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        detail = str(error.detail)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["allow"] = allowed_methods(app, request)
            detail = f"{request.method} is not possible here; legal: {headers['allow']}."
        elif error.status_code == HTTPStatus.NOT_FOUND:
            detail = "There is nothing at this path; /openapi.json lists all that there is."
        return status_problem(
            error.status_code, instance_of(request), detail=detail, headers=headers
        ).response()

    async def unexpected(request: Request, error: Exception) -> Response:
        place = instance_of(request)
        _logger.error("a defect of ours at %s %s", request.method, place, exc_info=error)
        detail = "A defect of the server; its log says more."
        return status_problem(500, place, detail=detail).response()

    app.add_exception_handler(errors.NarratorError, refused)
    app.add_exception_handler(Problem, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)

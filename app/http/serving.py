"""What every route is given, and the few things that all of them do.

It holds no state of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from fastapi import Request
from opentelemetry.sdk.resources import Resource
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from app.http.access import Access
from app.http.problems import INVALID, Problem
from app.jobs.errors import InvalidSubmission, field_error
from app.settings import Settings
from narration.durable import Cursors
from telemetry.export import ExportState
from telemetry.metrics import Metrics

if TYPE_CHECKING:
    from app.engine.engine import Engine

API: Final = "/v1"
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the routes work with. `engine` gives the running engine; it is made at start-up.

    `metrics` are None where they are off. `resource` is what OpenTelemetry knows of this process,
    for trace files; `exporting` tells how the export of spans is doing, None where there is none.
    `access` says whose a request is.
    """

    engine: "Callable[[], Engine]"
    settings: Settings
    metrics: Metrics | None
    resource: Resource
    exporting: Callable[[], list[ExportState]]
    cursors: Cursors
    access: Access

    def tenant(self, request: Request) -> str:
        """Whose jobs a request is about: the caller's own, and no others."""
        return self.access.caller(request).tenant


def validated(model: type[_Model], value: Any) -> _Model:
    """A JSON body as `model`.

    Raises:
        InvalidSubmission: says which fields are wrong.

    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_submission(error) from None


def invalid_submission(error: ValidationError) -> InvalidSubmission:
    """What pydantic finds wrong as an error of ours, without the values."""
    told = error.errors(include_url=False, include_input=False)
    return InvalidSubmission([field_error(str(each["msg"]), *each["loc"]) for each in told])


def headers(request: Request, name: bytes) -> list[str]:
    """The values of the header `name`, which is in lower case as all names are in ASGI."""
    return [value.decode("latin-1") for each, value in request.scope["headers"] if each == name]


def refuse_unknown_parameters(request: Request, legal: tuple[str, ...]) -> None:
    """A parameter that means nothing here is a 422: most often it is a typing error."""
    if not request.scope["query_string"]:
        return
    unknown = [name for name in request.query_params if name not in legal]
    if unknown:
        raise invalid_parameter(
            unknown[0], f"there is no such parameter: {', '.join(unknown)[:200]}", legal
        )


def invalid_parameter(name: str, message: str, legal: tuple[str, ...]) -> Problem:
    """A 422 for one query parameter, with what would be legal."""
    entry = {"loc": ["query", name], "message": message, "legal": list(legal)}
    return Problem(
        INVALID,
        f"Not valid: query.{name}: {message}.",
        members={"errors": [entry], "legal": {name: list(legal)}},
    )


class JsonResponse(Response):
    """A body of JSON with its headers, which are encoded as they are: names in lower case."""

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.body = body
        self.status_code = status
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]
        for name, value in (headers or {}).items():
            self.raw_headers.append((name.encode("latin-1"), value.encode("latin-1")))


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`content` as JSON."""
    return JsonResponse(msgspec.json.encode(content), status, headers)


def root_path(request: Request) -> str:
    """Where this application is mounted; empty at the root."""
    return str(request.scope.get("root_path", "")).rstrip("/")

"""The OpenAPI document: what FastAPI can't see for itself, since bodies are read by hand."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from app.http.problems import MEDIA_TYPE
from app.http.routes import GuardedRoute
from app.jobs.submission import RetryChanges, Submission

Responses = dict[int | str, dict[str, Any]]

SECURITY_SCHEMES: Final = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key, as `narrator keys create` prints it. It opens its tenant's jobs, "
        "within its scopes.",
    },
    "token": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A stream token: it opens one stream, for a short time.",
    },
}

_REF: Final = "#/components/schemas/{model}"


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, Any]] | None = Field(
        default=None, description="Each wrong part: where, what, and what would be legal."
    )
    legal: Any = Field(default=None, description="What would be legal.")


def ok(status: int, model: type[BaseModel], *, location: bool = False) -> Responses:
    """The answer of a call that went well."""
    answer: dict[str, Any] = {"model": model, "description": HTTPStatus(status).phrase}
    if location:
        answer["headers"] = {
            "Location": {"description": "Where the job is.", "schema": {"type": "string"}}
        }
    return {status: answer}


def problems(*statuses: int) -> Responses:
    """The errors that a call may answer with."""
    schema = {"$ref": _REF.format(model=ProblemDocument.__name__)}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def body_of(
    model: type[BaseModel], *, required: bool, parameters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The request body of a call that reads its own."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    extra: dict[str, Any] = {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}
    }
    if parameters:
        extra["parameters"] = parameters
    return extra


def add_openapi(app: FastAPI, *, closed: bool) -> None:
    """Complete the document of `app` with the schemas of what is read by hand.

    Where the server is `closed`, each call says what opens it.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
            if closed:
                _tell_access(app, app.openapi_schema)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # how FastAPI says to do it


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        servers=app.servers,
    )
    _, extra = models_json_schema(
        [(model, "validation") for model in (Submission, RetryChanges, ProblemDocument)],
        ref_template=_REF,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(extra.get("$defs", {}))
    _tell_problems(document)
    return document


def _tell_access(app: FastAPI, document: dict[str, Any]) -> None:
    """Which scope each call needs, and how a key or a token is sent."""
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    refused = problems(401, 403)
    for route in app.router.routes:
        if not isinstance(route, GuardedRoute) or not route.include_in_schema:
            continue
        scope = route.guard.scope
        for method in route.methods or ():
            call = document["paths"][route.path][method.lower()]
            if scope is None:
                call["security"] = []
                continue
            token: list[dict[str, list[str]]] = [{"token": []}] if route.guard.by_token else []
            call["security"] = [{"key": [scope.value]}, *token]
            call["responses"].update({str(each): answer for each, answer in refused.items()})


def _tell_problems(document: dict[str, Any]) -> None:
    """Every refusal is a problem, FastAPI's own 422 included; host and defects apply to all."""
    everywhere = problems(400, 421)
    for path in document["paths"].values():
        for call in path.values():
            for status, answer in everywhere.items():
                call["responses"].setdefault(str(status), answer)
            if "422" in call["responses"]:
                call["responses"]["422"] = problems(422)[422]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)

"""The route of what can be run, each operation with its JSON Schema."""

from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.http.access import READ
from app.http.openapi import ok, problems
from app.http.routes import get_route
from app.http.serving import API, Serving, json_response, refuse_unknown_parameters


class OperationDescription(BaseModel):
    """One operation."""

    name: str
    summary: str
    description: str
    schema_: dict[str, Any] = Field(alias="schema", description="JSON Schema of its params.")
    kind: str
    generator: bool = Field(description="Whether it yields output in chunks.")


class OperationList(BaseModel):
    """All operations, by name."""

    operations: list[OperationDescription]


class OperationRoutes:
    """What can be run."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def list(self, request: Request) -> Response:
        """List what can be run."""
        refuse_unknown_parameters(request, ())
        operations = sorted(self._serving.engine().operations(), key=lambda each: each.name)
        return json_response(
            {
                "operations": [
                    {
                        "name": each.name,
                        "summary": each.summary,
                        "description": each.description,
                        "schema": each.schema,
                        "kind": each.kind.value,
                        "generator": each.generator,
                    }
                    for each in operations
                ]
            }
        )


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the route of operations."""
    get_route(
        app,
        f"{API}/operations",
        OperationRoutes(serving).list,
        guard=READ,
        tags=["operations"],
        responses={**ok(200, OperationList), **problems(422)},
    )

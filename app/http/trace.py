"""The route of a job's spans so far: as a tree, or as a file for tools that read traces."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.http.access import READ
from app.http.openapi import problems
from app.http.routes import get_route
from app.http.serving import API, Serving, json_response
from narration.disclosure import visible
from narration.masking import masker
from narration.trace_formats import jaeger_json, otlp_json
from narration.trace_tree import tree, with_masked_names


class TraceForm(StrEnum):
    """The forms of a trace."""

    TREE = "tree"
    OTLP = "otlp"
    JAEGER = "jaeger"


class TraceQuery(BaseModel):
    """How to read a trace."""

    model_config = ConfigDict(extra="forbid")

    format: TraceForm = Field(
        default=TraceForm.TREE,
        description="`tree` to read, `otlp` or `jaeger` for a file that those tools open.",
    )


class TraceRoutes:
    """The spans of a job."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._mask = masker([each.get_secret_value() for each in serving.settings.secrets])

    async def trace(
        self, request: Request, job_id: str, query: Annotated[TraceQuery, Query()]
    ) -> Response:
        """Read the job's spans so far, running ones included."""
        engine = self._serving.engine()
        spans_so_far, disclosure = engine.trace(job_id, tenant=self._serving.tenant(request))
        await engine.settled(job_id)
        records = with_masked_names(spans_so_far, self._mask)

        def shown(attributes: Mapping[str, Any], source: str) -> dict[str, Any]:
            return visible(attributes, source, disclosure, mask=self._mask)

        if query.format is TraceForm.TREE:
            trace_id = records[0].trace_id if records else None
            address = trace_id and self._serving.settings.trace_address(trace_id)
            spans = tree(records, visible=shown)
            return json_response({"trace_id": trace_id, "url": address, "spans": spans})
        to_file = otlp_json if query.format is TraceForm.OTLP else jaeger_json
        return json_response(
            to_file(records, self._serving.resource, visible=shown),
            headers={"content-disposition": f'attachment; filename="{query.format}.json"'},
        )


def add_routes(app: FastAPI, serving: Serving) -> None:
    """Add the route of a trace."""
    found: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "The spans, in the form that was asked for.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    }
    get_route(
        app,
        f"{API}/jobs/{{job_id}}/trace",
        TraceRoutes(serving).trace,
        guard=READ,
        tags=["traces"],
        responses={**found, **problems(404, 422, 503)},
    )

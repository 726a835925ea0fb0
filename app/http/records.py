"""Records on the wire, with links that hold where this application is mounted."""

from collections.abc import Mapping
from typing import Final

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from app.http.serving import API, JsonResponse, root_path
from app.jobs.record import JobRecord

_RECORD: Final = TypeAdapter(JobRecord)


def mounted(record: JobRecord, prefix: str) -> JobRecord:
    """`record` with links that begin at `prefix`, where this application is mounted."""
    if not prefix:
        return record
    links = {
        name: prefix + link if link.startswith("/") else link for name, link in record.links.items()
    }
    return record.model_copy(update={"links": links})


def record_response(
    record: JobRecord,
    request: Request,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A record as JSON."""
    return JsonResponse(_RECORD.dump_json(mounted(record, root_path(request))), status, headers)


def accepted(record: JobRecord, request: Request, status: int) -> Response:
    """A new job: its record, and where it is from now on."""
    location = f"{root_path(request)}{API}/jobs/{record.id}"
    return record_response(record, request, status, {"location": location})

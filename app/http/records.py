"""Records on the wire, with links that hold where this application is mounted."""

from starlette.requests import Request
from starlette.responses import Response

from app.http.serving import API, JSON, root_path
from app.jobs.record import JobRecord


def mounted(record: JobRecord, prefix: str) -> JobRecord:
    """`record` with links that begin at `prefix`, where this application is mounted."""
    if not prefix:
        return record
    links = {
        name: prefix + link if link.startswith("/") else link for name, link in record.links.items()
    }
    return record.model_copy(update={"links": links})


def record_response(record: JobRecord, request: Request, status: int = 200) -> Response:
    """A record as JSON."""
    content = mounted(record, root_path(request)).model_dump_json()
    return Response(content, status_code=status, media_type=JSON)


def accepted(record: JobRecord, request: Request, status: int) -> Response:
    """A new job: its record, and where it is from now on."""
    response = record_response(record, request, status)
    response.headers["location"] = f"{root_path(request)}{API}/jobs/{record.id}"
    return response

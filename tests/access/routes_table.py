"""Every route that there is, and what opens it: the table that the attacks go by."""

from typing import Final

from app.access.keys_file import Scope

JOB: Final = "/v1/jobs/{job_id}"

NEEDS: Final[dict[tuple[str, str], Scope | None]] = {
    ("POST", "/v1/jobs"): Scope.SUBMIT,
    ("GET", "/v1/jobs"): Scope.READ,
    ("GET", JOB): Scope.READ,
    ("DELETE", JOB): Scope.CANCEL,
    ("POST", f"{JOB}/cancel"): Scope.CANCEL,
    ("POST", f"{JOB}/retry"): Scope.SUBMIT,
    ("GET", f"{JOB}/stream"): Scope.READ,
    ("POST", f"{JOB}/stream-token"): Scope.READ,
    ("GET", f"{JOB}/narration"): Scope.READ,
    ("GET", f"{JOB}/trace"): Scope.READ,
    ("GET", "/v1/operations"): Scope.READ,
    ("GET", "/v1/overview"): Scope.READ,
    ("GET", "/v1/stream"): Scope.READ,
    ("POST", "/v1/stream-token"): Scope.READ,
    ("GET", "/metrics"): Scope.ADMIN,
    ("GET", "/openapi.json"): Scope.ADMIN,
    ("GET", "/docs"): Scope.ADMIN,
    # Open to all, and nothing of anybody's in them.
    ("GET", "/livez"): None,
    ("GET", "/readyz"): None,
    ("GET", "/"): None,
    ("GET", "/jobs/{job_id}"): None,
    ("GET", "/run"): None,
    ("GET", "/assets/{name}"): None,
}
"""The scope that opens each call, None where it is open to all; a GET is its HEAD, too."""

CLOSED: Final = sorted(call for call, scope in NEEDS.items() if scope is not None)
OF_A_JOB: Final = sorted(call for call in CLOSED if call[1].startswith(JOB))


def with_heads(calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The calls, and the HEAD of each GET."""
    return [*calls, *(("HEAD", path) for method, path in calls if method == "GET")]

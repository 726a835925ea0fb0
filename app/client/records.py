"""A job, a page of jobs, an operation and the overview as the server tells them, frozen and typed.

The field names are those of the HTTP contract; a test compares them with the server's own. Words
such as `state` are plain texts, so that one which a newer server adds can be read; the known ones
are in `telemetry.names` and equal to them.
"""

from datetime import datetime
from typing import Any

import msgspec

from app.client.wire import Part, Wire, decoded, plain


class AttemptError(Part, frozen=True, kw_only=True):
    """What went wrong in an attempt: the exception's type with its module, and its words."""

    type: str
    message: str


class Attempt(Part, frozen=True, kw_only=True):
    """One attempt of a job; numbers begin at 1. `outcome` is None while it runs."""

    number: int
    started_at: datetime
    finished_at: datetime | None = None
    outcome: str | None = None
    error: AttemptError | None = None
    span_id: str | None = None


class Progress(Part, frozen=True, kw_only=True):
    """How far the handler says it is, in its own unit."""

    done: float
    total: float | None = None
    text: str | None = None


class Failure(Part, frozen=True, kw_only=True):
    """Why a job failed."""

    reason: str
    type: str
    message: str


class Cancel(Part, frozen=True, kw_only=True):
    """Who cancelled a job; `abandoned`: its handler would not stop within the grace."""

    origin: str
    requested_at: datetime
    abandoned: bool = False


class JobRecord(Wire, frozen=True, kw_only=True):
    """One job as it was when the server answered. Times are in UTC."""

    id: str
    operation: str
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    state: str
    reason: str | None = None
    priority: str = "normal"
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    queue_position: int | None = None
    attempt: int = 0
    attempts: tuple[Attempt, ...] = ()
    next_retry_at: datetime | None = None
    progress: Progress | None = None
    result: Any = None
    failure: Failure | None = None
    cancel: Cancel | None = None
    trace_id: str | None = None
    retry_of: str | None = None
    links: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it has completed, failed or been cancelled."""
        return self.finished_at is not None


class Operation(Wire, frozen=True, kw_only=True):
    """What can be run; `schema` is the JSON Schema of its params."""

    name: str
    summary: str = ""
    description: str = ""
    schema: dict[str, Any] = msgspec.field(default_factory=dict)
    kind: str = ""
    generator: bool = False


class Waiting(Part, frozen=True, kw_only=True):
    """Queued jobs of one priority; `oldest_age_s` is how long the oldest has waited, in seconds."""

    depth: int
    oldest_age_s: float = 0.0


class Overview(Wire, frozen=True, kw_only=True):
    """The server in numbers at the time `at`.

    `running` and `retrying` count jobs by operation, `queue` those that wait by priority, `states`
    all that are kept; `slots` is how many may run at once, `streams` how many are open.
    """

    at: datetime
    slots: int
    running: dict[str, int] = msgspec.field(default_factory=dict)
    retrying: dict[str, int] = msgspec.field(default_factory=dict)
    queue: dict[str, Waiting] = msgspec.field(default_factory=dict)
    deferred: int = 0
    states: dict[str, int] = msgspec.field(default_factory=dict)
    streams: int = 0
    draining: bool = False


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of jobs, newest first; `next` is the cursor of the next, None on the last.

    `total` counts all jobs that match.
    """

    jobs: tuple[JobRecord, ...]
    next: str | None
    total: int


def job_of(content: bytes) -> JobRecord:
    """The record in the body of an answer; raises `Unreadable`."""
    return decoded(JobRecord, content, what="the record of a job")


def page_of(content: bytes) -> JobPage:
    """The page in the body of an answer; raises `Unreadable`."""
    page = plain(content, _Page, what="a page of jobs")
    return JobPage(
        jobs=tuple(job_of(bytes(each)) for each in page.jobs), next=page.next, total=page.total
    )


def operations_of(content: bytes) -> tuple[Operation, ...]:
    """The operations in the body of an answer; raises `Unreadable`."""
    found = plain(content, _Operations, what="the list of operations").operations
    return tuple(decoded(Operation, bytes(each), what="an operation") for each in found)


def overview_of(content: bytes) -> Overview:
    """The overview in the body of an answer; raises `Unreadable`."""
    return decoded(Overview, content, what="the overview")


class _Page(msgspec.Struct):
    jobs: list[msgspec.Raw]
    total: int
    next: str | None = None


class _Operations(msgspec.Struct):
    operations: list[msgspec.Raw]

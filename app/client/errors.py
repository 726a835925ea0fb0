"""Every error of the client, as one tree; each branch says whose turn it is to act.

`Unreachable`: the network's. `Refused`: the caller's, by what the server says. `Unreadable`: the
answer is not one of this protocol. `JobNotCompleted`: the job's own end. `NotFinished` and `Gap`:
what the caller asked to be told. Each class carries its data as attributes. It knows no HTTP: what
an answer means is decided in `app.client.answers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.client.events import GapEvent
    from app.client.records import JobRecord


class ClientError(Exception):
    """What goes wrong between this client, a server and its jobs; the root of the tree."""


class Unreachable(ClientError):  # noqa: N818 — the plain noun, as in the server's own tree
    """No answer: refused, timed out or broken off, for as long as the client keeps trying.

    `sent` says whether the request may have reached the server all the same.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Unreadable(ClientError):  # noqa: N818 — the plain noun
    """The answer is not one of a job-narrator server."""


# --- what the server refuses ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One thing that is wrong with one field: the path to it, and what would be legal, if told."""

    loc: tuple[str | int, ...]
    message: str
    legal: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """The path in one word.

        >>> FieldError(loc=("body", "params", "frames"), message="…").field
        'body.params.frames'
        """
        return ".".join(map(str, self.loc))

    def __str__(self) -> str:
        message = self.message
        if self.loc:  # a message about params may begin with the name, which the path ends with
            message = f"{self.field}: {message.removeprefix(f'{self.loc[-1]}: ')}"
        return f"{message} (legal: {', '.join(self.legal)})" if self.legal else message


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What the server said (RFC 9457); `members` are those beyond the standard ones."""

    type: str = "about:blank"
    title: str
    detail: str = ""
    errors: tuple[FieldError, ...] = ()
    members: Mapping[str, Any] = field(default_factory=dict)


class Refused(ClientError):  # noqa: N818 — the plain word
    """The server answered, and not with what was asked for.

    `retry_after_s` is when the same request may be accepted, if the server has said so.
    """

    def __init__(
        self, message: str, *, status: int, problem: Problem, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s


class InvalidRequest(Refused):
    """400, 413, 415, 422: sending it again will not help; `errors` names the fields."""

    @property
    def errors(self) -> tuple[FieldError, ...]:
        """What is wrong, field by field; empty where no field is to blame."""
        return self.problem.errors


class Unauthorized(Refused):
    """401: the server is closed, and no key came along, or none that it knows."""


class Forbidden(Refused):
    """403: the key does not allow it; or the request came from another site's page."""


class NotFound(Refused):
    """404: there is no such job or operation, or no longer."""


class Conflict(Refused):
    """409: the job's state forbids it, as cancelling one that has ended."""


class Busy(Refused):
    """429 or 503: not now. `Patience(busy_s=…)` has the client wait and ask again."""


# --- how a job ended ------------------------------------------------------------------------------


class JobNotCompleted(ClientError):  # noqa: N818 — the state it tells
    """The job has ended without a result; `record` is its last one."""

    def __init__(self, record: "JobRecord", message: str) -> None:
        super().__init__(message)
        self.record = record


class JobFailed(JobNotCompleted):
    """It failed; `reason` is `error`, `timeout`, `expired`, `rejected` or `lost`."""

    def __init__(self, record: "JobRecord") -> None:
        failure = record.failure
        why = f": {failure.type}: {failure.message}" if failure else ""
        tries = f"{record.attempt} attempt{'' if record.attempt == 1 else 's'}"
        super().__init__(
            record,
            f"job {record.id} ({record.operation}) failed after {tries}, reason "
            f"{record.reason}{why}; its story says more, and retry(…) runs it again",
        )

    @property
    def reason(self) -> str:
        """Why."""
        return self.record.reason or ""


class JobCancelled(JobNotCompleted):
    """It was cancelled; `record.cancel` says by whom."""

    def __init__(self, record: "JobRecord") -> None:
        origin = f" by {record.cancel.origin}" if record.cancel else ""
        super().__init__(
            record,
            f"job {record.id} ({record.operation}) was cancelled{origin}; retry(…) runs it again",
        )


class NotFinished(ClientError):  # noqa: N818 — the plain word
    """The time to wait is over and the job is not; `record` is how it stands. It goes on."""

    def __init__(self, record: "JobRecord", waited_s: float) -> None:
        super().__init__(
            f"job {record.id} ({record.operation}) is still {record.state} after {waited_s:g} s; "
            "it goes on: wait again, or cancel it"
        )
        self.record = record


class Gap(ClientError):  # noqa: N818 — the event's own name
    """Events are missing from a stream whose reader wanted to be told by an error."""

    def __init__(self, event: "GapEvent", path: str) -> None:
        if event.from_ is None:
            what = "the id to resume from means nothing there"
        else:
            until = "the newest" if event.to is None else str(event.to)
            what = f"events {event.from_} to {until} are missing"
        super().__init__(
            f"{path}: {what} ({event.reason}); without raise_on_gap the stream tells this as an "
            "event and goes on"
        )
        self.event = event

"""Every refusal of the job server, as one tree; each branch says whose turn it is to act.

`InvalidInput`: change the request. `NotFound`: it is not here. `Conflict`: the job's state forbids
it. `Unavailable`: try again later. Each class carries its data as attributes; where there are
some, `errors` lists what is wrong field by field and `legal` what would have been accepted. Which
HTTP status a class has is decided in `app.http`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

from telemetry.names import State

FieldError = Mapping[str, Any]
"""One thing that is wrong with one field: `{loc: [path to it], message}`."""


class NarratorError(Exception):
    """What the job server refuses, or finds wrong; the root of the tree."""

    code: ClassVar[str] = "error"
    """The kind of error as one lower-case, hyphenated word: the last part of a problem's type."""


# --- change the request ---------------------------------------------------------------------------


class InvalidInput(NarratorError):  # noqa: N818  # the plain noun
    """What was sent cannot be accepted as it is; sending it again will not help."""

    code = "invalid-input"


class InvalidSubmission(InvalidInput):
    """A submission, or the changes for a retry, break the rules or the server's limits."""

    code = "invalid-submission"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__(f"the submission is not valid: {_joined(self.errors)}")


class InvalidParams(InvalidInput):
    """The params do not fit the operation's signature."""

    code = "invalid-params"

    def __init__(self, errors: Sequence[FieldError], *, operation: str | None = None) -> None:
        self.errors = tuple(errors)
        self.operation = operation
        of = f" of operation {operation!r}" if operation else ""
        super().__init__(f"the params{of} are not valid: {_joined(self.errors)}")


class InvalidFilter(InvalidInput):
    """A filter of the job list has a value that means nothing."""

    code = "invalid-filter"

    def __init__(self, field: str, value: object, legal: str | Sequence[str]) -> None:
        self.field = field
        self.value = value
        self.legal = legal if isinstance(legal, str) else tuple(legal)
        wanted = legal if isinstance(legal, str) else f"one of {', '.join(legal)}"
        super().__init__(f"{field} {_shown(value)} means nothing here; legal is {wanted}")


class InvalidCursor(InvalidInput):
    """A cursor was not made by this server."""

    code = "invalid-cursor"

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        super().__init__(
            f"cursor {_shown(cursor)} means nothing here; "
            "send the `next` of the page before, or none for the first page"
        )


class IdempotencyConflict(InvalidInput):
    """An idempotency key was used before, with another body or to retry another job."""

    code = "idempotency-conflict"

    def __init__(self, key: str, job_id: str) -> None:
        self.key = key
        self.job_id = job_id
        super().__init__(
            f"idempotency key {_shown(key)} was used before, for another request, which made job "
            f"{job_id}; send the same request, or another key"
        )


# --- not here -------------------------------------------------------------------------------------


class NotFound(NarratorError):  # noqa: N818  # the plain noun
    """What was asked for is not here."""

    code = "not-found"


class JobNotFound(NotFound):
    """There is no such job: it never was, or it has been forgotten."""

    code = "job-not-found"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"there is no job {_shown(job_id)}: it never was, or it has been forgotten"
        )


class OperationNotFound(NotFound):
    """There is no such operation; `legal` lists those there are."""

    code = "operation-not-found"

    def __init__(self, operation: str, known: Iterable[str]) -> None:
        self.operation = operation
        self.legal = tuple(sorted(known))
        served = ", ".join(self.legal) or "none"
        super().__init__(f"there is no operation {_shown(operation)}; this server has: {served}")


# --- the job's state forbids it -------------------------------------------------------------------


class Conflict(NarratorError):  # noqa: N818  # the plain noun
    """The job is in a state that forbids what was asked for."""

    code = "conflict"


class IllegalTransition(Conflict):
    """A trigger (or the reason that came with it) that the job's state does not allow."""

    code = "illegal-transition"

    def __init__(self, state: State, trigger: str, legal: Iterable[str]) -> None:
        self.state = state
        self.trigger = trigger
        self.legal = tuple(legal)
        super().__init__(
            f"a job that is {state} cannot take {trigger!r}; legal: "
            + (", ".join(self.legal) or "nothing, it has ended")
        )


class AlreadyFinished(Conflict):
    """The job has finished, and nothing can change it any more."""

    code = "already-finished"

    def __init__(self, job_id: str, state: State) -> None:
        self.job_id = job_id
        self.state = state
        super().__init__(f"job {job_id} is already {state}; retrying it makes a new job")


class NotFinished(Conflict):
    """The job has to finish first."""

    code = "not-finished"

    def __init__(self, job_id: str, state: State) -> None:
        self.job_id = job_id
        self.state = state
        super().__init__(f"job {job_id} is still {state}; wait for its end, or cancel it first")


# --- try again later ------------------------------------------------------------------------------


class Unavailable(NarratorError):  # noqa: N818  # the plain noun
    """Not now: the same request may be accepted in `retry_after_s` seconds."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class QueueFull(Unavailable):
    """As many jobs wait as may wait."""

    code = "queue-full"

    def __init__(self, limit: int, *, retry_after_s: float) -> None:
        self.limit = limit
        super().__init__(
            f"{limit} jobs are waiting, which is the limit; try again in {retry_after_s:g} s",
            retry_after_s=retry_after_s,
        )


class TenantLimit(Unavailable):
    """A tenant has as much as it may have of something; `setting` says how much that is."""

    code = "tenant-limit"

    def __init__(self, told: str, *, limit: float, setting: str, retry_after_s: float) -> None:
        self.limit = limit
        self.setting = setting
        self.legal = {setting: limit}
        super().__init__(
            f"{told}, which is the limit of your tenant ({setting}); "
            f"try again in {retry_after_s:.3g} s",
            retry_after_s=retry_after_s,
        )


class TenantRate(TenantLimit):
    """A tenant submits faster than it may."""

    code = "tenant-rate"

    def __init__(self, limit: float, *, retry_after_s: float) -> None:
        super().__init__(
            f"more than {limit:g} jobs a second were submitted",
            limit=limit,
            setting="NARRATOR_TENANT_RATE",
            retry_after_s=retry_after_s,
        )


class TenantQueueFull(TenantLimit):
    """As many jobs of a tenant wait as may wait."""

    code = "tenant-queue-full"

    def __init__(self, limit: int, *, retry_after_s: float) -> None:
        super().__init__(
            f"{limit} of your jobs are waiting",
            limit=limit,
            setting="NARRATOR_TENANT_QUEUED",
            retry_after_s=retry_after_s,
        )


class TenantStreams(TenantLimit):
    """As many streams of a tenant are open as may be."""

    code = "tenant-streams"

    def __init__(self, limit: int, *, retry_after_s: float) -> None:
        super().__init__(
            f"{limit} of your streams are open",
            limit=limit,
            setting="NARRATOR_TENANT_STREAMS",
            retry_after_s=retry_after_s,
        )


class Draining(Unavailable):
    """The server is shutting down and takes no new jobs."""

    code = "draining"

    def __init__(self, *, retry_after_s: float) -> None:
        super().__init__(
            f"the server is shutting down and takes no new jobs; try again in {retry_after_s:g} s",
            retry_after_s=retry_after_s,
        )


class StoreUnavailable(Unavailable):
    """The store can't be written, so nothing can be acknowledged."""

    code = "store-unavailable"

    def __init__(self, problem: str, *, retry_after_s: float) -> None:
        super().__init__(
            f"the store can't be written ({problem}), so nothing can be acknowledged; "
            "what was asked for may be done or not: ask again, with the same Idempotency-Key",
            retry_after_s=retry_after_s,
        )


def field_error(message: str, *loc: str | int) -> FieldError:
    """One entry of `errors`: what is wrong, and the path to the field it is about."""
    return {"loc": list(loc), "message": message}


_SHOWN_LENGTH: Final = 100


def _shown(value: object) -> str:
    """Foreign text in a message: escaped, and cut so that it cannot flood a log."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def _joined(errors: Sequence[FieldError]) -> str:
    return "; ".join(_told(each) for each in errors)


def _told(error: FieldError) -> str:
    """`field: message`, the field once."""
    field = ".".join(str(part) for part in error["loc"])
    message = str(error["message"])
    return message if not field or message.startswith(field) else f"{field}: {message}"

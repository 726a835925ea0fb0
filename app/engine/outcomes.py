"""From how the work ended to what that means for the attempt: pure functions.

An attempt that the server had asked to stop has that outcome, whatever the handler made of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from app.engine import results
from app.engine.entry import Entry, StopCause
from app.engine.runners.ending import (
    Ending,
    Lost,
    Raised,
    Returned,
    exception_type,
    exception_types,
)
from app.handlers.context import Reject, RetryLater
from app.jobs.model import AttemptError
from narration.disclosure import well_formed
from telemetry.names import Outcome

ERROR_BYTES: Final = 4096
"""Bytes of an error's words that a record keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One attempt's end, ready for the record and the verdict."""

    outcome: Outcome
    result: bytes | None = None
    error: AttemptError | None = None
    exception: BaseException | None = None
    exception_types: tuple[str, ...] = ()
    retry_after_s: float | None = None
    abandoned: bool = False


SHUT_DOWN: Final = "the server shut down before the attempt had ended"
KILLED: Final = "the server died while the attempt ran"

ABANDONED: Final = Ended(outcome=Outcome.LOST, abandoned=True)
"""The handler would not stop: nobody knows how it ends."""

UNHEARD: Final = Ended(outcome=Outcome.LOST)
"""Nothing was heard of its end; the cause for which it was asked to stop says what it is."""


def classify(
    ending: Ending,
    *,
    max_result_bytes: int,
    mask: Callable[[str], str] | None,
    tidy: Callable[[str], str],
) -> Ended:
    """What an ending is when nobody had asked for a stop.

    `mask` masks the texts of a result, `tidy` masks and cuts words.
    """
    match ending:
        case Returned(value=value):
            try:
                result = results.encode(value, what="result", limit=max_result_bytes, mask=mask)
            except results.UnfitResultError as unfit:
                # Its frames are ours and hold the value, which is why it is refused.
                return _raised(unfit.with_traceback(None), tidy)
            return Ended(outcome=Outcome.COMPLETED, result=result)
        case Lost(how=how):
            error = AttemptError(type=Outcome.LOST.value, message=tidy(how))
            return Ended(outcome=Outcome.LOST, error=error)
        case Raised(exception=exception):
            return _raised(exception, tidy)


def overruled(ended: Ended, cause: StopCause | None, entry: Entry) -> Ended:
    """The same end under the cause for which the server had asked the attempt to stop."""
    if cause is None:
        return ended
    policy = entry.job.policy
    if cause is StopCause.CANCEL:
        outcome, message = Outcome.CANCELLED, None
    elif cause is StopCause.SHUTDOWN:
        outcome, message = Outcome.LOST, SHUT_DOWN
    elif cause is StopCause.DEADLINE:
        outcome = Outcome.TIMEOUT
        message = f"not finished within deadline_s = {policy.deadline_s or 0:g} s"
    else:
        outcome = Outcome.TIMEOUT
        message = f"the attempt ran longer than timeout_s = {policy.timeout_s or 0:g} s"
    error = None if message is None else AttemptError(type=outcome.value, message=message)
    return replace(
        ended,
        outcome=outcome,
        result=None,
        error=error,
        exception=None,
        exception_types=(),
        retry_after_s=None,
    )


def _raised(exception: BaseException, tidy: Callable[[str], str]) -> Ended:
    error = AttemptError(type=exception_type(exception), message=tidy(_words(exception)))
    types = exception_types(exception)
    if isinstance(exception, Reject):
        outcome = Outcome.REJECTED
    elif isinstance(exception, RetryLater):
        return Ended(
            outcome=Outcome.RETRY_LATER,
            error=error,
            exception_types=types,
            retry_after_s=exception.after_s,
        )
    else:
        outcome = Outcome.ERROR
    return Ended(outcome=outcome, error=error, exception=exception, exception_types=types)


def _words(exception: BaseException) -> str:
    try:
        return well_formed(str(exception)) or type(exception).__name__
    except BaseException:  # noqa: BLE001  # a user's `__str__` may raise anything
        return type(exception).__name__

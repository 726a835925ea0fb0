"""What a handler says by raising, and what can be wrong with the code that a user hands over."""

import math

from app.jobs.errors import NarratorError


class JobCancelled(BaseException):
    """The job was asked to stop, and the handler does.

    Like `asyncio.CancelledError` no `Exception`, so that a broad `except Exception` in a handler
    does not swallow it.
    """

    def __init__(self, reason: str = "cancelled") -> None:
        super().__init__(reason)
        self.reason = reason


class Reject(Exception):  # noqa: N818  # the name is what a handler says: raise Reject(...)
    """The handler refuses the job for good: it fails with the reason `rejected`, unretried."""

    def __init__(self, reason: str = "rejected by the handler") -> None:
        super().__init__(reason)
        self.reason = reason


class RetryLater(Exception):  # noqa: N818  # the name is what a handler says: raise RetryLater(...)
    """The handler asks to be run again in `after_s` seconds; this spends no attempt.

    Raises:
        ValueError: `after_s` is negative or not finite.

    """

    def __init__(self, after_s: float, reason: str = "the handler asked for a later retry") -> None:
        require_finite("after_s", after_s)
        if after_s < 0:
            raise ValueError(f"after_s must be at least 0 seconds, not {after_s}")
        super().__init__(reason)
        self.after_s = float(after_s)
        self.reason = reason


class TargetError(NarratorError):
    """A target cannot be served; the message says what is wrong, where, and what to do."""

    def __init__(self, target: str, problem: str) -> None:
        super().__init__(f"{target}: {problem}")
        self.target = target
        self.problem = problem


class ResourceError(NarratorError):
    """A `@lifespan` function failed while its resource was opened."""

    def __init__(self, function: str, error: BaseException) -> None:
        super().__init__(
            f"the @lifespan function {function} failed while opening: "
            f"{type(error).__name__}: {error}"
        )
        self.function = function
        self.error = error


def require_finite(name: str, number: object) -> None:
    """Refuse what JSON has no number for."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name} must be a number, not {type(number).__name__}")  # noqa: TRY004  # one error type for callers
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, not {number}")

"""The job service: jobs (pure domain), handlers, engine, HTTP and command line.

What a user's code needs is here, and loaded when it is asked for: a module of operations imports no
server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from app.handlers.context import JobCancelled, JobContext, Reject, RetryLater
    from app.handlers.lifespan import lifespan
    from app.handlers.operation import operation
    from app.service import Narrator
    from app.settings import Settings
    from app.testing import OperationRun, run_operation

__all__ = [
    "JobCancelled",
    "JobContext",
    "Narrator",
    "OperationRun",
    "Reject",
    "RetryLater",
    "Settings",
    "lifespan",
    "operation",
    "run_operation",
]

_HOMES: Final = {
    "JobCancelled": "app.handlers.context",
    "JobContext": "app.handlers.context",
    "Reject": "app.handlers.context",
    "RetryLater": "app.handlers.context",
    "lifespan": "app.handlers.lifespan",
    "operation": "app.handlers.operation",
    "Narrator": "app.service",
    "Settings": "app.settings",
    "OperationRun": "app.testing",
    "run_operation": "app.testing",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)

"""Narration: turns what happens on a span, at the moment it happens, into a readable story.

What runs inside a job is here at once; what serves HTTP is loaded when it is first asked for, so
that a child process which only narrates loads no web framework.
"""

from typing import TYPE_CHECKING, Any, Final

from narration.capture import Captured, capture
from narration.logs import NarrationHandler, NarrationLogProcessor, install_logs
from narration.narrate import narrate
from narration.plain import parse_plain, plain_line
from narration.process import ProcessFailed, run_process
from narration.processor import install

if TYPE_CHECKING:
    from narration.hub import Limits, Narration

__all__ = [
    "Captured",
    "Limits",
    "Narration",
    "NarrationHandler",
    "NarrationLogProcessor",
    "ProcessFailed",
    "capture",
    "install",
    "install_logs",
    "narrate",
    "parse_plain",
    "plain_line",
    "run_process",
]

_SERVING: Final = frozenset({"Limits", "Narration"})


def __getattr__(name: str) -> Any:
    if name in _SERVING:
        from narration import hub  # noqa: PLC0415 - loads the web framework

        return getattr(hub, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

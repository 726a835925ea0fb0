"""What is made of a loop that stands still: a line in the log, a count, a moment in a story.

The first two are made at once, by the thread that watches; the story is told when the loop runs
again. How it is found out is `loop_watch`'s.
"""

import contextlib
import logging
from collections.abc import Container

from app.engine.core import Core
from app.engine.loop_watch import Blocked

_logger = logging.getLogger(__name__)


class Blocking:
    """Reports each blocking of the loop once; `operations` are the names that are served."""

    def __init__(self, core: Core, operations: Container[str]) -> None:
        self._core = core
        self._operations = operations

    def report(self, blocked: Blocked) -> None:
        """Count it and log it, and leave word for the loop; on the watching thread.

        The log comes last: the loop may stand in a log handler, with its lock.
        """
        scope = blocked.scope
        operation = scope.actor if scope and scope.actor in self._operations else ""
        self._core.metrics.loop_blocked(operation)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._core.loop.call_soon_threadsafe(self._tell, blocked)
        _logger.warning(
            "the event loop stands still, %.1f s late by now: %s keeps it in %s\n%s",
            blocked.late_s(),
            f"operation {operation!r}, job {scope.story.job_id}," if scope else "no job, something",
            blocked.function or "code that has no frame",
            "\n".join(f"  {line}" for line in blocked.stack),
        )

    def _tell(self, blocked: Blocked) -> None:
        entry = blocked.scope and self._core.entries.get(blocked.scope.story.job_id)
        if entry:
            self._core.observer.loop_blocked(entry, blocked)

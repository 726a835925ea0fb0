"""Who watches a job: the first stream starts a deferred one; the last that leaves may cancel.

A disconnect alone never cancels. Only a job that asked for `cancel_when_unwatched` is cancelled,
and only when no client has come back within the grace; streams that the server closed do not count.
"""

from collections.abc import Callable

from app.engine.core import Core
from app.engine.entry import Entry


class Watching:
    """Counts the following streams of each job."""

    def __init__(
        self,
        core: Core,
        *,
        enqueue: Callable[[Entry], None],
        cancel_unwatched: Callable[[Entry], None],
    ) -> None:
        self._core = core
        self._enqueue = enqueue
        self._cancel_unwatched = cancel_unwatched

    def attached(self, entry: Entry) -> None:
        """A following stream was answered with 200."""
        entry.watchers += 1
        entry.disarm("unwatched")
        if entry.job.deferred and not entry.job.finished and not self._core.draining:
            self._enqueue(entry)

    def detached(self, entry: Entry, *, by_client: bool) -> None:
        """A following stream has ended."""
        entry.watchers -= 1
        job = entry.job
        if (
            entry.watchers == 0
            and by_client
            and job.policy.cancel_when_unwatched
            and not job.finished
        ):
            grace_s = self._core.settings.unwatched_grace_s
            entry.arm("unwatched", self._core.loop.call_later(grace_s, self._over, entry))

    def _over(self, entry: Entry) -> None:
        entry.disarm("unwatched")
        if entry.watchers == 0 and not entry.job.finished:
            self._cancel_unwatched(entry)

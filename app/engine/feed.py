"""State changes of jobs, for `GET /v1/stream`: one bounded ring for each tenant, with its own ids.

What is kept of a tenant stays: there are few.
"""

from collections.abc import Callable

from app.engine import states
from app.jobs.model import Job
from narration.log import NarrationLog


class Feed:
    """Tells every state change of a tenant's jobs in order; readers are those of any log.

    `make_log` gives a new log, which has no end.
    """

    def __init__(self, make_log: Callable[[], NarrationLog]) -> None:
        self._make_log = make_log
        self._logs: dict[str, NarrationLog] = {}

    def of(self, tenant: str) -> NarrationLog:
        """The ring of one tenant."""
        log = self._logs.get(tenant)
        if log is None:
            log = self._logs[tenant] = self._make_log()
        return log

    def announce(self, job: Job, at: str) -> None:
        """Append the job's state as it is now, at `at` (RFC 3339)."""
        log = self._logs.get(job.tenant) or self.of(job.tenant)
        log.keep(states.STATE, states.PASSES, states.in_feed(job, log.number, at))

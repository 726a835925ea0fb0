"""State changes of all jobs, for `GET /v1/stream`: one bounded ring with ids of its own."""

from app.engine import states
from app.jobs.model import Job
from narration.log import NarrationLog


class Feed:
    """Tells every state change in order; readers are those of any log."""

    def __init__(self, log: NarrationLog) -> None:
        self.log = log

    def announce(self, job: Job, at: str) -> None:
        """Append the job's state as it is now, at `at` (RFC 3339)."""
        log = self.log
        log.keep(states.STATE, states.PASSES, states.in_feed(job, log.number, at))

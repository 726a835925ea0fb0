"""State changes of all jobs, for `GET /v1/stream`: one bounded ring with ids of its own."""

from typing import ClassVar

from app.jobs.model import Job
from narration.events import Event
from narration.log import NarrationLog
from telemetry.clock import Clock, rfc3339
from telemetry.names import StreamEvent


class JobStateEvent(Event, kw_only=True):
    """One job entered a state."""

    name: ClassVar[StreamEvent] = StreamEvent.STATE

    job_id: str
    operation: str
    state: str
    reason: str | None
    priority: str
    attempt: int
    next_retry_at: str | None
    tags: dict[str, str]


class Feed:
    """Tells every state change in order; readers are those of any log."""

    def __init__(self, log: NarrationLog, clock: Clock) -> None:
        self.log = log
        self._clock = clock

    def announce(self, job: Job) -> None:
        """Append the job's state as it is now."""
        self.log.append(
            JobStateEvent(
                at=rfc3339(self._clock.wall_ns()),
                job_id=job.id,
                operation=job.operation,
                state=job.state.value,
                reason=job.reason.value if job.reason else None,
                priority=job.policy.priority.value,
                attempt=job.attempt,
                next_retry_at=rfc3339(job.next_retry_ns) if job.next_retry_ns else None,
                tags=dict(job.tags),
            )
        )

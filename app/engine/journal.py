"""What the engine notes of each change, so that it outlives the process; and when that is done.

Nothing that a client is told may be lost with the process: what is told waits for `settled`, what
must not happen before its record is kept waits in `then`. Without a store nothing is noted, and
nothing waits: a server's memory is all there is. It does not know how anything is kept.
"""

from collections.abc import Callable
from typing import ClassVar, Protocol

from app.engine.entry import Entry
from app.jobs.model import Job
from app.store.protocol import Provenance


class Journal(Protocol):
    """Used on the loop's thread only."""

    @property
    def durable(self) -> bool:
        """Whether jobs outlive the process."""
        ...

    @property
    def failing(self) -> str | None:
        """Why nothing can be kept now; None while it can."""
        ...

    def made(self, job_id: str, provenance: Provenance) -> None:
        """A job is new."""
        ...

    def changed(self, job: Job) -> None:
        """A job is not what it was."""
        ...

    def traced(self, entry: Entry) -> None:
        """An attempt of a job has ended, and its spans with it."""
        ...

    def forgotten(self, job_id: str) -> None:
        """A job is gone."""
        ...

    def then(self, call: Callable[[], None]) -> None:
        """Call once all that has been noted by now is kept."""
        ...

    async def settled(self, *job_ids: str) -> None:
        """Return once all that has been noted of these jobs by now is kept.

        Raises:
            StoreUnavailable: it can't be, for now.

        """
        ...

    async def kept(self) -> None:
        """Return once all that has been noted by now is kept, or has not been within a bound."""
        ...

    async def close(self) -> None:
        """Keep what has been noted, and note nothing more."""
        ...


class NoJournal:
    """A server without a store."""

    durable: ClassVar = False
    failing: ClassVar = None

    def made(self, job_id: str, provenance: Provenance) -> None:
        """Nothing."""

    def changed(self, job: Job) -> None:
        """Nothing."""

    def traced(self, entry: Entry) -> None:
        """Nothing."""

    def forgotten(self, job_id: str) -> None:
        """Nothing."""

    def then(self, call: Callable[[], None]) -> None:
        """At once."""
        call()

    async def settled(self, *job_ids: str) -> None:
        """At once."""

    async def kept(self) -> None:
        """At once."""

    async def close(self) -> None:
        """Nothing."""

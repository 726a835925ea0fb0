"""What the engine wants of a store, and the values that go there and come back.

The engine's state is in memory; a store keeps what has been told of it. It decides nothing, knows
no clock, and never calls back.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from app.jobs.model import Job
from narration.log import Entry

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What belongs to a job beside what it says itself; never changes."""

    idempotency_key: str | None = None
    body_hash: str | None = None
    """Of the submission; as `app.jobs.idempotency` makes it."""
    carrier: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """The caller's context as W3C headers: traceparent, tracestate, baggage."""
    trace_flags: int = 0
    """Of the job's own span."""
    retry_of: tuple[str, str, int] | None = None
    """The span that it links to: trace id and span id in hex, and its flags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Events of one job, at least one, consecutive from sequence `start`.

    `first` is the oldest that the job's log still keeps. What is wholly before it may go.
    """

    start: int
    first: int
    entries: Sequence[Entry]


@dataclass(slots=True, kw_only=True)
class Batch:
    """What is written together, or not at all.

    What it says of a job that is neither made by it nor in the store is passed over: that job has
    been forgotten.
    """

    made: dict[str, Provenance] = field(default_factory=dict)
    """Jobs that are written for the first time; each is in `jobs`, too."""
    jobs: dict[str, Job] = field(default_factory=dict)
    """Jobs as they are now: copies that nobody changes."""
    told: dict[str, Told] = field(default_factory=dict)
    """What jobs have told since; each event once."""
    spans: dict[str, Sequence[bytes]] = field(default_factory=dict)
    """Spans of jobs, as `narration.spans` keeps them; they replace what is there."""
    forgotten: set[str] = field(default_factory=set)
    """Jobs that go with all that is theirs; this wins over all of the above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job as it was written last."""

    job: Job
    """Its `created_mono` and `queued_mono` are 0: times of another process mean nothing here."""
    provenance: Provenance
    first: int
    """The oldest event that its log kept, as far as it was told; 1 if nothing was."""
    next: int
    """The sequence after the newest event told; equal to `first` if nothing was."""


class Store(Protocol):
    """Jobs and their stories, kept."""

    def write(self, batch: Batch) -> None:
        """Write all of `batch` or nothing; it is durable when this returns.

        From any thread, one at a time. After an error the same store takes the same batch again.

        Raises:
            StoreError: nothing of it was written.

        """
        ...

    def load(self) -> Iterator[StoredJob]:
        """Every job, in the order of their making.

        Raises:
            StoreError: it cannot be read.

        """
        ...

    def entries(self, job_id: str) -> list[Entry]:
        """The events of a job from its `first` on; none of a job that is not there.

        Raises:
            StoreError: it cannot be read.

        """
        ...

    def spans(self, job_id: str) -> list[bytes]:
        """The spans of a job, as they were written; none of a job that is not there.

        Raises:
            StoreError: it cannot be read.

        """
        ...

    def count(self) -> int:
        """How many jobs there are.

        Raises:
            StoreError: it cannot be read.

        """
        ...

    def secret(self) -> bytes:
        """32 random bytes that stay with the store: for what has to hold beyond the process.

        Raises:
            StoreError: they can't be read.

        """
        ...

    def close(self) -> None:
        """Let go of it; a second time is no error."""
        ...

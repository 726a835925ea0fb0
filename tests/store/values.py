"""Jobs and stories as a store may be given them, and what of them must come back."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

from hypothesis import strategies as st

from app.jobs.encoding import encode_json
from app.jobs.model import AttemptError, AttemptRecord, Cancel, Failure, Job, Progress
from app.jobs.policy import Policy, RetryPolicy
from app.store.protocol import Batch, Provenance, Store, Told
from narration.log import Entry
from telemetry.names import CancelOrigin, Level, Outcome, Priority, Reason, State

NOT_KEPT: Final = {"created_mono", "queued_mono", "on_change"}
"""Of a job: what means nothing in another process."""

TIMES: Final = st.integers(0, 2**63 - 1)
TEXTS: Final = st.text(st.characters(codec="utf-8"), max_size=20)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
OBJECTS: Final = st.dictionaries(TEXTS, JSON, max_size=3)
LABELS: Final = st.dictionaries(TEXTS, TEXTS, max_size=3)
HEX: Final = st.text("0123456789abcdef", min_size=16, max_size=16)
SECONDS: Final = st.floats(0, 1e6)
NUMBERS: Final = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)

POLICIES: Final = st.builds(
    Policy,
    priority=st.sampled_from(Priority),
    timeout_s=st.none() | SECONDS,
    queue_timeout_s=st.none() | SECONDS,
    deadline_s=st.none() | SECONDS,
    attach_timeout_s=SECONDS,
    retry=st.builds(
        RetryPolicy,
        max_attempts=st.integers(1, 10**6),
        base_delay_s=SECONDS,
        multiplier=st.floats(1, 10),
        max_delay_s=SECONDS,
        jitter=st.sampled_from(["full", "none"]),
        retry_on=st.frozensets(TEXTS, max_size=2),
        never_on=st.frozensets(TEXTS, max_size=2),
    ),
    retry_later_limit=st.integers(0, 10**6),
    concurrency_key=st.none() | TEXTS,
    cancel_when_unwatched=st.booleans(),
)
PROVENANCES: Final = st.builds(
    Provenance,
    idempotency_key=st.none() | TEXTS,
    body_hash=st.none() | HEX,
    carrier=LABELS,
    trace_flags=st.integers(0, 255),
    retry_of=st.none() | st.tuples(HEX, HEX, st.integers(0, 255)),
)
CHANGES: Final = st.fixed_dictionaries(
    {
        "state": st.sampled_from(State),
        "deferred": st.booleans(),
        "queued_ns": st.none() | TIMES,
        "started_ns": st.none() | TIMES,
        "finished_ns": st.none() | TIMES,
        "next_retry_ns": st.none() | TIMES,
        "attempt": st.integers(0, 10**6),
        "postponed": st.integers(0, 10**6),
        "progress": st.none()
        | st.builds(Progress, done=NUMBERS, total=st.none() | NUMBERS, text=st.none() | TEXTS),
        "checkpoint": st.none() | JSON.map(encode_json),
        "result": st.none() | JSON.map(encode_json),
        "failure": st.none()
        | st.builds(Failure, reason=st.sampled_from(Reason), type=TEXTS, message=TEXTS),
        "cancel": st.none()
        | st.builds(
            Cancel,
            origin=st.sampled_from(CancelOrigin),
            requested_ns=TIMES,
            abandoned=st.booleans(),
        ),
    }
)
"""What may change of a job, its attempts apart."""
ENTRIES: Final = st.lists(
    st.builds(Entry, name=TEXTS, level=st.sampled_from(Level), data=st.binary(max_size=50)),
    min_size=1,
    max_size=20,
)
SPANS: Final = st.lists(st.binary(max_size=50), max_size=5)


@st.composite
def submitted(draw: st.DrawFn, job_id: str, number: int) -> Job:
    """A job that was made, and nothing more."""
    return Job(
        id=job_id,
        number=number,
        tenant=draw(TEXTS),
        operation=draw(TEXTS),
        params_json=encode_json(draw(OBJECTS)),
        policy=draw(POLICIES),
        tags=draw(LABELS),
        metadata_json=encode_json(draw(OBJECTS)),
        asked=draw(OBJECTS),
        trace_id=draw(st.none() | HEX),
        span_id=draw(st.none() | HEX),
        retry_of=draw(st.none() | TEXTS),
        created_ns=draw(TIMES),
        created_mono=draw(SECONDS),
        deferred=draw(st.booleans()),
    )


@st.composite
def changed(draw: st.DrawFn, job: Job) -> Job:
    """`job` as it is later: attempts that have ended stay as they are, and a checkpoint stays."""
    attempts = list(job.attempts)
    if attempts and attempts[-1].outcome is None:
        attempts[-1] = draw(_ended(attempts[-1]))
    for _ in range(draw(st.integers(0, 3))):
        begun = AttemptRecord(
            number=len(attempts) + 1, started_ns=draw(TIMES), span_id=draw(st.none() | HEX)
        )
        attempts.append(draw(_ended(begun)))
    if attempts and len(attempts) > len(job.attempts) and draw(st.booleans()):
        attempts[-1] = replace(attempts[-1], finished_ns=None, outcome=None, error=None)
    changes = draw(CHANGES)
    if changes["checkpoint"] is None:
        changes["checkpoint"] = job.checkpoint
    return replace(job, **changes, attempts=tuple(attempts))


@st.composite
def _ended(draw: st.DrawFn, attempt: AttemptRecord) -> AttemptRecord:
    return replace(
        attempt,
        finished_ns=draw(TIMES),
        outcome=draw(st.sampled_from(Outcome)),
        error=draw(st.none() | st.builds(AttemptError, type=TEXTS, message=TEXTS)),
    )


def facts(job: Job) -> dict[str, Any]:
    """All that must come back of a job."""
    return {each.name: getattr(job, each.name) for each in fields(Job) if each.name not in NOT_KEPT}


def plain_job(number: int, **changes: Any) -> Job:
    """A job that says little; its id is `job-NUMBER` unless it is named."""
    job = Job(
        id=f"job-{number}",
        number=number,
        operation="op",
        params_json=b"{}",
        policy=Policy(),
        tags={},
        metadata_json=b"{}",
        asked={},
        trace_id=None,
        span_id=None,
        retry_of=None,
        created_ns=number,
        created_mono=0.0,
        deferred=False,
    )
    return replace(job, **changes)


def making(*jobs: Job) -> Batch:
    """A batch that makes `jobs`."""
    return Batch(made={job.id: Provenance() for job in jobs}, jobs={job.id: job for job in jobs})


def saying(start: int, *texts: str, first: int = 1) -> Told:
    """Events with these texts as their data, from sequence `start` on."""
    return Told(
        start=start,
        first=first,
        entries=[Entry("narration", Level.INFO, text.encode()) for text in texts],
    )


def heard(store: Store, job_id: str) -> list[str]:
    """The texts of the events that are kept."""
    return [entry.data.decode() for entry in store.entries(job_id)]


def ids(store: Store) -> Sequence[str]:
    """The jobs that are kept, in order."""
    return [stored.job.id for stored in store.load()]

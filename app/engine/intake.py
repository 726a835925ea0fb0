"""Taking jobs in: validated, resolved, within the queue's limit, before anything has changed.

It makes the job, its story and its span, and hands the entry on to waiting.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context

from app.access.rates import Rates
from app.engine.core import Core
from app.engine.entry import Entry
from app.handlers.operation import Operation
from app.jobs import job as jobs
from app.jobs.errors import (
    Draining,
    IdempotencyConflict,
    NarratorError,
    NotFinished,
    OperationNotFound,
    QueueFull,
    StoreUnavailable,
    TenantQueueFull,
    TenantRate,
)
from app.jobs.idempotency import Idempotency, Remembered
from app.jobs.model import DEFAULT_TENANT, Job
from app.jobs.policy import Limits, Policy, resolve
from app.jobs.submission import RetryChanges, Submission, asks_nothing, changed
from app.store.protocol import Provenance
from narration.hub import Narration
from telemetry.names import State
from telemetry.propagation import inject

RETRY_AFTER_S: Final = 1.0
"""When a refused submission may come again, seconds."""

EPOCH: Final = 8
"""Characters of a job's id that mark its log's: an id is never given twice, nor is this then."""

ACCEPTED: Final = 202
"""The status under which a submission is remembered."""


class Key(NamedTuple):
    """An idempotency key, and the hash of the body that came with it."""

    text: str
    body_hash: str


def _key(text: str | None, body_hash: str | None) -> Key | None:
    return None if text is None or body_hash is None else Key(text, body_hash)


class Intake:
    """Makes jobs of submissions."""

    def __init__(
        self,
        core: Core,
        *,
        operations: Mapping[str, Operation],
        narration: Narration,
        new_id: Callable[[], str],
        admit: Callable[[Entry], None],
    ) -> None:
        self._core = core
        self._operations = operations
        self._narration = narration
        self._new_id = new_id
        self._admit = admit
        self._announce = core.feed.announce  # one bound method for all jobs
        self._idempotency = Idempotency()
        self._policies: dict[str, Policy] = {}
        settings = core.settings
        self._rates = Rates(settings.tenant_rate, burst=settings.tenant_burst)
        self._limits = Limits(
            max_timeout_s=settings.max_timeout_s,
            max_attempts=settings.max_attempts,
            retry_later_limit=settings.retry_later_limit,
        )

    def submit(
        self,
        submission: Submission,
        *,
        parent: Context | None = None,
        idempotency_key: str | None = None,
        body_hash: str | None = None,
        tenant: str = DEFAULT_TENANT,
    ) -> tuple[Job, bool, int]:
        """Make a job, or find the one that the same key made: (job, whether it is new, status).

        Raises:
            Draining, QueueFull, TenantLimit, OperationNotFound, InvalidParams, InvalidSubmission,
            IdempotencyConflict: refused, and nothing has changed.

        """
        key = _key(idempotency_key, body_hash)
        try:
            known = self._known(key, tenant)
            if known is not None:
                return self._core.registry.get(known.job_id), False, known.status
            return self._make(submission, parent, tenant, key=key), True, ACCEPTED
        except NarratorError as error:
            self._refused(error)
            raise

    def retry(
        self,
        job_id: str,
        changes: RetryChanges | None,
        *,
        parent: Context | None,
        idempotency_key: str | None = None,
        body_hash: str | None = None,
        tenant: str = DEFAULT_TENANT,
    ) -> Job:
        """Run a finished job of the tenant again, with changes, as a new job linked to it.

        Or find the one that the same key made, whether or not the old one is still there.

        Raises:
            JobNotFound, NotFinished, and what `submit` raises.

        """
        key = _key(idempotency_key, body_hash)
        try:
            known = self._known(key, tenant)
        except IdempotencyConflict as error:
            self._refused(error)
            raise
        if known is not None:
            return self._core.registry.get(known.job_id)
        old = self._core.registry.owned(job_id, tenant)
        if not old.finished:
            raise NotFinished(job_id, old.state)
        submission = changed(jobs.submission_of(old), changes)
        try:
            return self._make(submission, parent, tenant, retry_of=old, key=key)
        except NarratorError as error:
            self._refused(error)
            raise

    def forget(self, job_id: str) -> None:
        """The job is gone, and its idempotency key with it."""
        self._idempotency.forget(job_id)

    def _refused(self, error: NarratorError) -> None:
        """Count a submission that is refused, by the kind of error."""
        self._core.metrics.refused(error.code)

    def remember(self, job: Job, provenance: Provenance) -> None:
        """A job of an earlier process answers to its idempotency key."""
        if provenance.idempotency_key is not None and provenance.body_hash is not None:
            self._remember(job, Key(provenance.idempotency_key, provenance.body_hash))

    def _known(self, key: Key | None, tenant: str) -> Remembered | None:
        """What the tenant's first request with that key led to; `IdempotencyConflict`."""
        return None if key is None else self._idempotency.find(*key, tenant=tenant)

    def _remember(self, job: Job, key: Key) -> None:
        self._idempotency.remember(
            key.text, key.body_hash, job_id=job.id, status=ACCEPTED, tenant=job.tenant
        )

    def _make(
        self,
        submission: Submission,
        parent: Context | None,
        tenant: str,
        *,
        retry_of: Job | None = None,
        key: Key | None = None,
    ) -> Job:
        core = self._core
        operation = self._operations.get(submission.operation)
        if operation is None:
            raise OperationNotFound(submission.operation, self._operations)
        params = operation.validate(submission.params)
        policy = self._policy(submission, operation)
        self._check_room(tenant)
        job = jobs.submit(
            submission,
            job_id=self._new_id(),
            policy=policy,
            params=params,
            now_ns=core.clock.wall_ns(),
            now_mono=core.clock.monotonic(),
            retry_of=retry_of.id if retry_of else None,
            tenant=tenant,
        )
        entry = self._entry(job, operation, parent, retry_of)
        core.registry.add(job)
        core.entries[job.id] = entry
        if key is not None:
            self._remember(job, key)
        if core.journal.durable:
            core.journal.made(job.id, self._provenance(entry, parent, retry_of, key))
        self._admit(entry)
        return job

    def _provenance(
        self, entry: Entry, parent: Context | None, retry_of: Job | None, key: Key | None
    ) -> Provenance:
        """What a later process needs of the job beside its record."""
        again = self._core.kept[retry_of.id].identity if retry_of else None
        return Provenance(
            idempotency_key=key.text if key else None,
            body_hash=key.body_hash if key else None,
            carrier=inject(parent or Context()),
            trace_flags=int(entry.observation.span.get_span_context().trace_flags),
            retry_of=None
            if again is None or not again.is_valid
            else (
                trace.format_trace_id(again.trace_id),
                trace.format_span_id(again.span_id),
                int(again.trace_flags),
            ),
        )

    def _policy(self, submission: Submission, operation: Operation) -> Policy:
        """The job's policy; where it asks for nothing, one made once for the operation."""
        if not asks_nothing(submission):
            return resolve(submission, operation.defaults, self._limits)
        policy = self._policies.get(operation.name)
        if policy is None:
            policy = resolve(submission, operation.defaults, self._limits)
            self._policies[operation.name] = policy
        return policy

    def _entry(
        self, job: Job, operation: Operation, parent: Context | None, retry_of: Job | None
    ) -> Entry:
        core = self._core
        told = self._narration.open_story(job.id, epoch=job.id[:EPOCH])
        observation = core.observer.created(
            job,
            operation,
            told.story,
            parent=parent,
            retry_of=core.kept[retry_of.id].identity if retry_of else None,
        )
        identity = observation.span.get_span_context()
        if identity.is_valid:
            job.trace_id = trace.format_trace_id(identity.trace_id)
            job.span_id = trace.format_span_id(identity.span_id)
        return Entry(
            job=job,
            operation=operation,
            story=told.story,
            log=told.log,
            spans=told.spans,
            observation=observation,
            announce=self._announce,
        )

    def _check_room(self, tenant: str) -> None:
        core = self._core
        if core.draining:
            raise Draining(retry_after_s=RETRY_AFTER_S)
        if core.journal.failing is not None:
            raise StoreUnavailable(core.journal.failing, retry_after_s=RETRY_AFTER_S)
        limit = core.settings.queue_limit
        if core.registry.count(State.QUEUED, State.RETRYING) >= limit:
            raise QueueFull(limit, retry_after_s=RETRY_AFTER_S)
        own = core.settings.tenant_queued
        if own and core.registry.count(State.QUEUED, State.RETRYING, tenant=tenant) >= own:
            raise TenantQueueFull(own, retry_after_s=RETRY_AFTER_S)
        wait_s = self._rates.take(tenant, core.clock.monotonic())  # last: it alone is used up
        if wait_s:
            raise TenantRate(core.settings.tenant_rate, retry_after_s=wait_s)

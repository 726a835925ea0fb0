"""The `state` event: a job's state as its story tells it, and as the feed of all jobs does.

Both are told at every transition, so they are put together from their JSON's parts, of which few
change: a test holds that the bytes are those of an encoder. Who hears them is not known here.
"""

from functools import lru_cache
from typing import Final

import msgspec

from app.jobs.model import Job
from telemetry.clock import rfc3339
from telemetry.names import Level, Reason, State, StreamEvent

STATE: Final = StreamEvent.STATE.value
PASSES: Final = Level.FATAL
"""The level at which a `state` is kept: `?level=` never leaves it out."""

_encode: Final = msgspec.json.Encoder().encode


def in_story(job: Job, sequence: int, at: str) -> bytes:
    """The job's state as its own story tells it at `at` (RFC 3339)."""
    return b'{"seq":%d,"at":"%b",%b,"attempt":%d,"next_retry_at":%b}' % (
        sequence,
        at.encode(),
        _state(job.state, job.reason),
        job.attempt,
        _next_retry(job),
    )


def in_feed(job: Job, sequence: int, at: str) -> bytes:
    """The same beside those of other jobs: with what they may be told apart by."""
    return (
        b'{"seq":%d,"at":"%b","job_id":%b,"operation":%b,%b,"priority":%b,"attempt":%d,'
        b'"next_retry_at":%b,"tags":%b}'
    ) % (
        sequence,
        at.encode(),
        _encode(job.id),
        _word(job.operation),
        _state(job.state, job.reason),
        _word(job.policy.priority),
        job.attempt,
        _next_retry(job),
        _encode(dict(job.tags)) if job.tags else b"{}",
    )


@lru_cache(maxsize=64)
def _state(state: State, reason: Reason | None) -> bytes:
    return b'"state":%b,"reason":%b' % (_encode(state), _encode(reason))


@lru_cache(maxsize=1024)  # operations and priorities
def _word(word: str) -> bytes:
    return _encode(word)


def _next_retry(job: Job) -> bytes:
    return b"null" if job.next_retry_ns is None else b'"%b"' % rfc3339(job.next_retry_ns).encode()

"""Idempotency keys: the same request sent again answers with the job that the first one made.

After the IETF draft "The Idempotency-Key HTTP Header Field". A key belongs to one tenant, lives as
long as its job, and is remembered only for a request that was accepted. Submissions and retries
share the tenant's keys: whoever sends a key a second time for something else has a fault, and is
told so, where a key of its own for each address would quietly make a second job.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from app.jobs.encoding import encode_json
from app.jobs.errors import IdempotencyConflict


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What the first request with a key led to."""

    job_id: str
    status: int
    body_hash: str


class Idempotency:
    """The keys in use."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], Remembered] = {}
        self._keys_of: dict[str, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, key: str, body_hash: str, *, tenant: str = "") -> Remembered | None:
        """The first request with `key`; None if this is it.

        Raises:
            IdempotencyConflict: the first one was another request.

        """
        found = self._by_key.get((tenant, key))
        if found is not None and found.body_hash != body_hash:
            raise IdempotencyConflict(key, found.job_id)
        return found

    def remember(
        self, key: str, body_hash: str, *, job_id: str, status: int, tenant: str = ""
    ) -> None:
        """The request with `key` was accepted with `status` and made `job_id`."""
        self._by_key[tenant, key] = Remembered(job_id=job_id, status=status, body_hash=body_hash)
        self._keys_of[job_id] = (tenant, key)

    def forget(self, job_id: str) -> None:
        """The job has been forgotten, and its key with it; one without a key is no error."""
        key = self._keys_of.pop(job_id, None)
        if key is not None:
            del self._by_key[key]


def retry_hash(job_id: str, body: Any) -> str:
    """The same for the same retry of the same job; no body and `{}` are the same.

    No submission has it: none is of this form.

    Raises:
        encoding.NotJsonError: `body` is not JSON.

    """
    return body_hash({"retry_of": job_id, "changes": {} if body is None else body})


def body_hash(body: Any) -> str:
    """The same for the same JSON, whatever its spaces and the order of its keys: SHA-256, in hex.

    Raises:
        encoding.NotJsonError: `body` is not JSON.

    """
    return hashlib.sha256(encode_json(body, sort_keys=True)).hexdigest()

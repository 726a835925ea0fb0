"""Idempotency keys: the same request again is the same job, a retry as a submission."""

from typing import Any

import pytest

from app.jobs.errors import IdempotencyConflict, InvalidParams, NotFinished
from app.jobs.idempotency import body_hash, retry_hash
from app.jobs.record import JobRecord
from app.jobs.registry import JobFilter
from app.jobs.submission import RetryChanges, Submission
from telemetry.names import MetricName
from tests.engine.harness import Bench, run
from tests.engine.operations import sleep


def _send(bench: Bench, key: str, **fields: Any) -> tuple[JobRecord, bool, int]:
    """As the HTTP side does it."""
    body = {"operation": "sleep", **fields}
    taken = bench.engine.submit(
        Submission.model_validate(body), idempotency_key=key, body_hash=body_hash(body)
    )
    return bench.record(taken.job_id), taken.created, taken.status


def test_the_same_key_gives_the_first_job_with_its_status() -> None:
    async def test(bench: Bench) -> None:
        first, created, status = _send(bench, "k", params={"for_s": 3})
        assert (created, status) == (True, 202)
        await bench.ended(first.id)
        again, created, status = _send(bench, "k", params={"for_s": 3})

        assert (again.id, created, status) == (first.id, False, 202)
        assert again.state == "completed"
        assert bench.total(MetricName.SUBMITTED) == 1

    run(test, sleep)


def test_the_order_of_a_bodys_keys_makes_no_difference() -> None:
    async def test(bench: Bench) -> None:
        first, _, _ = _send(bench, "k", params={"for_s": 1, "value": "v"}, tags={"a": "b"})
        again, _, _ = _send(bench, "k", tags={"a": "b"}, params={"value": "v", "for_s": 1})

        assert again.id == first.id

    run(test, sleep)


def test_another_body_under_the_same_key_is_refused() -> None:
    async def test(bench: Bench) -> None:
        first, _, _ = _send(bench, "k")
        with pytest.raises(IdempotencyConflict) as conflict:
            _send(bench, "k", params={"for_s": 1})

        assert (conflict.value.key, conflict.value.job_id) == ("k", first.id)
        assert bench.engine.find(JobFilter()).total == 1
        assert bench.metric(MetricName.REFUSED, reason="idempotency-conflict") == 1

    run(test, sleep)


def test_a_key_goes_with_its_job() -> None:
    async def test(bench: Bench) -> None:
        first, _, _ = _send(bench, "k")
        await bench.ended(first.id)
        bench.engine.forget(first.id)
        again, created, _ = _send(bench, "k", params={"for_s": 1})

        assert created
        assert again.id != first.id

    run(test, sleep)


def test_a_key_goes_when_retention_takes_its_job() -> None:
    async def test(bench: Bench) -> None:
        first, _, _ = _send(bench, "k")
        await bench.ended(first.id)
        await bench.at(20)
        _, created, _ = _send(bench, "k")

        assert created

    run(test, sleep, retention_s=10.0)


def test_refusals_are_not_remembered() -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(InvalidParams):
            _send(bench, "k", params={"for_s": "long"})
        _, created, _ = _send(bench, "k", params={"for_s": 1})

        assert created

    run(test, sleep)


def test_a_known_key_is_answered_during_a_drain_and_with_a_full_queue() -> None:
    async def test(bench: Bench) -> None:
        first, _, _ = _send(bench, "k", start="on_stream")
        again, created, _ = _send(bench, "k", start="on_stream")
        assert (again.id, created) == (first.id, False)
        await bench.engine.drain(0)
        again, created, _ = _send(bench, "k", start="on_stream")

        assert (again.id, created) == (first.id, False)

    run(test, sleep, queue_limit=1)


# --- retries --------------------------------------------------------------------------------------


def _retry(bench: Bench, job_id: str, key: str, **changes: Any) -> JobRecord:
    """As the HTTP side does it."""
    return bench.engine.retry(
        job_id,
        RetryChanges.model_validate(changes) if changes else None,
        idempotency_key=key,
        body_hash=retry_hash(job_id, changes),
    )


async def _ended(bench: Bench) -> str:
    job_id = bench.submit("sleep", {"for_s": 1})
    await bench.ended(job_id)
    return job_id


def test_the_same_retry_with_the_same_key_is_one_new_job() -> None:
    async def test(bench: Bench) -> None:
        old = await _ended(bench)
        first = _retry(bench, old, "k", params={"for_s": 2})
        await bench.ended(first.id)
        again = _retry(bench, old, "k", params={"for_s": 2})

        assert (again.id, again.state, again.retry_of) == (first.id, "completed", old)
        assert bench.engine.find(JobFilter()).total == 2
        assert bench.total(MetricName.SUBMITTED) == 2

    run(test, sleep)


def test_a_retry_is_known_by_its_key_when_the_old_job_is_gone_and_during_a_drain() -> None:
    async def test(bench: Bench) -> None:
        old = await _ended(bench)
        first = _retry(bench, old, "k")
        bench.engine.forget(old)
        await bench.engine.drain(0)

        assert _retry(bench, old, "k").id == first.id

    run(test, sleep)


def test_a_key_that_was_used_for_another_request_retries_nothing() -> None:
    async def test(bench: Bench) -> None:
        old, other = await _ended(bench), await _ended(bench)
        first = _retry(bench, old, "k")
        submitted, _, _ = _send(bench, "s")
        for job_id, key, changes, holder in [
            (old, "k", {"params": {"for_s": 3}}, first.id),
            (other, "k", {}, first.id),
            (old, "s", {}, submitted.id),
        ]:
            with pytest.raises(IdempotencyConflict) as conflict:
                _retry(bench, job_id, key, **changes)
            assert conflict.value.job_id == holder
        with pytest.raises(IdempotencyConflict):
            _send(bench, "k")

        assert bench.engine.find(JobFilter()).total == 4
        assert bench.metric(MetricName.REFUSED, reason="idempotency-conflict") == 4

    run(test, sleep)


def test_a_retry_that_is_refused_is_not_remembered() -> None:
    async def test(bench: Bench) -> None:
        job_id = bench.submit("sleep", {"for_s": 1})
        with pytest.raises(NotFinished):
            _retry(bench, job_id, "k")
        await bench.ended(job_id)

        assert _retry(bench, job_id, "k").retry_of == job_id

    run(test, sleep)

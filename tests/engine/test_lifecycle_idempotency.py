"""Idempotency keys: the same request again is the same job."""

from typing import Any

import pytest

from app.jobs.errors import IdempotencyConflict, InvalidParams
from app.jobs.idempotency import body_hash
from app.jobs.record import JobRecord
from app.jobs.registry import JobFilter
from app.jobs.submission import Submission
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

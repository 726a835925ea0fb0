"""The trace of a job that an engine has begun and another one ends."""

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased
from opentelemetry.trace import SpanContext, StatusCode, format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.handlers.operation import operation
from app.jobs.submission import Submission
from narration.narrate import narrate
from tests.engine.harness import seconds
from tests.engine.lives import Lives, run_lives
from tests.engine.operations import flaky, hang, sleep, speaks

pytestmark = pytest.mark.backend("sqlite")


def _caller() -> tuple[Any, int, int]:
    """A caller's context, and the ids in it."""
    header = {"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"}
    return TraceContextTextMapPropagator().extract(header), 0xABC, 0xDEF


def _identity(span: ReadableSpan) -> SpanContext:
    identity = span.get_span_context()
    assert identity is not None
    return identity


def test_a_trace_is_one_whoever_ends_it() -> None:
    async def test(lives: Lives) -> None:
        context, trace_id, caller = _caller()
        bench = await lives.start()
        submission = Submission.model_validate(
            {"operation": "flaky", "params": {"times": 0, "for_s": 5}, "retry": {"max_attempts": 2}}
        )
        job = bench.engine.submit(submission, parent=context).job_id
        await bench.at(2)
        first = bench.record(job)
        assert first.trace_id == format_trace_id(trace_id)
        await lives.kill(after_s=10)
        bench = await lives.start()
        record = await bench.ended(job)

        assert record.trace_id == first.trace_id
        assert record.attempts[0].span_id == first.attempts[0].span_id
        (whole,) = bench.spans("job flaky", job)
        cut, second = bench.spans("job.attempt", job)
        assert whole.parent is not None
        assert whole.parent.span_id == caller
        assert whole.status.status_code is StatusCode.UNSET
        assert format_span_id(_identity(cut).span_id) == first.attempts[0].span_id
        assert cut.status.status_code is StatusCode.ERROR
        assert (cut.attributes or {})["error.type"] == "lost"
        assert (cut.attributes or {})["job.outcome"] == "lost"
        assert second.status.status_code is StatusCode.UNSET
        for each in (cut, second, *bench.spans("job.backoff", job)):
            assert each.parent is not None
            assert each.parent.span_id == _identity(whole).span_id
            assert _identity(each).trace_id == trace_id
        told = bench.engine.trace(job)[0]  # what the cut attempt had made of its own is not there
        assert sorted(each.name for each in told) == [
            *("job flaky", "job.attempt", "job.attempt", "job.backoff", "job.wait")
        ]
        assert not any(each.end is None for each in told)

    run_lives(test, flaky)


def test_the_span_of_a_cut_attempt_ends_when_the_attempt_was_last_heard_of() -> None:
    @operation
    async def talks() -> None:
        await asyncio.sleep(3)
        narrate("say", "three")
        await asyncio.Event().wait()

    async def test(lives: Lives) -> None:
        bench = await lives.start()
        job = bench.submit("talks")
        await bench.at(4)
        await lives.kill(after_s=100)
        bench = await lives.start()
        (cut,) = bench.spans("job.attempt", job)
        (attempt,) = bench.record(job).attempts

        assert seconds(attempt.finished_at) == 3
        assert (cut.end_time or 0) - (cut.start_time or 0) == 3e9

    run_lives(test, talks)


def test_a_job_that_waited_has_its_whole_wait_as_a_span() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        bench.submit("hang")
        await bench.settle()
        job = bench.submit("sleep")
        await bench.settle()
        await lives.kill(after_s=30)
        bench = await lives.start()
        await bench.ended(job)

        (wait,) = bench.spans("job.wait", job)
        assert (wait.end_time or 0) - (wait.start_time or 0) == 30e9

    run_lives(test, hang, sleep, concurrency=1)


def test_the_link_of_a_repeated_job_is_kept() -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start()
        old = bench.submit("hang")
        await bench.settle()
        bench.engine.cancel(old)
        await bench.ended(old)
        again = bench.engine.retry(old).id
        await bench.settle()
        await lives.kill()
        bench = await lives.start()
        (span,) = bench.spans("job hang", again)

        assert bench.state(again) == "failed/lost"
        assert bench.record(again).retry_of == old
        assert [format_span_id(link.context.span_id) for link in span.links] == [
            bench.engine._core.registry.get(old).span_id
        ]

    run_lives(test, hang)


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0.0)])
def test_a_job_that_is_not_sampled_is_narrated_on_and_not_exported(sampler: Any) -> None:
    async def test(lives: Lives) -> None:
        bench = await lives.start(sampler=sampler)
        job = bench.submit("speaks", start="on_stream")
        cut = bench.submit("hang")
        await bench.settle()
        before = bench.record(job)
        await lives.kill()
        bench = await lives.start(sampler=sampler)
        bench.engine.attached(job)
        record = await bench.ended(job)

        assert record.trace_id == before.trace_id
        assert "Loading forest" in bench.texts(job)
        assert bench.state(cut) == "failed/lost"
        assert not bench.spans("job speaks")
        assert not bench.spans("job hang")

    run_lives(test, speaks, hang)


def test_baggage_and_the_callers_trace_reach_the_attempt_after_the_restart() -> None:
    seen: list[int] = []

    @operation
    async def looks() -> None:
        seen.append(trace.get_current_span().get_span_context().trace_id)

    async def test(lives: Lives) -> None:
        context, trace_id, _ = _caller()
        bench = await lives.start()
        submission = Submission.model_validate({"operation": "looks", "start": "on_stream"})
        job = bench.engine.submit(submission, parent=context).job_id
        await bench.settle()
        await lives.kill()
        bench = await lives.start()
        bench.engine.attached(job)
        await bench.ended(job)

        assert seen == [trace_id]

    run_lives(test, looks)

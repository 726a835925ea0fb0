"""`run_operation`: a user's handler, run in virtual time for a test of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry import trace

from app.handlers.context import JobContext, RetryLater
from app.handlers.discovery import operations_of
from app.handlers.errors import TargetError
from app.handlers.lifespan import lifespan
from app.handlers.operation import operation
from app.jobs.errors import InvalidParams, InvalidSubmission
from app.testing import run_operation
from app.virtual_time import VirtualTimeError
from narration.narrate import narrate


class Camera:
    """A resource."""

    def __init__(self) -> None:
        self.open = True


cameras: list[Camera] = []


@lifespan
async def camera() -> AsyncIterator[Camera]:
    """Open a camera, and close it."""
    cameras.append(Camera())
    yield cameras[-1]
    cameras[-1].open = False


@operation("render", max_attempts=3, base_delay_s=60, jitter="none")
async def render(scene: str, frames: int = 2, *, job: JobContext) -> dict[str, int]:
    """Render a scene."""
    narrate("load", "Loading {scene}", scene=scene, cute="Waking {scene} up")
    for frame in range(frames):
        job.progress(frame + 1, frames)
        job.output(f"frame {frame}")
    return {"frames": frames}


@operation
async def shoot(*, by: Camera) -> bool:
    """Use a resource."""
    return by.open


def test_result_output_and_narration_of_a_run_can_be_looked_at() -> None:
    run = run_operation(render, scene="forest", frames=3)

    assert run.state == "completed"
    assert run.result == {"frames": 3}
    assert run.output == ["frame 0", "frame 1", "frame 2"]
    assert "Loading forest" in run.texts
    (loading,) = [each for each in run.messages if each["action"] == "load"]
    assert loading["cute"] == "Waking forest up"
    assert [each.outcome for each in run.attempts] == ["completed"]
    assert run.events[-1]["event"] == "end"


def test_hours_pass_in_no_time() -> None:
    @operation(max_attempts=4, base_delay_s=3600, max_delay_s=7200, jitter="none")
    async def stumbles(*, job: JobContext) -> float:
        await asyncio.sleep(1800)
        if job.attempt < 4:
            raise ValueError("not yet")
        return asyncio.get_running_loop().time()

    begun = time.monotonic()
    run = run_operation(stumbles)

    assert run.result == 4 * 1800 + 3600 + 7200 + 7200
    assert [each.outcome for each in run.attempts] == ["error"] * 3 + ["completed"]
    assert time.monotonic() - begun < 60


def test_fields_of_the_submission_can_be_given() -> None:
    @operation
    async def hangs() -> None:
        await asyncio.Event().wait()

    run = run_operation(hangs, {"timeout_s": 5, "tags": {"a": "b"}})

    assert (run.state, run.record.reason, run.record.tags) == ("failed", "timeout", {"a": "b"})


def test_a_deferred_job_runs_as_under_its_first_reader() -> None:
    assert run_operation(render, {"start": "on_stream"}, scene="x").state == "completed"


def test_a_failure_is_no_exception_but_a_run_to_look_at() -> None:
    @operation
    async def fails() -> None:
        raise ValueError("no")

    run = run_operation(fails)

    assert run.state == "failed"
    assert run.result is None
    assert run.attempts[0].error is not None
    assert run.attempts[0].error.message == "no"


def test_threads_and_generators_run_too() -> None:
    @operation
    def tokens() -> Iterator[str]:
        narrate("say", "in a thread")
        yield from ("a", "b")

    run = run_operation(tokens)

    assert run.output == ["a", "b"]
    assert "in a thread" in run.texts


def test_resources_of_the_module_are_opened_and_closed() -> None:
    cameras.clear()
    run = run_operation(shoot)

    assert run.result is True
    assert [each.open for each in cameras] == [False]


def test_a_handler_that_is_no_operation_is_refused() -> None:
    def plain() -> None:
        """Nothing."""

    with pytest.raises(TargetError, match="decorate it with @operation"):
        run_operation(plain)


def test_an_operation_that_was_loaded_runs_as_well() -> None:
    (loaded,) = operations_of([render])

    assert run_operation(loaded, scene="x").state == "completed"


def test_wrong_params_and_fields_are_refused() -> None:
    with pytest.raises(InvalidParams):
        run_operation(render, scene=5)
    with pytest.raises(InvalidSubmission):
        run_operation(render, {"timeout_s": 1e6}, scene="x")


def test_a_handler_that_never_ends_is_an_error_that_says_what_to_do() -> None:
    @operation
    async def hangs() -> None:
        await asyncio.Event().wait()

    with pytest.raises(VirtualTimeError, match="timeout_s"):
        run_operation(hangs)


def test_a_run_of_many_hours_is_waited_for() -> None:
    @operation
    async def patient(*, job: JobContext) -> int:
        if job.attempt < 4:
            raise RetryLater(1500)
        return job.attempt

    assert run_operation(patient).result == 4


def test_runs_do_not_depend_on_each_other_or_on_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NARRATOR_MAX_RESULT_BYTES", "none of your business")
    monkeypatch.setenv("NARRATOR_CONCURRENCY", "0")
    before = trace.get_tracer_provider()
    first = run_operation(render, scene="a")
    second = run_operation(render, scene="b")

    assert [first.record.id == second.record.id, first.texts == second.texts] == [False, False]
    assert {each["job_id"] for each in first.messages} == {first.record.id}
    assert isinstance(before, trace.ProxyTracerProvider) or trace.get_tracer_provider() is before

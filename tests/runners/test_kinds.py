"""What holds for all kinds of handlers alike: coroutine, thread, and both forms of process."""

import asyncio
import threading
from pathlib import Path

import pytest

from app.engine.runners import Raised, Returned, exception_type, exception_types
from app.engine.runners.calls import call_sync
from app.handlers.context import JobCancelled, JobContext, Reject, RetryLater
from app.handlers.discovery import operations_of
from app.handlers.lifespan import Resources
from app.handlers.operation import operation
from app.virtual_time import VirtualClock, run_virtual
from telemetry.names import Kind
from tests.runners.attempts import BOUND_S, KINDS, Attempt, Gate, run

kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_a_handler_returns_its_result(kind: str) -> None:
    async def test() -> None:
        assert await Attempt().run(f"returns_{kind}", x=7) == Returned({"x": 7, "attempt": 1})

    run(test)


@kinds
def test_everything_that_a_handler_says_is_heard_while_it_runs(kind: str, tmp_path: Path) -> None:
    async def test() -> None:
        attempt = Attempt()
        with Gate(tmp_path) as gate:
            attempt.start(f"waits_{kind}", gate=gate.path)
            await attempt.said("ready")

            assert attempt.endings == []
            assert [
                each.kind for each in attempt.told if each.kind in {Kind.NARRATE, Kind.LOG}
            ] == [
                "narrate",
                "log",
                "narrate",
            ]
            assert "said by logging" in attempt.texts
            assert "said by a span" in attempt.texts
            assert attempt.progressed == [(1, 2, "half")]
            assert attempt.outputs == ["a chunk"]
            assert attempt.checkpoints == [{"at": 1}]
            assert attempt.spans_named("inner") == ["ended"]
            assert attempt.spans_named("waiting") == ["running"]
            await gate.open()
            assert await attempt.end() == Returned("opened")
            assert attempt.spans_named("waiting") == ["ended"]

    run(test)


@kinds
def test_the_spans_of_a_handler_belong_to_the_attempt(kind: str) -> None:
    async def test() -> None:
        attempt = Attempt()
        await attempt.run(f"returns_{kind}")

        own = attempt.span.get_span_context()
        inner = next(each for each in attempt.spans.records() if each.name == "inner")
        assert inner.trace_id == f"{own.trace_id:032x}"
        assert inner.parent_span_id == f"{own.span_id:016x}"
        assert [event.name for event in inner.events] == ["said by a span"]

    run(test)


@kinds
def test_what_is_narrated_is_an_event_of_the_attempts_span(kind: str) -> None:
    async def test() -> None:
        attempt = Attempt()
        await attempt.run(f"returns_{kind}")

        own = next(each for each in attempt.spans.records() if each.name == "job.attempt")
        assert [event.name for event in own.events] == ["said"]
        assert own.events[0].attributes["count"] == 1

    run(test)


@kinds
def test_an_unsampled_attempt_is_told_in_full(kind: str) -> None:
    async def test() -> None:
        attempt = Attempt(sampled=False)
        await attempt.run(f"returns_{kind}")

        assert {"said by narrate", "said by logging", "said by a span"} <= set(attempt.texts)
        assert attempt.exported == []

    run(test)


@kinds
def test_an_exception_is_raised_with_its_type_and_message(kind: str) -> None:
    async def test() -> None:
        ending = await Attempt().run(f"raises_{kind}", kind="broken")

        assert isinstance(ending, Raised)
        assert exception_type(ending.exception) == "handlers.Broken"
        assert exception_types(ending.exception) == (
            "handlers.Broken",
            "ValueError",
            "Exception",
            "BaseException",
        )
        assert str(ending.exception) == "it broke"
        assert type(ending.exception).__qualname__ == "Broken"

    run(test)


@kinds
@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_a_base_exception_is_an_ending_like_any_other(kind: str, name: str) -> None:
    async def test() -> None:
        ending = await Attempt().run(f"raises_{kind}", kind=name)

        assert isinstance(ending, Raised)
        assert exception_type(ending.exception) == name

    run(test)


@kinds
def test_a_handler_that_raises_cancelled_error_by_itself_has_raised(kind: str) -> None:
    async def test() -> None:
        ending = await Attempt().run(f"raises_{kind}", kind="cancelled")

        assert isinstance(ending, Raised)
        assert isinstance(ending.exception, asyncio.CancelledError | JobCancelled)

    run(test)


@kinds
def test_a_handlers_decisions_arrive_with_their_data(kind: str) -> None:
    async def test() -> None:
        rejected = await Attempt().run(f"raises_{kind}", kind="reject")
        later = await Attempt().run(f"raises_{kind}", kind="later")

        assert isinstance(rejected, Raised)
        assert isinstance(rejected.exception, Reject)
        assert rejected.exception.reason == "no"
        assert isinstance(later, Raised)
        assert isinstance(later.exception, RetryLater)
        assert (later.exception.after_s, later.exception.reason) == (7.0, "busy")

    run(test)


@kinds
def test_a_handler_that_listens_stops_when_asked_and_cleans_up(kind: str) -> None:
    async def test() -> None:
        attempt = Attempt()
        running = attempt.start(f"listens_{kind}")
        await attempt.said("ready")
        running.request_stop("enough")
        running.request_stop("again")
        ending = await attempt.end()

        assert isinstance(ending, Raised)
        assert isinstance(ending.exception, asyncio.CancelledError | JobCancelled)
        assert "cleaned up" in attempt.texts
        assert attempt.job.token.reason == "enough"

    run(test)


@kinds
def test_a_handler_that_does_not_listen_goes_on(kind: str, tmp_path: Path) -> None:
    async def test() -> None:
        attempt = Attempt()
        with Gate(tmp_path) as gate:
            running = attempt.start(f"ignores_{kind}", gate=gate.path)
            await attempt.said("ready")
            running.request_stop()
            deaf = await attempt.said("not listening")

            assert deaf.fields == {"cancelled": True}
            assert attempt.endings == []
            await gate.open("late")
            assert await attempt.end() == Returned("late")

    run(test)


@kinds
def test_only_a_process_can_be_killed(kind: str, tmp_path: Path) -> None:
    async def test() -> None:
        attempt = Attempt()
        with Gate(tmp_path) as gate:
            running = attempt.start(f"waits_{kind}", gate=gate.path)
            await attempt.said("ready")

            assert running.kill() is kind.endswith("process")
            if not kind.endswith("process"):
                await gate.open()
            await attempt.end()

    run(test)


@kinds
def test_a_generator_streams_its_chunks_and_is_closed_where_it_ran(kind: str) -> None:
    async def test() -> None:
        attempt = Attempt()
        ending = await attempt.run(f"streams_{kind}")

        assert attempt.outputs == [0, 1, 2]
        assert ending == Returned(3 if kind in {"thread", "process"} else None)
        where = "narrator-streams_thread-job-1" if kind == "thread" else "MainThread"
        assert f"closed in {where}" in attempt.texts

    run(test)


@kinds
def test_an_endless_generator_stops_when_asked(kind: str) -> None:
    async def test() -> None:
        attempt = Attempt()
        running = attempt.start(f"streams_on_{kind}")
        await attempt.until(lambda: len(attempt.outputs) > 10)
        running.request_stop()
        ending = await attempt.end()

        assert isinstance(ending, Raised)
        assert "closed" in attempt.texts

    run(test)


@kinds
def test_virtual_time_waits_for_a_handler_that_is_really_at_work(kind: str) -> None:
    async def main(clock: VirtualClock) -> float:
        ending = await Attempt(clock=clock).run(f"returns_{kind}")
        assert isinstance(ending, Returned)
        return clock.monotonic()

    assert run_virtual(main) < BOUND_S


def test_a_stop_before_the_first_step_ends_a_coroutine_unrun() -> None:
    async def test() -> None:
        attempt = Attempt()
        attempt.start("returns_coroutine").request_stop("too late")
        ending = await attempt.end()

        assert isinstance(ending, Raised)
        assert isinstance(ending.exception, asyncio.CancelledError)
        assert attempt.texts == []

    run(test)


def test_an_ending_is_told_after_the_start_has_returned() -> None:
    async def test() -> None:
        attempt = Attempt()
        attempt.start("returns_coroutine")

        assert attempt.endings == []
        await attempt.end()
        assert len(attempt.endings) == 1

    run(test)


def test_a_thread_that_cannot_be_started_is_a_failed_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def test() -> None:
        attempt = Attempt()
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)  # as a process at its limit does
            attempt.start("returns_thread")
        ending = await attempt.end()

        assert isinstance(ending, Raised)
        assert str(ending.exception) == "can't start new thread"

    run(test)


def test_a_thread_that_outlives_its_loop_harms_nobody(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    threads: list[threading.Thread] = []

    async def test() -> None:
        attempt = Attempt()
        attempt.start("waits_thread", gate=gate.path)
        await attempt.said("ready")
        name = "narrator-waits_thread-job-1"
        threads.extend(each for each in threading.enumerate() if each.name == name)

    run(test)
    Path(gate.path).write_text("opened")
    threads[0].join(60)

    assert threads[0].daemon
    assert not threads[0].is_alive()


def test_a_plain_function_that_returns_a_coroutine_is_told_so() -> None:
    @operation
    def forgets() -> object:
        async def inner() -> None: ...

        return inner()

    job = JobContext(id="j", attempt=1, sink=NoSink())
    ending = call_sync(operations_of([forgets])[0], {}, job, Resources())

    assert isinstance(ending, Raised)
    assert "write it with async def" in str(ending.exception)


class NoSink:
    """Hears nothing."""

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Hear nothing."""

    def output(self, chunk: object) -> None:
        """Hear nothing."""

    def checkpoint(self, value: object) -> None:
        """Hear nothing."""

"""Handlers on their worst day: each costs its own job, and nothing else."""

import asyncio
import gc
import logging
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import Span, SpanProcessor

from app.handlers.context import JobContext
from app.handlers.operation import operation
from narration.narrate import narrate
from telemetry.names import MetricName
from tests.engine.harness import Bench, run
from tests.engine.operations import sleep


class _Unspeakable(Exception):  # noqa: N818  # named for what it is
    """Raises whenever it is told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class _Deadly(Exception):  # noqa: N818  # named for what it is
    """Ends whoever tells it."""

    def __str__(self) -> str:
        raise SystemExit(4)


class _Own(BaseException):
    """Nothing that `except Exception` would catch."""


ENDINGS: dict[str, tuple[Any, str]] = {
    "base": (lambda: _Own("own"), "own"),
    "exit": (lambda: SystemExit(3), "3"),
    "interrupt": (lambda: KeyboardInterrupt("ctrl-c"), "ctrl-c"),
    "closed": (lambda: GeneratorExit("closed"), "closed"),
    "stop": (lambda: StopIteration("stopped"), "stopped"),
    "group": (lambda: ExceptionGroup("several", [ValueError("a")]), "several (1 sub-exception)"),
    "base_group": (lambda: BaseExceptionGroup("several", [_Own("b")]), "several (1 sub-exception)"),
    "memory": (MemoryError, "MemoryError"),
    "unspeakable": (lambda: _Unspeakable("x"), "_Unspeakable"),
    "deadly": (lambda: _Deadly("x"), "_Deadly"),
    "surrogate": (lambda: ValueError("half \ud800 pair"), "half \ufffd pair"),
    "long": (lambda: ValueError("x" * 1_000_000), "x" * 4096),
    "silent": (ValueError, "ValueError"),
}


def _made(what: str) -> BaseException:
    error: BaseException = ENDINGS[what][0]()
    return error


@operation
async def raises(what: str) -> None:
    """Raise on the loop."""
    raise _made(what)


@operation
def raises_in_a_thread(what: str) -> None:
    """Raise in a thread."""
    raise _made(what)


@operation
async def raises_while_it_yields(what: str) -> AsyncIterator[str]:
    """Raise in an async generator."""
    yield "a chunk"
    raise _made(what)


@operation
def raises_while_it_yields_in_a_thread(what: str) -> Iterator[str]:
    """Raise in a generator."""
    yield "a chunk"
    raise _made(what)


ALL = (
    raises,
    raises_in_a_thread,
    raises_while_it_yields,
    raises_while_it_yields_in_a_thread,
)


@pytest.mark.parametrize("name", [each.__name__ for each in ALL])
def test_whatever_a_handler_raises_fails_its_job_and_nothing_else(name: str) -> None:
    async def test(bench: Bench) -> None:
        for what, (_, words) in ENDINGS.items():
            job = bench.submit(name, {"what": what}, retry={"max_attempts": 2, "base_delay_s": 0})
            record = await bench.ended(job)

            assert bench.state(job) == "failed/error", what
            assert bench.outcomes(job) == ["error", "error"]
            assert record.failure is not None
            told = record.failure.message
            # Python turns what may not leave a coroutine or a generator into a RuntimeError
            assert told == words or (what == "stop" and "StopIteration" in told)
            assert bench.events(job)[-1]["marker"] == f"[ERROR] {told}"
            record.model_dump_json()
        assert (await bench.ended(bench.submit("sleep"))).state == "completed"
        assert bench.metric(MetricName.MESSAGES_DROPPED, reason="error") == 0

    run(test, *ALL, sleep, concurrency=1)


def test_an_exception_that_cannot_be_told_is_still_an_event_of_its_span() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("raises", {"what": "unspeakable"})
        await bench.ended(job)
        (span,) = bench.spans("job.attempt", job)
        (event,) = span.events

        assert (event.attributes or {})["exception.message"] == "_Unspeakable"
        assert span.status.status_code.name == "ERROR"

    run(test, raises)


def test_a_background_task_stops_speaking_for_its_job_when_the_job_ends() -> None:
    spoken: list[str] = []

    @operation
    async def leaves() -> str:
        async def speak() -> None:
            narrate("say", "in time")
            await asyncio.sleep(5)
            narrate("say", "too late")
            logging.getLogger("tests").warning("too late")
            spoken.append("yes")

        background.add(asyncio.create_task(speak()))
        await asyncio.sleep(1)
        return "done"

    background: set[asyncio.Task[None]] = set()

    async def test(bench: Bench) -> None:
        job = bench.submit("leaves")
        other = bench.submit("sleep", {"for_s": 20})
        await bench.ended(job)
        told = bench.events(job)
        await bench.ended(other)

        assert spoken == ["yes"]
        assert bench.events(job) == told
        assert bench.texts(job) == ["in time"]
        assert bench.texts(other) == []
        assert bench.metric(MetricName.MESSAGES_DROPPED, reason="late") == 2

    run(test, leaves, sleep)


def test_logging_inside_logging_is_told_without_a_deadlock() -> None:
    class Chatty(logging.Handler):
        """Logs about each record, and narrates."""

        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "tests.outer":
                logging.getLogger("tests.inner").warning("about: %s", record.getMessage())
                narrate("say", "about a record")

    class Loud:
        """Logs when it is told."""

        def __str__(self) -> str:
            logging.getLogger("tests.words").warning("I am being told")
            return "loud"

    logger = logging.getLogger("tests.outer")
    chatty = Chatty()
    logger.addHandler(chatty)

    @operation
    async def on_loop() -> None:
        logger.warning("%s", Loud())

    @operation
    def in_thread() -> None:
        logger.warning("%s", Loud())

    async def test(bench: Bench) -> None:
        for name in ("on_loop", "in_thread"):
            job = bench.submit(name)
            await bench.ended(job)
            texts = bench.texts(job)

            assert {"loud", "about: loud", "about a record", "I am being told"} <= {*texts}

    try:
        run(test, on_loop, in_thread)
    finally:
        logger.removeHandler(chatty)


def test_a_log_record_that_cannot_be_formatted_costs_no_more_than_itself() -> None:
    @operation
    async def logs() -> str:
        logging.getLogger("tests").warning("%s", _Unspeakable())
        narrate("say", "the value is {value}", value=_Unspeakable())
        return "done"

    async def test(bench: Bench) -> None:
        job = bench.submit("logs")
        record = await bench.ended(job)

        assert record.state == "completed"
        assert len(bench.texts(job)) == 2

    logging.raiseExceptions = False  # pytest's own handler would print the failure
    try:
        run(test, logs)
    finally:
        logging.raiseExceptions = True


def test_a_handler_that_blocks_the_loop_delays_others_and_harms_nothing() -> None:
    @operation
    async def blocks() -> str:
        threading.Event().wait(0.02)
        return "done"

    async def test(bench: Bench) -> None:
        jobs = [bench.submit("blocks", timeout_s=5) for _ in range(3)]
        for job in jobs:
            assert (await bench.ended(job)).result == "done"

    run(test, blocks)


def test_recursion_without_end_is_an_error() -> None:
    def deep(number: int) -> int:
        return deep(number + 1) + 1

    @operation
    def recurses() -> int:
        return deep(0)

    async def test(bench: Bench) -> None:
        record = await bench.ended(bench.submit("recurses"))

        assert record.failure is not None
        assert record.failure.type == "RecursionError"

    run(test, recurses)


def test_a_plain_function_that_returns_a_coroutine_is_told_so() -> None:
    @operation
    def half() -> Any:
        return asyncio.sleep(0)

    async def test(bench: Bench) -> None:
        record = await bench.ended(bench.submit("half"))

        assert record.failure is not None
        assert "async def" in record.failure.message

    run(test, half)


def test_an_async_generator_that_swallows_its_closing_is_an_error() -> None:
    @operation
    async def clings() -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "two"

    async def test(bench: Bench) -> None:
        job = bench.submit("clings", timeout_s=1)
        await bench.ended(job)

        assert bench.state(job) == "failed/timeout"
        assert bench.output(job)[0] == "one"

    run(test, clings)


def test_a_handler_that_leaks_a_reference_to_its_context_cannot_change_the_past() -> None:
    leaked: list[JobContext] = []

    @operation
    async def leaks(*, job: JobContext) -> None:
        leaked.append(job)
        job.progress(1)

    async def test(bench: Bench) -> None:
        job = bench.submit("leaks")
        record = await bench.ended(job)
        leaked[0].progress(2)
        leaked[0].output("late")
        leaked[0].checkpoint("late")
        await bench.at(5)

        assert bench.record(job) == record
        assert bench.engine._core.registry.get(job).checkpoint is None
        assert bench.metric(MetricName.MESSAGES_DROPPED, reason="late") == 3

    run(test, leaks)


def test_a_span_processor_of_the_application_that_raises_costs_no_job() -> None:
    class Broken(SpanProcessor):
        """Raises at everything."""

        def on_start(self, span: Span, parent_context: object = None) -> None:
            raise RuntimeError("on_start")

        def on_end(self, span: object) -> None:
            raise RuntimeError("on_end")

    async def test(bench: Bench) -> None:
        before = await bench.ended(bench.submit("sleep"))
        bench.narrator._tracing.provider.add_span_processor(Broken())
        job = bench.submit("sleep", {"for_s": 1})
        record = await bench.ended(job)

        assert (before.state, record.state) == ("completed", "completed")
        assert bench.states(job) == ["queued", "running", "completed"]
        assert bench.moments(job) == ["queued", "started", "completed"]
        assert record.trace_id is None
        assert record.attempts[0].span_id is None

    run(test, sleep)


def test_a_span_processor_that_raises_at_the_end_only_costs_no_job() -> None:
    class Broken(SpanProcessor):
        """Raises when a span has ended."""

        def on_end(self, span: object) -> None:
            raise RuntimeError("on_end")

    async def test(bench: Bench) -> None:
        bench.narrator._tracing.provider.add_span_processor(Broken())
        job = bench.submit("sleep", {"for_s": 1})
        await bench.ended(job)

        assert bench.moments(job) == ["queued", "started", "completed"]

    run(test, sleep)


def test_no_thread_to_be_had_fails_the_attempt_and_is_retried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @operation(max_attempts=2, base_delay_s=1, jitter="none")
    def work() -> str:
        return "done"

    start = threading.Thread.start

    def refuses(thread: threading.Thread) -> None:
        if thread.name.startswith("narrator-work"):
            raise RuntimeError("can't start new thread")
        start(thread)

    async def test(bench: Bench) -> None:
        monkeypatch.setattr(threading.Thread, "start", refuses)
        job = bench.submit("work")
        await bench.settle()
        monkeypatch.setattr(threading.Thread, "start", start)
        record = await bench.ended(job)

        assert bench.outcomes(job) == ["error", "completed"]
        assert record.result == "done"

    run(test, work)


def test_a_handler_that_cannot_be_started_at_all_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    async def test(bench: Bench) -> None:
        monkeypatch.setattr("app.engine.execution.start", refuses)
        job = bench.submit("sleep")
        record = await bench.ended(job)

        assert record.failure is not None
        assert record.failure.message == "no more processes"

    run(test, sleep)


def test_a_job_leaves_no_task_and_no_coroutine_behind() -> None:
    async def test(bench: Bench) -> None:
        before = asyncio.all_tasks()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(20):
                job = bench.submit("sleep", {"for_s": 3})
                bench.submit("sleep", {"for_s": 3}, timeout_s=1)
                await bench.settle()
                bench.engine.cancel(job)
                await bench.ended(job)
            await bench.at(100)
            gc.collect()

        assert asyncio.all_tasks() == before
        assert sys.exc_info() == (None, None, None)

    run(test, sleep)

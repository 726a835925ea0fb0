import math
import threading
from typing import Any

import pytest

from app.handlers.context import JobCancelled, JobContext, RetryLater, StopToken


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Keep progress."""
        self.said.append(("progress", done, total, text))

    def output(self, chunk: Any) -> None:
        """Keep a chunk."""
        self.said.append(("output", chunk))

    def checkpoint(self, value: Any) -> None:
        """Keep a checkpoint."""
        self.said.append(("checkpoint", value))


def context(sink: Kept | None = None) -> JobContext:
    return JobContext(id="j", attempt=2, sink=sink or Kept())


def test_what_a_handler_says_reaches_the_sink() -> None:
    sink = Kept()
    job = context(sink)
    job.progress(1)
    job.progress(1, 2, "half")
    job.output({"chunk": 1})
    job.checkpoint([1])

    assert sink.said == [
        ("progress", 1, None, None),
        ("progress", 1, 2, "half"),
        ("output", {"chunk": 1}),
        ("checkpoint", [1]),
    ]


@pytest.mark.parametrize("number", [math.nan, math.inf, "1", None, True])
def test_progress_is_a_finite_number(number: Any) -> None:
    with pytest.raises(ValueError, match="done must be a"):
        context().progress(number)
    if number is not None:
        with pytest.raises(ValueError, match="total must be a"):
            context().progress(1, number)


def test_a_context_without_tags_has_none() -> None:
    job = context()

    assert (job.tags, job.metadata, job.last_checkpoint) == ({}, {}, None)


def test_a_stop_is_seen_from_any_thread_with_its_first_reason() -> None:
    job = context()
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(job.token.wait(60)))
    thread.start()
    job.token.set("first")
    job.token.set("second")
    thread.join()

    assert seen == [True]
    assert job.cancelled
    with pytest.raises(JobCancelled, match="first"):
        job.raise_if_cancelled()


def test_nothing_is_raised_until_a_stop_is_asked_for() -> None:
    job = context()
    job.raise_if_cancelled()

    assert not job.cancelled
    assert not StopToken().wait(0)


def test_a_broad_except_does_not_swallow_a_cancellation() -> None:
    assert not issubclass(JobCancelled, Exception)


@pytest.mark.parametrize("after_s", [-1, math.nan, math.inf, "soon"])
def test_a_retry_has_a_finite_time(after_s: Any) -> None:
    with pytest.raises(ValueError, match="after_s must be"):
        RetryLater(after_s)

"""A job for handlers that are called directly, and a provider whose spans are captured."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from app.handlers.context import JobContext, StopToken


class Said:
    """A sink that keeps what a handler says."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float | None, str | None]] = []
        self.token = StopToken()
        self.stop_after: float | None = None

    def progress(self, done: float, total: float | None, text: str | None) -> None:
        """Keep the step; ask to stop where `stop_after` says so."""
        self.steps.append((done, total, text))
        if self.stop_after is not None and done >= self.stop_after:
            self.token.set("enough")

    def output(self, chunk: Any) -> None:
        """No operation here says output by its context."""
        raise AssertionError(chunk)

    def checkpoint(self, value: Any) -> None:
        """No operation here keeps a checkpoint."""
        raise AssertionError(value)

    def job(self, attempt: int = 1) -> JobContext:
        """A context that speaks to this sink."""
        return JobContext(id="j", attempt=attempt, sink=self, token=self.token)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """A provider that is the global one for this test: it can be set only once for good."""
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return provider

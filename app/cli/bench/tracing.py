"""One global tracer provider for a process that measures with tracing, without, and narrated.

OpenTelemetry lets the global provider be set once. This one hands every span to where it goes now:
nowhere, to a plain provider, or to one that is narrated. It exports nothing and knows no job.
"""

from enum import Enum
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider


class Tracing(Enum):
    """Where spans go."""

    OFF = 0
    PLAIN = 1
    NARRATED = 2


def present() -> TracerProvider | None:
    """The provider that the process has already, where a module has set one."""
    there = trace.get_tracer_provider()
    return there if isinstance(there, TracerProvider) else None


class SwitchedProvider(TracerProvider):
    """Hands spans on as `mode` says, which may change between two of them.

    `there` is the provider that the process has already, if any: spans of code that has it go to
    it in every mode. Sampling is as OpenTelemetry's variables say.
    """

    def __init__(self, there: TracerProvider | None = None) -> None:
        super().__init__(shutdown_on_exit=False)
        self.mode = Tracing.OFF
        self.plain = there or TracerProvider(shutdown_on_exit=False)
        self.narrated = there or TracerProvider(shutdown_on_exit=False)

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        """A tracer whose spans go where `mode` says when they start."""
        return _SwitchedTracer(
            self,
            {
                Tracing.OFF: trace.NoOpTracer(),
                Tracing.PLAIN: self.plain.get_tracer(*args, **kwargs),
                Tracing.NARRATED: self.narrated.get_tracer(*args, **kwargs),
            },
        )


class _SwitchedTracer(trace.Tracer):
    def __init__(self, provider: SwitchedProvider, tracers: dict[Tracing, trace.Tracer]) -> None:
        self._provider = provider
        self._tracers = tracers

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        return self._tracers[self._provider.mode].start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._tracers[self._provider.mode].start_as_current_span(*args, **kwargs)

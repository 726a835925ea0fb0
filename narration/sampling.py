"""Sampling: a span inside a story is recorded even where it is not sampled.

An unsampled span records nothing, so its job would have no story. Inside a story, and only there,
a decision to drop becomes one to record: the span is narrated and still not exported. This module
does not know what a story is; it is told whether a span starts inside one.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind
    from opentelemetry.trace.span import TraceState
    from opentelemetry.util.types import AnyValue, Attributes


class InJobSampler(Sampler):
    """Decides as `inner` does, but records what would be dropped inside a story.

    `inside(parent_context)` is asked on the thread that starts the span, for dropped spans only;
    None stands for the current context.
    """

    __slots__ = ("_inside", "inner")

    def __init__(self, inner: Sampler, *, inside: Callable[["Context | None"], bool]) -> None:
        self.inner = inner
        self._inside = inside

    def should_sample(  # noqa: PLR0917 - the SDK's signature, called by position
        self,
        parent_context: "Context | None",
        trace_id: int,
        name: str,
        kind: "SpanKind | None" = None,
        attributes: "Attributes" = None,
        links: "Sequence[Link] | None" = None,
        trace_state: "TraceState | None" = None,
    ) -> SamplingResult:
        """`inner`'s result, with RECORD_ONLY in the place of DROP inside a story.

        The span's start attributes are passed on, which the SDK's own samplers leave out of a
        result that drops.
        """
        # Called as the SDK calls it: not every sampler takes a trace state.
        more = () if trace_state is None else (trace_state,)
        result = self.inner.should_sample(
            parent_context, trace_id, name, kind, attributes, links, *more
        )
        if result.decision is not Decision.DROP or not self._inside(parent_context):
            return result
        start: dict[str, AnyValue] = dict(attributes or {})
        start.update(result.attributes or {})
        return SamplingResult(Decision.RECORD_ONLY, start, result.trace_state)

    def get_description(self) -> str:
        """`InJobSampler{…}` around the inner sampler's own description."""
        return f"InJobSampler{{{self.inner.get_description()}}}"

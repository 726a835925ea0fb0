"""The canary of `fast_spans`: proves that a span that is made directly is the one the SDK makes.

Spans are made on both roads, in turn, on one throw-away provider whose ids are known: a root and a
child, sampled, recorded only and dropped, with attributes that are clean and with others. All that
they hold must be the same, and all that a processor is told of them. It does not know what for.
"""

# ruff: noqa: SLF001 - what this is for

import copy
import itertools
from collections import deque
from collections.abc import Sequence
from types import FunctionType
from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    Sampler,
    SamplingResult,
)
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanKind, Status, TraceState
from opentelemetry.util.types import Attributes

from narration import fast_spans
from narration.canary import throw_away_provider
from narration.fast_spans import StoryTracer
from narration.scope import Scope, with_scope
from narration.tap import Tap

_AT_NS: Final = 1_700_000_000_000_000_001
_SAMPLES: Final[tuple[dict[str, Any] | None, ...]] = (
    None,
    {"text": "a", "whole": 1, "part": 0.5, "flag": True},
    {"list": [1, 2]},
)
"""What the canary's spans start at, and with."""

_OURS: Final = frozenset({"_lock", "_narration_found"})


def fault() -> str | None:
    """What is wrong with the spans that are made here; None if all is well. Never raises."""
    try:
        ids, noted, bare = _Counted(), _Noted(), sdk_trace._Span
        provider = throw_away_provider(id_generator=ids)
        provider.add_span_processor(noted)
        theirs: Any = provider.get_tracer("narration.canary", "1")
        ours: Any = copy.copy(theirs)
        fast_spans.quick(ours, type(bare.__name__, (bare,), {}))
        for sampler in (ALWAYS_ON, ALWAYS_OFF, _RecordOnly()):
            for sample in _SAMPLES:
                held = []
                for tracer in theirs, ours:
                    tracer.sampler, ids.last, noted.held = sampler, 0, []
                    _live(tracer, noted, sample)
                    held.append(noted.held)
                problem = _difference(*held)
                if problem is not None:
                    return problem
        fast_spans.quicken(provider, Tap(fast=True, on_end_raised=lambda _: None))
        made = type(provider.get_tracer("narration.canary.new"))
        if made is not StoryTracer:
            return f"a provider's new tracer is a {made.__name__}"
    except Exception as error:  # noqa: BLE001 - whatever the SDK does now, it does not fit
        return f"{type(error).__name__}: {error}"
    return None


def _live(tracer: Tracer, noted: "_Noted", attributes: Attributes) -> None:
    """Start a root span and a child of it in a story, end the child, and note what they hold."""
    story = with_scope(Scope(story=cast("Any", None), actor="canary"), Context())
    root = tracer.start_span("root", story, attributes=attributes, start_time=_AT_NS)
    child = tracer.start_span(
        "child",
        trace.set_span_in_context(root, story),
        SpanKind.CLIENT,
        attributes,
        start_time=_AT_NS,
        record_exception=False,
        set_status_on_exception=False,
    )
    child.end(_AT_NS + 1)
    noted.held += [_insides(root), _insides(child)]


def _difference(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> str | None:
    nothing: dict[str, Any] = {}
    for expected, found in itertools.zip_longest(theirs, ours, fillvalue=nothing):
        for name in expected | found:
            if expected.get(name) != found.get(name):
                return (
                    f"a span that is made here has {name} {found.get(name)!r}"
                    f" where the SDK's has {expected.get(name)!r}"
                )
    return None


class _Counted(IdGenerator):
    """Ids that are known."""

    last = 0

    def generate_span_id(self) -> int:
        """The next one."""
        self.last += 1
        return self.last

    def generate_trace_id(self) -> int:
        """The next one."""
        return self.generate_span_id()


class _RecordOnly(Sampler):
    """Records without sampling, and adds an attribute and a trace state."""

    def should_sample(  # noqa: PLR0917 - the SDK's signature
        self,
        parent_context: Context | None,  # noqa: ARG002
        trace_id: int,  # noqa: ARG002
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """With all that it was asked in what it adds."""
        added = {**(attributes or {}), "asked": f"{name} {kind} {links}"}
        return SamplingResult(Decision.RECORD_ONLY, added, TraceState([("by", "canary")]))

    def get_description(self) -> str:
        """Its name."""
        return "RecordOnly"


class _Noted(SpanProcessor):
    """Notes what it is told, and what spans hold then."""

    held: list[dict[str, Any]]

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """A span has started."""
        found = trace.get_current_span(parent_context).get_span_context()
        self.held.append({**_insides(span), "told with": found})

    def on_end(self, span: ReadableSpan) -> None:
        """A span has ended."""
        self.held.append({**_insides(span), "told as": type(span)})


def _insides(part: Any) -> Any:
    """All that a span holds, and its parts; but for what the tap adds, and its lock."""
    if isinstance(part, trace.Span | ReadableSpan):
        held = {name: _insides(value) for name, value in vars(part).items() if name not in _OURS}
        return {**held, "type": type(part).__name__}
    if isinstance(part, BoundedAttributes | BoundedList | Status):
        return type(part), {name: _insides(value) for name, value in vars(part).items()}
    if isinstance(part, deque):
        return list(part), part.maxlen
    if isinstance(part, FunctionType):  # what is called at the end, made for each span
        return part.__qualname__
    return type(part) if hasattr(part, "acquire") else part

"""A faster `start_span` inside a story: a span whose attributes are clean is made directly.

The SDK spends two thirds of a span on its construction: each attribute is looked at and copied,
each part has a constructor, and the tap then swaps the class. A tracer that is quickened makes a
span of a story as an instance of the tapped class at once, and fills it in. The sampler, the ids,
the SDK's own metrics and the processors are asked as ever; a span outside of a story, or one with
links, is the SDK's own. This leans on what a `Span` keeps inside; `fault` proves at start-up that
a span made here is one made there, and a setting turns it off.
"""

# ruff: noqa: SLF001 - what this is for

import copy
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from time import time_ns
from types import FunctionType, MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.trace import (
    ReadableSpan,
    Span,
    SpanLimits,
    SpanProcessor,
    Tracer,
    TracerProvider,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    Sampler,
    SamplingResult,
)
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes

from narration.canary import throw_away_provider
from narration.fast_events import CLEAN, bounded
from narration.scope import Scope, current_scope, with_scope
from narration.tap import Reentrant, Tap, scope_of, voice_in

if TYPE_CHECKING:
    from contextvars import Token

_AT_NS: Final = 1_700_000_000_000_000_001
_SAMPLES: Final[tuple[dict[str, Any] | None, ...]] = (
    None,
    {"text": "a", "whole": 1, "part": 0.5, "flag": True},
    {"list": [1, 2]},
)
"""What the canary's spans start at, and with."""

_OURS: Final = frozenset({"_lock", "_narration_found"})
_UNSET: Final = Status(StatusCode.UNSET)
_NO_STATE: Final = DEFAULT_TRACE_STATE
_TRACE_IDS: Final = 2**128
_SPAN_IDS: Final = 2**64
_new_context: Final = tuple.__new__
_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(TraceFlags.RANDOM_TRACE_ID)
_FLAGS: Final = tuple(TraceFlags(bits) for bits in range(4))
"""By their bits, of which the first says whether the span is sampled and the second whether the
trace id is random."""


class StoryTracer(Tracer):
    """What a tracer of the SDK becomes; never made, only swapped in."""

    __slots__ = ()

    _narration_span: type[Span]

    def start_span(  # noqa: PLR0917 - the SDK's signature
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002
    ) -> trace.Span:
        """As the SDK does; directly where that gives the same."""
        above = trace.get_current_span(context)
        parent: Any = above.get_span_context()
        scope = current_scope(context) or scope_of(above)
        if links or scope is None or type(parent) is not SpanContext or not self._is_enabled():
            return super().start_span(
                name,
                context,
                kind,
                attributes,
                links,
                start_time,
                record_exception,
                set_status_on_exception,
            )
        # What follows is the SDK's `start_span`, `Span.__init__` and `Span.start`, spelt out.
        ids = self.id_generator
        if parent.is_valid:
            trace_id, bits = parent.trace_id, parent.trace_flags & _RANDOM
        else:
            parent = None
            trace_id, bits = ids.generate_trace_id(), _RANDOM if ids.is_trace_id_random() else 0
        sampled = self.sampler.should_sample(context, trace_id, name, kind, attributes, ())
        decision: Any = sampled.decision  # whose methods have no types
        span_id, state = ids.generate_span_id(), sampled.trace_state
        identity = _new_context(
            SpanContext,
            (
                trace_id,
                span_id,
                False,
                _FLAGS[bits | _SAMPLED if decision.is_sampled() else bits],
                _NO_STATE if state is None else state,
                0 < trace_id < _TRACE_IDS and 0 < span_id < _SPAN_IDS,
            ),
        )
        ended = self._tracer_metrics.start_span(parent, decision)
        if not decision.is_recording():
            return NonRecordingSpan(context=identity)
        limits, processor = self._span_limits, self.span_processor
        span: Any = object.__new__(self._narration_span)
        span._name = name
        span._context = identity
        span._kind = kind
        span._instrumentation_info = self.instrumentation_info
        span._instrumentation_scope = self._instrumentation_scope
        span._parent = parent
        span._start_time = time_ns() if start_time is None else start_time
        span._end_time = None
        span._attributes = _attributes(limits, sampled.attributes)
        span._events = _no_items(limits.max_events)
        span._links = _no_items(limits.max_links)
        span._resource = self.resource
        span._status = _UNSET
        span._sampler = self.sampler
        span._trace_config = None
        span._record_exception = record_exception
        span._set_status_on_exception = set_status_on_exception
        span._span_processor = processor
        span._limits = limits
        span._lock = Reentrant()  # as the tap has it
        span._record_end_metrics = ended
        span._narration_found = scope, voice_in(above)
        processor.on_start(span, parent_context=context)
        made: Span = span
        return made

    def start_as_current_span(  # noqa: PLR0917 - the SDK's signature
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002
        end_on_exit: bool = True,  # noqa: FBT001, FBT002
    ) -> Any:
        """As the SDK does, without its two generators."""
        given = (name, context, kind, attributes, links, start_time)
        on_exception = (record_exception, set_status_on_exception)
        return _Current(self, given, on_exception, ends=end_on_exit)


class _Current:
    """A span that is current while the block runs; what is raised in it takes the SDK's road."""

    __slots__ = ("_ends", "_given", "_on_exception", "_span", "_token", "_tracer")

    _span: trace.Span
    _token: "Token[Context]"

    def __init__(
        self, tracer: Tracer, given: tuple[Any, ...], on_exception: tuple[bool, bool], *, ends: bool
    ) -> None:
        self._tracer = tracer
        self._given = given
        self._on_exception = on_exception
        self._ends = ends

    def __call__(self, function: Callable[..., Any]) -> Any:
        """`function` with a span around each call."""
        given = (*self._given, *self._on_exception, self._ends)
        return Tracer.start_as_current_span(self._tracer, *given)(function)

    def __enter__(self) -> trace.Span:
        given: tuple[Any, ...] = (*self._given, *self._on_exception)
        span = self._span = self._tracer.start_span(*given)
        self._token = attach(trace.set_span_in_context(span))
        return span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        detach(self._token)
        if kind is None:
            if self._ends:
                self._span.end()
            return None
        used = trace.use_span(self._span, self._ends, *self._on_exception)
        used.__enter__()
        return used.__exit__(kind, error, traceback)


def _attributes(limits: SpanLimits, attributes: Attributes) -> BoundedAttributes:
    """What the SDK makes of the attributes of a span."""
    most, longest = limits.max_span_attributes, limits.max_span_attribute_length
    if type(attributes) is MappingProxyType and longest is None:
        kept = attributes.copy()
        if type(kept) is dict and (most is None or len(kept) <= most):
            for key, value in kept.items():
                if type(value) not in CLEAN or type(key) is not str or not key:
                    break
            else:
                return bounded(kept, most, is_immutable=False)
    return BoundedAttributes(most, attributes, immutable=False, max_value_len=longest)


def _no_items(most: int | None) -> BoundedList[Any]:
    """What the SDK makes for the events and links of a span that has none."""
    made: Any = object.__new__(BoundedList)
    made.dropped = 0
    made._dq = deque(maxlen=most)
    made._lock = Lock()
    items: BoundedList[Any] = made
    return items


class _Tracers(dict[InstrumentationScope, Tracer]):
    """The tracers of a provider, each quickened as it comes."""

    def __init__(self, tracers: dict[InstrumentationScope, Tracer], span_class: type[Span]) -> None:
        super().__init__()
        self._span_class = span_class
        for scope, tracer in tracers.items():
            self[scope] = tracer

    def __setitem__(self, scope: InstrumentationScope, tracer: Tracer) -> None:
        _quick(tracer, self._span_class)
        super().__setitem__(scope, tracer)


def quicken(provider: TracerProvider, tap: Tap) -> None:
    """Have the tracers of `provider`, if they are of the SDK's own class, make spans tapped."""
    private = cast("Any", provider)
    with private._tracers_lock:
        private._tracers = _Tracers(private._tracers, tap.class_for(sdk_trace._Span))


def _quick(tracer: Tracer, span_class: type[Span]) -> None:
    if type(tracer) is Tracer:
        private = cast("Any", tracer)
        private._narration_span = span_class
        private.__class__ = StoryTracer


def fault() -> str | None:
    """What is wrong with the spans that are made here; None if all is well. Never raises."""
    try:
        ids, noted, bare = _Counted(), _Noted(), sdk_trace._Span
        provider = throw_away_provider(id_generator=ids)
        provider.add_span_processor(noted)
        theirs: Any = provider.get_tracer("narration.canary", "1")
        ours: Any = copy.copy(theirs)
        _quick(ours, type(bare.__name__, (bare,), {}))
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
        quicken(provider, Tap(fast=True, on_end_raised=lambda _: None))
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

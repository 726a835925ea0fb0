"""A faster `start_span` inside a story: a span whose attributes are clean is made directly.

The SDK spends two thirds of a span on its construction: each attribute is looked at and copied,
each part has a constructor, and the tap then swaps the class. A tracer that is quickened makes a
span of a story as an instance of the tapped class at once, and fills it in. The sampler, the ids,
the SDK's own metrics and the processors are asked as ever; a span outside of a story, or one with
links, is the SDK's own. This leans on what a `Span` keeps inside; `span_canary` proves at start-
up that a span made here is one made there, and a setting turns it off.
"""

# ruff: noqa: SLF001 - what this is for

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from time import time_ns
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.trace import (
    Span,
    SpanLimits,
    Tracer,
    TracerProvider,
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
)
from opentelemetry.util.types import Attributes

from narration.fast_events import CLEAN, bounded
from narration.scope import current_scope
from narration.tap import Reentrant, Tap, scope_of, voice_in

if TYPE_CHECKING:
    from contextvars import Token

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
        # What follows is the SDK's `start_span`, `Span.__init__` and `Span.start`, spelt out: it is
        # long because a call for each part would cost what is saved.
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
        quick(tracer, self._span_class)
        super().__setitem__(scope, tracer)


def quicken(provider: TracerProvider, tap: Tap) -> None:
    """Have the tracers of `provider`, if they are of the SDK's own class, make spans tapped."""
    private = cast("Any", provider)
    with private._tracers_lock:
        private._tracers = _Tracers(private._tracers, tap.class_for(sdk_trace._Span))


def quick(tracer: Tracer, span_class: type[Span]) -> None:
    """Have `tracer` make spans of stories as `span_class`, if it is of the SDK's own class."""
    if type(tracer) is Tracer:
        private = cast("Any", tracer)
        private._narration_span = span_class
        private.__class__ = StoryTracer

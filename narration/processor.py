"""The span processor: finds the story of each span that starts, and has its life told there.

A span is routed by the scope in its `parent_context`, else by its parent span, never by what is
current on a thread other than the one that starts it, and never by a parent in another process:
anyone may send its ids. A span without a story is left alone. Nothing here raises into the code
that is traced: failures are counted. This module does not know how anything is phrased.
"""

import contextlib
import logging
import weakref
from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    ReadableSpan,
    Span,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.version import __version__ as sdk_version

from narration import canary, express, fast_events, fast_spans, formatting, span_canary
from narration.polling import INTERVAL_S, Poller
from narration.sampling import InJobSampler
from narration.scope import Scope, current_scope
from narration.tap import SCOPE_ATTRIBUTE, Tap, count_failure, found_for, scope_of, voice_in
from narration.voice import Voice, voice_of

_logger = logging.getLogger(__name__)

_INSTALLED: Final = "_narration_processor"
_SWEEP_FROM: Final = 1_024  # live spans below which the table is not swept

SpanKey = tuple[int, int]
"""Trace id and span id."""


class LiveSpans:
    """The spans of stories that have not ended, found by their ids.

    It holds them weakly, so that a span which is dropped without an end keeps neither itself nor
    its story; dead entries are swept when the table has doubled, so that it never has more than
    twice as many entries as there are live spans (but for the first 1,024).
    """

    __slots__ = ("_spans", "_sweep_at")

    def __init__(self) -> None:
        self._spans: dict[SpanKey, weakref.ref[Span]] = {}
        self._sweep_at = _SWEEP_FROM

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, key: SpanKey, span: Span) -> None:
        """`span` has started."""
        self._spans[key] = weakref.ref(span)
        if len(self._spans) >= self._sweep_at:
            self._sweep()

    def get(self, key: SpanKey) -> Span | None:
        """The span with these ids, while it lives."""
        found = self._spans.get(key)
        return None if found is None else found()

    def pop(self, key: SpanKey) -> Span | None:
        """The span with these ids, once: of all who call, one gets it."""
        found = self._spans.pop(key, None)
        return None if found is None else found()

    def _sweep(self) -> None:
        for key, span in self._spans.copy().items():  # a copy: other threads go on meanwhile
            if span() is None:
                self._spans.pop(key, None)
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._spans))


class NarrationSpanProcessor(SpanProcessor):
    """Tells the start, the events and the end of each span of a story.

    `live` taps the spans; without it they are polled every `poll_interval_s`. `fast` makes events
    with clean attributes directly (`fast_events`). `inline` says that
    `on_start` runs on the thread that starts the span, so that a missing parent context means the
    current one. `failures` counts what went wrong where there was no story to count it in.
    """

    def __init__(
        self,
        *,
        live: bool = True,
        fast: bool = False,
        inline: bool = True,
        poll_interval_s: float = INTERVAL_S,
    ) -> None:
        self.live = live
        self.inline = inline
        self.failures = 0
        self.spans = LiveSpans()
        self.fast = fast
        self.tap = Tap(fast=fast, on_end_raised=self._on_end_raised)
        self._untapped: set[type[Span]] = set()
        self._poller = Poller(interval_s=poll_interval_s)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell the start of `span`, and its events from now on, if it belongs to a story."""
        scope = None
        try:
            found = found_for(span)
            if found is not None:
                scope, above = found
                self._begin(span, scope, above)
                return
            scope = self._route(span, parent_context)
            if scope is not None and scope_of(span) is None:  # else another tap has it
                self._begin(span, scope, None)
        except Exception:  # noqa: BLE001 - an instrument never breaks the instrumented
            self._count(scope)

    def on_end(self, span: ReadableSpan) -> None:
        """Tell the end of `span`, once."""
        scope = None
        try:
            key = _key(span.context)
            live = self.spans.pop(key)
            voice = voice_in(live)
            if voice is not None:
                scope = voice.scope
                scope.story.put(express.span_ended, voice, span)
                return
            scope = scope_of(live)
            if scope is not None:
                self._poller.finish(key, span)
                scope.story.put(formatting.span_ended, scope, span)
        except Exception:  # noqa: BLE001 - an instrument never breaks the instrumented
            self._count(scope)

    def shutdown(self) -> None:
        """Tell what is left to poll, and stop polling."""
        self._poller.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - it never waits
        """Poll now; a tapped span has nothing to flush."""
        self._poller.poll()
        return True

    def inside(self, parent_context: Context | None) -> bool:
        """Whether a span started now, on this thread, with `parent_context` is in a story."""
        try:
            return self._scope_in(parent_context) is not None
        except Exception:  # noqa: BLE001 - an instrument never breaks the instrumented
            self._count(None)
            return False

    def _route(self, span: Span, parent_context: Context | None) -> Scope | None:
        if parent_context is not None or self.inline:
            return self._scope_in(parent_context)
        return self._scope_of_parent(span.parent)

    def _scope_in(self, context: Context | None) -> Scope | None:
        scope = current_scope(context)
        if scope is not None:
            return scope
        parent = trace.get_current_span(context)
        return scope_of(parent) or self._scope_of_parent(parent.get_span_context())

    def _scope_of_parent(self, parent: trace.SpanContext | None) -> Scope | None:
        if parent is None or parent.is_remote or not parent.is_valid:
            return None
        return scope_of(self.spans.get(_key(parent)))

    def _begin(self, span: Span, scope: Scope, above: Voice | None) -> None:
        key = _key(span.context)
        self.spans.add(key, span)
        voice = None
        try:
            voice = voice_of(scope, span, above) if self.live else None
            if voice is None:
                scope.story.put(formatting.span_started, scope, span)
            else:
                scope.story.put(express.span_started, voice, span)
        except Exception:  # noqa: BLE001 - its events and its end may still be told
            count_failure(scope)
        if self.live:
            try:
                self.tap.attach(span, scope, voice)
            except TypeError:  # the class cannot be swapped: this span is polled
                self._warn(type(span))
            else:
                return
        setattr(span, SCOPE_ATTRIBUTE, scope)
        self._poller.watch(key, span, scope)

    def _warn(self, span_class: type[Span]) -> None:
        if span_class not in self._untapped:
            self._untapped.add(span_class)
            _logger.warning("spans of %r cannot be tapped and are polled", span_class)

    def _on_end_raised(self, span: Span) -> None:
        """A tapped span has ended, but not every processor was told; tell it unless ours was."""
        if self.spans.get(_key(span.get_span_context())) is span:
            self.on_end(span)

    def _count(self, scope: Scope | None) -> None:
        if scope is None:
            self.failures += 1
        else:
            count_failure(scope)


def install(
    provider: TracerProvider, *, fast: bool = True, poll_interval_s: float = INTERVAL_S
) -> NarrationSpanProcessor:
    """Narrate the spans of `provider`: the one processor that it has, made by the first call.

    `fast` lets plain spans and events be made without the SDK's cleaning, if their own canaries
    allow it.
    Runs the canary; if the tap does not fit this SDK, says so in the log and polls. Wraps the
    sampler of `provider` and of the tracers that it has already made.
    """
    installed: dict[str, NarrationSpanProcessor] = vars(provider)
    if _INSTALLED in installed:
        return installed[_INSTALLED]
    fault = canary.fault(NarrationSpanProcessor)
    private = cast("Any", provider)
    slow = (fast_events.fault() or span_canary.fault()) if fast else None
    processor = NarrationSpanProcessor(
        live=fault is None,
        fast=fast and slow is None,
        inline=isinstance(
            getattr(private, "_active_span_processor", None), SynchronousMultiSpanProcessor
        ),
        poll_interval_s=poll_interval_s,
    )
    first = installed.setdefault(_INSTALLED, processor)  # atomic: of two threads one installs
    if first is not processor:
        return first
    if fault is not None:
        _logger.error(
            "the live tap does not fit opentelemetry-sdk %s, span events are polled: %s",
            sdk_version,
            fault,
        )
    if slow is not None:
        _logger.warning(
            "spans and events are not made faster on opentelemetry-sdk %s: %s", sdk_version, slow
        )
    _wrap_samplers(private, processor)
    if processor.live and processor.fast:
        fast_spans.quicken(provider, processor.tap)
    provider.add_span_processor(processor)
    return processor


def _wrap_samplers(provider: Any, processor: NarrationSpanProcessor) -> None:
    """Put an `InJobSampler` around each sampler; a tracer keeps the one it was made with."""
    wrapped: dict[int, InJobSampler] = {}

    def wrap(holder: Any) -> None:
        sampler = getattr(holder, "sampler", None)
        if isinstance(sampler, Sampler) and not isinstance(sampler, InJobSampler):
            made = InJobSampler(sampler, inside=processor.inside)
            holder.sampler = wrapped.setdefault(id(sampler), made)

    wrap(provider)
    lock = getattr(provider, "_tracers_lock", None) or contextlib.nullcontext()
    with lock:
        for tracer in getattr(provider, "_tracers", {}).values():
            wrap(tracer)


def _key(context: trace.SpanContext | None) -> SpanKey:
    return (context.trace_id, context.span_id) if context is not None else (0, 0)

"""The live tap: sees each event of a span at the moment it is added, by whatever code adds it.

The SDK calls no processor for `add_event`. So a span of a story becomes, when it starts, an
instance of a subclass of its *own* class that overrides `_add_event`, the one place where
`add_event` and `record_exception` meet, and `end`. It stays an SDK span for everybody else. This
leans on private names of the SDK (`_lock`, `_end_time`, `_events`, `_add_event`); `canary` proves
at start-up that they still mean what is read into them here, and `polling` does without them.

The tap does not know how an event is phrased, nor how a span finds its story.
"""

import contextlib
from collections.abc import Callable
from threading import RLock
from typing import Any, ClassVar, Final, Literal, cast

from opentelemetry.sdk.trace import EventBase, ReadableSpan, Span, SpanLimits
from opentelemetry.sdk.util import BoundedList
from opentelemetry.util.types import Attributes

from narration import express, formatting
from narration.fast_events import clean_event
from narration.scope import Scope
from narration.voice import Voice, voice_of
from telemetry.names import DropReason

SCOPE_ATTRIBUTE: Final = "_narration_scope"
"""Where a span of a story carries its scope, so that its children find it."""

VOICE_ATTRIBUTE: Final = "_narration_voice"
"""Where it carries its voice, once it has one; None lets the next event make it."""

Reentrant: Final = type(RLock())
"""A tapped span's lock; `RLock` itself is a function that makes one."""

_FOUND_ATTRIBUTE: Final = "_narration_found"


class _Tapped(Span):
    """What is put before a span's own class; never made, only swapped in."""

    __slots__ = ()

    _limits: SpanLimits
    _events: Any  # a BoundedList, which the SDK declares as any Sequence
    _narration_scope: Scope | None = None  # a span that is made tapped has none until it starts
    _narration_voice: Voice | Literal[False] | None
    _narration_found: "Found | None" = None
    _narration_on_end_raised: ClassVar["staticmethod[[Span], None]"]

    def _add_event(self, event: EventBase) -> None:
        # The body of the SDK is copied for a live span only. Calling it instead would let the
        # span end between its append and the hand-off, and the event be told after the end.
        with self._lock:
            if self._end_time is None:
                self._events.append(event)
                _hand_off(self, event)
                return
        # Ended: what happens now is the SDK's to say, and only what it kept is told.
        super()._add_event(event)
        events = self._events
        if len(events) and events[-1] is event:
            _hand_off(self, event)

    def _readable_span(self) -> ReadableSpan:
        readable: Any = super()._readable_span()
        # Empty lists of the SDK take 800 bytes each, for as long as the span is kept.
        if _is_bare(readable._events):  # noqa: SLF001
            readable._events = ()  # noqa: SLF001
        if _is_bare(readable._links):  # noqa: SLF001
            readable._links = ()  # noqa: SLF001
        ended: ReadableSpan = readable
        return ended

    def end(self, end_time: int | None = None) -> None:
        try:
            super().end(end_time)
        except BaseException:
            # Another processor has raised, and may have kept `on_end` from ours.
            if self._end_time is not None:
                self._narration_on_end_raised(self)
            raise


class _TappedFast(_Tapped):
    """For a span class that has the SDK's own `add_event`: see `fast_events`."""

    __slots__ = ()

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        event = clean_event(self._limits, name, attributes, timestamp)
        if event is None:
            super().add_event(name, attributes, timestamp)
        else:
            self._add_event(event)


class _TappedOverride(_Tapped):
    """For a span class that overrides `_add_event` itself: its body must run, not a copy."""

    __slots__ = ()

    def _add_event(self, event: EventBase) -> None:
        with self._lock:
            if self._end_time is None:
                events = self._events
                before = len(events) + events.dropped
                super(_Tapped, self)._add_event(event)
                if len(events) + events.dropped > before:
                    _hand_off(self, event)
                return
        super()._add_event(event)


def _is_bare(items: Any) -> bool:
    return type(items) is BoundedList and not items and not items.dropped


def _hand_off(span: _Tapped, event: EventBase) -> None:
    scope = span._narration_scope  # noqa: SLF001 - our own attributes
    if scope is None:
        return  # it starts just now: this is told after the start
    try:
        voice = span._narration_voice  # noqa: SLF001
        if voice is None:  # not made yet: many a span has no event
            voice = span._narration_voice = voice_of(scope, span) or False  # noqa: SLF001
        if voice is False:
            scope.story.put(formatting.span_event, scope, span, event)
        else:
            scope.story.put(express.span_event, voice, span, event)
    except Exception:  # noqa: BLE001 - an instrument never breaks the instrumented
        # Counted and not logged: this runs under the span's lock, and a logging handler may use
        # the span.
        count_failure(scope)


def count_failure(scope: Scope) -> None:
    """Count one message that narration failed on; never raises."""
    with contextlib.suppress(Exception):
        scope.story.counters.dropped(DropReason.ERROR)


Found = tuple[Scope, Voice | None]
"""Whose story a span is in that is made tapped, and the voice of its parent, if it has one."""


def found_for(span: object) -> Found | None:
    """What was found before `span` was made, once; None where it was not looked for."""
    found = getattr(span, _FOUND_ATTRIBUTE, None)
    if found is None:
        return None
    setattr(span, _FOUND_ATTRIBUTE, None)
    told: Found = found
    return told


class Tap:
    """Swaps spans' classes; keeps one tapped class for each class of spans it has met.

    `fast` says whether events with clean attributes are made here (`fast_events`).
    `on_end_raised(span)` is called when the `end()` of a tapped span has ended it and raises, as it
    does if any processor raises.
    """

    __slots__ = ("_classes", "_fast", "_on_end_raised")

    def __init__(self, *, fast: bool, on_end_raised: Callable[[Span], None]) -> None:
        self._classes: dict[type[Span], type[_Tapped]] = {}
        self._fast = fast
        self._on_end_raised = on_end_raised

    def attach(self, span: Span, scope: Scope, voice: Voice | None) -> None:
        """Tell `span`'s events to `scope` from now on, those that it already has first.

        `voice` is that of the span, if it has been made.
        Raises TypeError if the span's class cannot be swapped.
        """
        private = cast("Any", span)
        with private._lock:  # noqa: SLF001 - see the module's docstring
            if not isinstance(span, _Tapped):
                private.__class__ = self.class_for(type(span))
                # Re-entrant, since the hand-off holds it: what runs inside (a logging handler, a
                # finaliser) may use the same span, and must not wait for itself.
                private._lock = Reentrant()  # noqa: SLF001
            private._narration_scope = scope  # noqa: SLF001
            private._narration_voice = voice  # noqa: SLF001
            events = private._events  # noqa: SLF001
            if len(events):
                for event in tuple(events):
                    _hand_off(private, event)

    def class_for(self, own: type[Span]) -> type[Span]:
        """The tapped class for spans of the class `own`."""
        return self._classes.get(own) or self._make_class(own)

    def _make_class(self, own: type[Span]) -> type[_Tapped]:
        before: type[_Tapped] = _Tapped
        if own._add_event is not Span._add_event:  # noqa: SLF001 - see the module's docstring
            before = _TappedOverride
        elif self._fast and own.add_event is Span.add_event:
            before = _TappedFast
        tapped = type(
            own.__name__,  # the SDK's repr shows it
            (before, own),
            {
                "__slots__": (),
                "__module__": own.__module__,
                "__qualname__": own.__qualname__,
                "__doc__": own.__doc__,
                "_narration_on_end_raised": staticmethod(self._on_end_raised),
            },
        )
        return self._classes.setdefault(own, tapped)


def scope_of(span: object) -> Scope | None:
    """The scope that `span` was tapped (or is polled) for."""
    scope = getattr(span, SCOPE_ATTRIBUTE, None)
    return scope if isinstance(scope, Scope) else None


def voice_in(span: object) -> Voice | None:
    """The voice of a tapped span, if it has one."""
    voice = getattr(span, VOICE_ATTRIBUTE, None)
    return voice if isinstance(voice, Voice) else None

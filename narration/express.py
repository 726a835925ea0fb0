"""The fast road of the commonest events: from a span's event straight to the bytes in the log.

Most events are small: a name, or a narrated text, and a few plain attributes of first-party code.
What their messages have in common is encoded once for the span (its `Voice`); per event only the
rest is. Whatever is not plain (a third party's attributes, a text that may hold a secret, a long
one, nested or odd values, a lifecycle moment) takes the road of `narration.formatting`, which alone
decides what a message says: a property test holds that both roads give the same bytes. This module
does not know how an event got here.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan

from narration import formatting
from narration.disclosure import is_first_party, plain
from narration.events import NarrationEvent
from narration.log import NarrationLog
from narration.masking import is_secret_name, leaves_words
from narration.message import place_of, shown_name
from narration.scope import Scope
from telemetry import names
from telemetry.clock import rfc3339
from telemetry.names import DropReason, Kind, Level, Moment, StreamEvent

TEXT_LIMIT: Final = 128
"""Characters of a text, a name or a value that may take the fast road."""

FIELDS: Final = 8
"""Attributes that an event may have on the fast road."""

MESSAGE_BYTES: Final = 16 * 1024
"""No event of the fast road is larger; a story with a lower limit does not use it."""

HEADS: Final = 64
"""Names that a voice remembers; more are looked at each time."""

_Found = TypeVar("_Found")

_encode: Final = msgspec.json.Encoder().encode
_INT64: Final = 2**63
_NS: Final = 1_000_000_000
_INFINITY: Final = float("inf")
_NARRATION: Final = StreamEvent.NARRATION.value
_INFO: Final = Level.INFO
_INFO_LABEL: Final = Level.INFO.label
_EVENT: Final = Kind.EVENT.value
_NARRATE: Final = Kind.NARRATE.value
_SLOW_NAMES: Final = frozenset({names.EXCEPTION_EVENT, *(moment.value for moment in Moment)})
_NOT_PLAIN: Final = frozenset({names.NARRATION_LEVEL, names.NARRATION_ACTOR})


class Voice:
    """What the messages of one span's events have in common, encoded."""

    __slots__ = (
        "_event_heads",
        "_middle",
        "_narrate_heads",
        "keys",
        "log",
        "scope",
        "tail",
        "words",
    )

    def __init__(self, scope: Scope, span: ReadableSpan, log: NarrationLog) -> None:
        place = place_of(span)
        self.scope = scope
        self.log = log
        self.words = leaves_words(scope.story.mask)
        """Whether a value that is one word holds no secret."""
        self.keys: dict[str, bool] = {}
        """Names of attributes, and whether they are shown as they are."""
        self._event_heads: dict[str, bytes | None] = {}
        self._narrate_heads: dict[str, bytes | None] = {}
        self._middle = b'Z","job_id":%b,"kind":"' % _encode(scope.story.job_id)
        self.tail = b',"attempt":%d,"trace_id":%b,"span_id":%b,"parent_span_id":%b}' % (
            scope.attempt,
            _encode(place.trace_id),
            _encode(place.span_id),
            _encode(place.parent_span_id),
        )

    def event_head(self, name: str, span: ReadableSpan) -> bytes | None:
        """An event's message between its time and its text; None for a name that is not plain."""
        try:
            return self._event_heads[name]
        except KeyError:
            actor = formatting.actor_of(self.scope, formatting.source_of(span))
            head = None if name in _SLOW_NAMES else self._head(_EVENT, actor, name)
            return _remember(self._event_heads, name, head)

    def narrate_head(self, name: str) -> bytes | None:
        """The same for what was narrated."""
        try:
            return self._narrate_heads[name]
        except KeyError:
            head = self._head(_NARRATE, self.scope.actor, name)
            return _remember(self._narrate_heads, name, head)

    def is_plain_key(self, key: str) -> bool:
        """Whether an attribute of this name is shown as it is, by its name alone."""
        found = (
            len(key) <= TEXT_LIMIT
            and not is_secret_name(key)
            and self.scope.story.mask(spoken := f"{key}=1") == spoken
        )
        return _remember(self.keys, key, found)

    def _head(self, kind: str, actor: str, name: str) -> bytes | None:
        spoken = f"{name} x=1"
        if len(name) > TEXT_LIMIT or shown_name(self.scope, name) != name:
            return None
        if self.scope.story.mask(spoken) != spoken:
            return None
        return b'%b%b","level":"%b","actor":%b,"action":%b,"text":' % (
            self._middle,
            kind.encode(),
            _INFO_LABEL.encode(),
            _encode(shown_name(self.scope, actor)),
            _encode(name),
        )


def voice_of(scope: Scope, span: ReadableSpan) -> Voice | None:
    """The voice of a first-party span in a story with a log of its own; else None."""
    story = scope.story
    log = story.log
    if (
        type(log) is not NarrationLog
        or story.max_message_bytes < MESSAGE_BYTES
        or not is_first_party(formatting.source_of(span), scope.disclosure)
    ):
        return None
    return Voice(scope, span, log)


def span_event(voice: Voice, span: ReadableSpan, event: SpanEvent) -> NarrationEvent | None:
    """Tell an event of `voice`'s span: stored at once, giving None; or made for the slow road."""
    try:
        fields = plain(event.attributes)
        narrated = names.NARRATION_TEXT in fields
        told = (
            _narrated(voice, event.name, fields)
            if narrated
            else _plain_event(voice, span, event.name, fields)
        )
        data = None if told is None else _encoded(voice, event.timestamp, told, fields)
    except Exception:  # noqa: BLE001 - whatever is odd enough to raise takes the slow road
        data = None
    if data is None:
        return formatting.span_event(voice.scope, span, event)
    counters = voice.scope.story.counters
    if voice.log.keep(_NARRATION, _INFO, data) is None:
        counters.dropped(DropReason.LATE)
    else:
        counters.narrated(_NARRATE if narrated else _EVENT, _INFO_LABEL)
    return None


def _plain_event(
    voice: Voice, span: ReadableSpan, name: str, fields: Mapping[str, Any]
) -> bytes | None:
    """Head and text of an event; None where it is not plain."""
    head = voice.event_head(name, span)
    if head is None:
        return None
    text = _spoken(voice, name, fields) if fields else name
    return None if text is None else head + _encode(text)


def _narrated(voice: Voice, name: str, fields: dict[str, Any]) -> bytes | None:
    """Head and texts of what was narrated, which are taken out of `fields`; None as above."""
    head = voice.narrate_head(name)
    if head is None or not _NOT_PLAIN.isdisjoint(fields):
        return None
    text = fields.pop(names.NARRATION_TEXT)
    if not _is_plain(voice, text):
        return None
    told = head + _encode(text)
    for attribute, member in _VOICES:
        other = fields.pop(attribute, None)
        if other is not None:
            if not _is_plain(voice, other):
                return None
            told += member + _encode(other)
    if fields and _spoken(voice, name, fields) is None:
        return None
    return told


def _encoded(voice: Voice, at_ns: Any, told: bytes, fields: Mapping[str, Any]) -> bytes | None:
    if type(at_ns) is not int or not 0 <= at_ns < _INT64:
        return None
    seconds, rest = divmod(at_ns, _NS)
    return b'{"seq":%d,"at":"%b.%06d%b,"fields":%b%b' % (
        voice.log.next,
        _second(seconds),
        rest // 1000,
        told,
        _encode(fields),
        voice.tail,
    )


def _spoken(  # noqa: C901 - the hot path: one call a value would cost more than the rest
    voice: Voice, name: str, fields: Mapping[str, Any]
) -> str | None:
    """`name key=value …` as `formatting` says it; None if a field is not plain."""
    if len(fields) > FIELDS:
        return None
    keys, words = voice.keys, voice.words
    said, suspect = name, False
    for key, value in fields.items():
        if not (keys.get(key) or voice.is_plain_key(key)):
            return None
        kind = type(value)
        if kind is str:
            if len(value) > TEXT_LIMIT:
                return None
            # The word `bearer` makes a secret of the word after it; no other word does.
            if not (words and value.isidentifier() and value[-1] not in "rR"):
                if voice.scope.story.mask(value) != value:
                    return None
                suspect = True  # alone it is no secret; beside its neighbours it might be one
            said = f"{said} {key}={value}"
        elif kind is bool:
            said = f"{said} {key}={'true' if value else 'false'}"
        elif kind is int and -_INT64 <= value < _INT64:
            said = f"{said} {key}={value}"
        elif kind is float and -_INFINITY < value < _INFINITY:
            said = f"{said} {key}={_encode(value).decode()}"
        else:
            return None
    return None if suspect and voice.scope.story.mask(said) != said else said


def _is_plain(voice: Voice, text: object) -> bool:
    """Whether `text` is told as it is."""
    return type(text) is str and len(text) <= TEXT_LIMIT and voice.scope.story.mask(text) == text


_VOICES: Final = (
    (names.NARRATION_CUTE, b',"cute":'),
    (names.NARRATION_STORY, b',"story":'),
)


def _remember(memory: dict[str, _Found], name: str, found: _Found) -> _Found:
    if len(memory) < HEADS:
        memory[name] = found
    return found


@lru_cache(maxsize=64)
def _second(seconds: int) -> bytes:
    """The part of an RFC 3339 time before the fraction."""
    return rfc3339(seconds * _NS).partition(".")[0].encode()

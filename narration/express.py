"""The fast road of the commonest messages: from a span straight to the bytes in the log.

Most of what happens under a job is plain: a span starts or ends, an event has a name and a few
small attributes, a text is narrated. What the messages of a span have in common is encoded once
(its `Voice`), what those of a name have in common is remembered; only the rest is made each time.
Whatever is not plain (an error, attributes that a third party may show, a text that may hold a
secret, a long one, odd values, a moment that goes ill) takes the road of `narration.formatting`,
which alone decides what a message says: a property test holds that both roads give the same bytes.
This module does not know how an event got here.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import StatusCode

from narration import formatting
from narration.disclosure import plain, well_formed
from narration.events import NarrationEvent
from narration.masking import Mask, is_secret_name
from narration.message import clean_name
from narration.phrases import duration
from narration.templates import MOMENTS, moment_json
from narration.voice import Voice
from telemetry import names
from telemetry.clock import rfc3339_second
from telemetry.names import DropReason, Kind, Level, Moment, StreamEvent

TEXT_LIMIT: Final = 128
"""Characters of a text, a name or a value that may take the fast road."""

FIELDS: Final = 8
"""Attributes that a message may have on the fast road."""

_encode: Final = msgspec.json.Encoder().encode
_INT64: Final = 2**63
_NS: Final = 1_000_000_000
_INFINITY: Final = float("inf")
_NARRATION: Final = StreamEvent.NARRATION.value
_INFO: Final = Level.INFO
_INFO_LABEL: Final = Level.INFO.label
_EVENT: Final = Kind.EVENT.value
_NARRATE: Final = Kind.NARRATE.value
_START: Final = Kind.SPAN_START.value
_END: Final = Kind.SPAN_END.value
_LIFECYCLE: Final = Kind.LIFECYCLE.value
_SLOW_NAMES: Final = frozenset({names.EXCEPTION_EVENT, *(moment.value for moment in Moment)})
_NOT_PLAIN: Final = frozenset(
    {names.NARRATION_LEVEL, names.NARRATION_ACTOR, names.NARRATION_LENGTH}
)
_VOICES: Final = (
    (names.NARRATION_CUTE, b',"cute":'),
    (names.NARRATION_STORY, b',"story":'),
)


def span_started(voice: Voice, span: Span) -> NarrationEvent | None:
    """Tell the start of `voice`'s span: stored at once, giving None; or made for the slow road."""
    if not voice.is_ours:
        name = span.name
        head, fields = _head(voice.mask, _START, voice.actor, name), _attributes(voice, span)
        if head is not None and fields is not None:
            told = b'%b%b,"fields":%b' % (head, _encode(f"{name} started"), _encode(fields))
            if _keep(voice, _START, span.start_time, told):
                voice.scope.story.spans.started(span)
                return None
    return formatting.span_started(voice.scope, span)


def span_ended(voice: Voice, span: ReadableSpan) -> NarrationEvent | None:
    """Tell the end of `voice`'s span, as above."""
    name, began, ended = span.name, span.start_time, span.end_time
    if (
        not voice.is_ours
        and span.status.status_code is not StatusCode.ERROR
        and type(began) is int
        and type(ended) is int
    ):
        head, fields = _head(voice.mask, _END, voice.actor, name), _attributes(voice, span)
        if head is not None and fields is not None:
            said = f"{name} ended after {duration(max(0, ended - began) / 1e9)}"
            told = b'%b%b,"fields":%b' % (head, _encode(said), _encode(fields))
            if _keep(voice, _END, ended, told):
                voice.scope.story.spans.ended(span)
                return None
    return formatting.span_ended(voice.scope, span)


def span_event(voice: Voice, span: ReadableSpan, event: SpanEvent) -> NarrationEvent | None:
    """Tell an event of `voice`'s span, as above."""
    name, attributes, attempt = event.name, event.attributes, None
    own = getattr(attributes, "_dict", None)  # never changed: not by the SDK, nor here
    fields: Mapping[str, Any] = plain(attributes) if own is None else own
    if names.NARRATION_TEXT in fields:
        kind, told = _NARRATE, _narrated(voice, name, dict(fields))
    elif name in _SLOW_NAMES:
        kind, told, attempt = _LIFECYCLE, *_lifecycle(voice, name, fields)
    else:
        kind, told = _EVENT, _plain_event(voice, name, fields if voice.shows else {})
    if told is not None and _keep(voice, kind, event.timestamp, told, attempt):
        return None
    return formatting.span_event(voice.scope, span, event)


def _plain_event(voice: Voice, name: str, fields: Mapping[str, Any]) -> bytes | None:
    """An event from its kind to its fields; None if it is not plain."""
    head = _head(voice.mask, _EVENT, voice.actor, name)
    said = _spoken(voice, name, fields) if fields else name
    if head is None or said is None:
        return None
    return b'%b%b,"fields":%b' % (head, _encode(said), _encode(fields))


def _lifecycle(
    voice: Voice, name: str, fields: Mapping[str, Any]
) -> tuple[bytes | None, int | None]:
    """A moment of the job that goes well, and of which attempt; None for any other event."""
    moment, attempt = MOMENTS.get(name), fields.get(names.JOB_ATTEMPT)
    if moment is None or not voice.is_ours or not (attempt is None or type(attempt) is int):
        return None, None
    return moment_json(voice.mask, moment, fields), attempt


def _attributes(voice: Voice, span: ReadableSpan) -> Mapping[str, Any] | None:
    """The attributes of a span, if all are plain."""
    if not voice.shows:
        return {}
    # The public property wraps them in a view, and costs five times as much to copy.
    own = getattr(span, "_attributes", None)
    fields = plain(span.attributes if own is None else own)
    if fields != voice.fields:
        if _spoken(voice, "", fields) is None:
            return None
        voice.fields = fields  # most often those of the end are those of the start
    return fields


def _narrated(voice: Voice, name: str, fields: dict[str, Any]) -> bytes | None:
    """What was narrated, as above; its texts are taken out of `fields`."""
    head = _head(voice.mask, _NARRATE, voice.scope.actor, name)
    text = fields.pop(names.NARRATION_TEXT)
    if head is None or not _NOT_PLAIN.isdisjoint(fields) or not _is_plain(voice, text):
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
    return b'%b,"fields":%b' % (told, _encode(fields))


def _keep(voice: Voice, kind: str, at_ns: Any, told: bytes, attempt: int | None = None) -> bool:
    """Store a message, `told` from its kind to its fields; False if its time is no plain one."""
    if type(at_ns) is not int or not 0 <= at_ns < _INT64:
        return False
    seconds, rest = divmod(at_ns, _NS)
    log, counters = voice.log, voice.scope.story.counters
    data = b'{"seq":%d,"at":"%b.%06dZ","job_id":%b,%b,"attempt":%d%b' % (
        log.number,
        _second(seconds),
        rest // 1000,
        voice.job_id,
        told,
        voice.scope.attempt if attempt is None else attempt,
        voice.tail,
    )
    if log.keep(_NARRATION, _INFO, data) is None:
        counters.dropped(DropReason.LATE)
    else:
        counters.narrated(kind, _INFO_LABEL)
    return True


@lru_cache(maxsize=64)  # times come many to a second
def _second(seconds: int) -> bytes:
    return rfc3339_second(seconds).encode()


def _spoken(  # noqa: C901 - the hot path: one call a value would cost more than the rest
    voice: Voice, name: str, fields: Mapping[str, Any]
) -> str | None:
    """`name key=value …` as `formatting` says it; None if a field is not plain."""
    if len(fields) > FIELDS:
        return None
    mask, words = voice.mask, voice.words
    said, suspect = name, False
    for key, value in fields.items():
        if not _is_plain_key(mask, key):
            return None
        kind = type(value)
        if kind is str:
            if len(value) > TEXT_LIMIT:
                return None
            # The word `bearer` makes a secret of the word after it; no other word does.
            if not (words and value.isidentifier() and value[-1] not in "rR"):
                if mask(value) != value or well_formed(value) != value:
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
    return None if suspect and mask(said) != said else said


def _is_plain(voice: Voice, text: object) -> bool:
    """Whether `text` is told as it is."""
    return (
        type(text) is str
        and len(text) <= TEXT_LIMIT
        and voice.mask(text) == text
        and well_formed(text) == text
    )


@lru_cache(maxsize=4096)  # names are few and come again and again
def _head(mask: Mask, kind: str, actor: str, name: str) -> bytes | None:
    """A plain message between its job and its text; None for a name that is not plain."""
    spoken = f"{name} x=1"
    if len(name) > TEXT_LIMIT or clean_name(mask, name) != name or mask(spoken) != spoken:
        return None
    return b'"kind":"%b","level":"%b","actor":%b,"action":%b,"text":' % (
        kind.encode(),
        _INFO_LABEL.encode(),
        _encode(clean_name(mask, actor)),
        _encode(name),
    )


@lru_cache(maxsize=4096)
def _is_plain_key(mask: Mask, key: str) -> bool:
    """Whether an attribute of this name is shown as it is, by its name alone."""
    spoken = f"token {key}=1"  # a key of blanks would make an assignment of what is before it
    return (
        len(key) <= TEXT_LIMIT
        and not is_secret_name(key)
        and mask(spoken) == spoken
        and well_formed(key) == key
    )

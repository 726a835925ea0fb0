"""What the messages of one span have in common, found once: who speaks, what may be shown, its ids.

It does not know what is told; `express` tells it.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from narration import formatting
from narration.disclosure import is_first_party
from narration.log import NarrationLog
from narration.masking import leaves_words
from narration.scope import Scope
from telemetry import names

MESSAGE_BYTES: Final = 16 * 1024
"""No message of the fast road is larger; a story with a lower limit does not use it."""

_encode: Final = msgspec.json.Encoder().encode
_new_voice: Final = object.__new__
_NO_FIELDS: Final[Mapping[str, Any]] = {}


class Voice:
    """What the messages of one span have in common."""

    __slots__ = (
        "actor",
        "fields",
        "hex_id",
        "is_ours",
        "job_id",
        "log",
        "mask",
        "scope",
        "shows",
        "source",
        "tail",
        "trace",
        "words",
    )

    def __init__(self, scope: Scope, span: ReadableSpan, log: NarrationLog, source: str) -> None:
        self.scope = scope
        self.log = log
        self.mask = scope.story.mask
        self.actor = formatting.actor_of(scope, source)
        self.shows = is_first_party(source, scope.disclosure)
        """Whether its attributes may be shown; those of a third party may not, by their names."""
        self.fields: Mapping[str, Any] = _NO_FIELDS
        """The attributes of the span that were last seen to be plain."""
        self.source = source
        self.is_ours = source == names.SCOPE
        self.words = leaves_words(self.mask)
        """Whether a value that is one word holds no secret."""
        self.job_id = _encode(scope.story.job_id)
        parent, context = span.parent, _context(span)
        self.trace = b',"trace_id":"%032x","span_id":"' % context.trace_id
        self.hex_id = b"%016x" % context.span_id
        self.tail = b'%b%b","parent_span_id":%b}' % (
            self.trace,
            self.hex_id,
            b"null" if parent is None else b'"%016x"' % parent.span_id,
        )

    def of_child(self, span: ReadableSpan) -> "Voice":
        """The voice of a child of this span, by the same source and in the same scope."""
        made = _new_voice(Voice)
        made.scope = self.scope
        made.log = self.log
        made.mask = self.mask
        made.actor = self.actor
        made.shows = self.shows
        made.fields = _NO_FIELDS
        made.source = self.source
        made.is_ours = self.is_ours
        made.words = self.words
        made.job_id = self.job_id
        made.trace = self.trace
        made.hex_id = hex_id = b"%016x" % _context(span).span_id
        made.tail = b'%b%b","parent_span_id":"%b"}' % (self.trace, hex_id, self.hex_id)
        return made


def _context(span: ReadableSpan) -> SpanContext:
    context: Any = span.context
    found: SpanContext = context  # a span that records has one
    return found


def voice_of(scope: Scope, span: ReadableSpan, above: Voice | None = None) -> Voice | None:
    """The voice of `span` in a story with a log of its own; None where all is to be formatted.

    `above` is the voice of its parent, if that is at hand.
    """
    story, source = scope.story, formatting.source_of(span)
    if above is not None and above.scope is scope and above.source == source:
        return above.of_child(span)
    log, disclosure = story.log, scope.disclosure
    if type(log) is not NarrationLog or story.max_message_bytes < MESSAGE_BYTES:
        return None
    if disclosure.allowed and not is_first_party(source, disclosure):
        return None
    return Voice(scope, span, log, source)

"""One narration message: made here and nowhere else, masked, cut and well formed.

This module does not know what is told: `narration.formatting` decides that.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span as ApiSpan
from opentelemetry.trace import format_span_id, format_trace_id

from narration.disclosure import well_formed
from narration.events import NarrationEvent
from narration.masking import Mask, cut
from narration.scope import Scope
from telemetry.clock import rfc3339, rfc3339_second
from telemetry.names import Kind, Level

NAME_LIMIT: Final = 256
"""UTF-8 bytes that an actor or an action may have."""

MASK_MARGIN: Final = 8_192
"""Characters beyond the cut that are still masked, so that no secret is shown in half."""

_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a trace something was said; ids in lower-case hex, None outside of any span."""

    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None


NOWHERE: Final = Place()
"""The place of what was said outside of any span."""


def place_of(span: ApiSpan | ReadableSpan) -> Place:
    """The place of `span`, live or ended; an empty place for an invalid span."""
    context = span.get_span_context()
    if context is None or not context.is_valid:
        return NOWHERE
    parent = span.parent if isinstance(span, ReadableSpan) else None
    return _place(context.trace_id, context.span_id, None if parent is None else parent.span_id)


@lru_cache(maxsize=1024)
def _place(trace_id: int, span_id: int, parent_id: int | None) -> Place:
    return Place(
        format_trace_id(trace_id),
        format_span_id(span_id),
        None if parent_id is None else format_span_id(parent_id),
    )


def message(
    scope: Scope,
    place: Place,
    *,
    at_ns: int | None,
    kind: Kind,
    level: Level,
    actor: object,
    action: object,
    text: object,
    fields: dict[str, Any],
    cute: object = None,
    story: object = None,
    size: int | None = None,
) -> NarrationEvent:
    """A message of `scope`, said at `at_ns` (Unix nanoseconds); `fields` are shown as they are.

    `size` is the true length in bytes of a text that was cut before it came here.
    """
    told, length = _text(scope, text)
    truncated = {} if length is None and size is None else {"bytes": size or length or 0}
    event = NarrationEvent(
        at=_at(scope, at_ns),
        job_id=scope.story.job_id,
        kind=kind.value,
        level=level.label,
        actor=_name(scope, actor),
        action=_name(scope, action),
        text=told,
        fields=fields,
        attempt=scope.attempt,
        trace_id=place.trace_id,
        span_id=place.span_id,
        parent_span_id=place.parent_span_id,
    )
    if cute is not None:
        event.cute, length = _text(scope, cute)
        if length is not None:
            truncated["cute"] = length
    if story is not None:
        event.story, length = _text(scope, story)
        if length is not None:
            truncated["story"] = length
    if truncated:
        event.truncated = truncated
    return event


def _text(scope: Scope, value: object) -> tuple[str, int | None]:
    """`value` masked and cut, with its true length in bytes where it was cut."""
    text = well_formed(value if isinstance(value, str) else str(value))
    limit = scope.story.max_message_bytes
    if len(text) <= limit:  # characters, of which bytes are never fewer
        return cut(scope.story.mask(text), limit)
    length = len(text) if text.isascii() else len(text.encode())
    return cut(scope.story.mask(text[: limit + MASK_MARGIN]), limit)[0], length


def _name(scope: Scope, value: object) -> str:
    """`value` as an actor or action: one line, masked, short."""
    name = value if isinstance(value, str) else str(value)
    return clean_name(scope.story.mask, name[: NAME_LIMIT * 4])


@lru_cache(maxsize=2048)  # names are few and come again and again
def clean_name(mask: Mask, name: str) -> str:
    """`name` as an actor or action is shown: well formed, one line, masked, short."""
    name = well_formed(name)
    if not name.isprintable():
        name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return cut(mask(name), NAME_LIMIT)[0]


def _at(scope: Scope, at_ns: int | None) -> str:
    """`at_ns` in RFC 3339; the story's own time where a caller gave a time that is none."""
    try:
        seconds, rest = divmod(at_ns, _NS)  # type: ignore[operator]  # whatever a caller gave
        return f"{rfc3339_second(seconds)}.{rest // 1000:06d}Z"
    except (TypeError, ValueError, OverflowError, OSError):
        return rfc3339(scope.story.clock.wall_ns())

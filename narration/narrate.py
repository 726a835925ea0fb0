"""`narrate()`: how a handler tells what it does, in its own words.

It adds an event to the current span, so that the trace tells it too; the tap hands it to the story.
Where no span of the story is current, it goes straight into the story; where no story is in context
it is an event of the current span only, and reaches no stream. It never raises into its caller.
"""

import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import trace

from narration import formatting
from narration.disclosure import json_safe, well_formed
from narration.formatting import Said
from narration.message import MASK_MARGIN, place_of
from narration.scope import Scope, current_scope
from narration.tap import count_failure, scope_of
from telemetry import names

_logger = logging.getLogger(__name__)

_INT64: Final = 2**63
_RESERVED: Final = frozenset(
    {
        names.NARRATION_ACTOR,
        names.NARRATION_TEXT,
        names.NARRATION_CUTE,
        names.NARRATION_STORY,
        names.NARRATION_LEVEL,
        names.NARRATION_LENGTH,
    }
)
_LONG: Final = 4096
"""Characters beyond which a text is looked at before a span may keep it: most are far shorter."""


def narrate(
    action: str,
    text: str,
    /,
    *,
    actor: str | None = None,
    level: str = "info",
    cute: str | None = None,
    story: str | None = None,
    **fields: Any,
) -> None:
    """Tell one thing, live: `narrate("load", "Loading {scene}", scene=scene)`.

    `action` is a short name for what is being done. `text`, `cute` and `story` are templates in the
    manner of `str.format` over `fields`; one that cannot be filled is told as it is. `actor` is the
    operation by default. `level` is one of trace, debug, info, warn, error, fatal; anything else
    counts as info. Fields may hold anything: what OpenTelemetry does not take is told as JSON-safe
    values or text. Never raises and never waits; what fails is counted.
    """
    scope = None
    try:
        scope = current_scope()
        attributes = _attributes(scope, fields)
        told = _fill(text, fields)
        if len(told) > _LONG and scope is not None:
            told, whole = _shortened(told, scope)
            if whole is not None:
                attributes[names.NARRATION_LENGTH] = whole
        attributes[names.NARRATION_TEXT] = told
        if actor is not None:
            attributes[names.NARRATION_ACTOR] = well_formed(str(actor))
        if level != "info":  # absent means info: the usual case stays cheap
            attributes[names.NARRATION_LEVEL] = formatting.level_named(level).label
        if cute is not None:
            attributes[names.NARRATION_CUTE] = _fill(cute, fields)
        if story is not None:
            attributes[names.NARRATION_STORY] = _fill(story, fields)
        _tell(scope, well_formed(str(action)), attributes)
    except Exception:  # an instrument never breaks the instrumented
        if scope is not None:
            count_failure(scope)
        with contextlib.suppress(Exception):
            _logger.exception("narration of one message failed")


def _tell(scope: Scope | None, action: str, attributes: dict[str, Any]) -> None:
    span = trace.get_current_span()
    recording = span.is_recording()
    if scope is None:
        if recording:
            span.add_event(action, attributes)
        return
    story = scope.story
    now_ns = story.clock.wall_ns()
    owner = scope_of(span)
    if recording and owner is not None and owner.story is story:
        span.add_event(action, attributes, now_ns)  # the tap tells it
        return
    if recording and owner is None:
        span.add_event(action, attributes, now_ns)  # nobody's: for the trace only
    place = place_of(span)
    said = Said(at_ns=now_ns, action=action, attributes=attributes, place=place)
    story.put(formatting.narration, scope, said)


def _shortened(text: str, scope: Scope) -> tuple[str, int | None]:
    """As much of `text` as its message can have, and its bytes if that is not all.

    The event on the span keeps no more than that: it lives as long as the span, and in the queue of
    the exporter.
    """
    most = scope.story.max_message_bytes + MASK_MARGIN
    if len(text) <= most:
        return text, None
    return text[:most], len(text) if text.isascii() else len(text.encode())


def _attributes(scope: Scope | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` as span attributes, which any exporter can encode."""
    attributes: dict[str, Any] = {}
    for name, value in fields.items():
        kind = type(value)
        if (
            (kind is str and len(value) <= _LONG and value.isascii())
            or kind is bool
            or kind is float
            or (kind is int and -_INT64 <= value < _INT64)
        ):
            attributes[name] = value
        elif scope is None:
            attributes[name] = json_safe(value)
        else:
            story = scope.story
            attributes[name] = json_safe(value, mask=story.mask, max_bytes=story.max_message_bytes)
    for name in _RESERVED.intersection(attributes):  # a field does not pass for our own attributes
        del attributes[name]
    return attributes


def _fill(template: str, fields: Mapping[str, Any]) -> str:
    """`template` over `fields`; as it is where that fails.

    A template with a double underscore is never filled: text from outside that strayed into it
    must not reach into the fields' insides.
    """
    text = str(template)  # whatever was given: a caller is never told that it is no text
    if ("{" in text or "}" in text) and "__" not in text:
        with contextlib.suppress(Exception):  # a missing field, or a value that does not format
            text = text.format_map(fields)
    return well_formed(text)

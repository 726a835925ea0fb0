"""The one function that formats: whatever happened under a job becomes a narration message here.

Pure functions of their arguments, run by the single consumer of a story (`Story.put` calls them).
They apply the disclosure filter, mask secrets, and cut what is too long. This module does not know
who tells a message, nor who reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import StatusCode

from narration.disclosure import (
    is_first_party,
    plain,
    render,
    visible,
    well_formed,
    without_values,
)
from narration.events import NarrationEvent
from narration.message import NOWHERE, Place, message, place_of
from narration.phrases import PHRASES, duration, phrase
from narration.scope import Scope
from narration.story import NARRATOR
from telemetry import names
from telemetry.names import Kind, Level, Moment

_MOMENTS: Final[Mapping[str, Moment]] = {moment.value: moment for moment in Moment}
_LEVELS: Final[Mapping[str, Level]] = {level.label: level for level in Level}


class Said(NamedTuple):
    """What `narrate()` was told, at `at_ns` (Unix nanoseconds)."""

    at_ns: int
    action: str
    attributes: Mapping[str, Any]
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One log record, from `logging` or from OpenTelemetry.

    `logger` is its logger's or instrumentation scope's name, `at_ns` Unix nanoseconds. `template`
    is what `text` was made from by filling in values, None where it holds none; `arguments` are
    the values that have names. With an `event_name` it is a log-based event. `exception_type` and
    `exception_message` are those of the exception that was logged, if any.
    """

    logger: str
    level: Level
    at_ns: int
    text: str
    template: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    event_name: str | None = None
    exception_type: str | None = None
    exception_message: str | None = None
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLine:
    """One line of a child process; `kind` is STDOUT or STDERR.

    `size` is the line's true length in bytes where `text` holds only its beginning.
    """

    kind: Kind
    at_ns: int
    actor: str
    action: str
    text: str
    size: int | None = None
    place: Place = NOWHERE


def level_named(label: object) -> Level:
    """The level called `label` in any case, or `label` itself; `info` for what is no level."""
    if isinstance(label, Level):
        return label
    return _LEVELS.get(label.lower(), Level.INFO) if isinstance(label, str) else Level.INFO


def span_started(scope: Scope, span: Span) -> NarrationEvent | None:
    """A span of the story has started. Our own spans are told by lifecycle phrases instead."""
    scope.story.spans.started(span)
    source = source_of(span)
    if source == names.SCOPE:
        return None
    return message(
        scope,
        place_of(span),
        at_ns=span.start_time,
        kind=Kind.SPAN_START,
        level=Level.INFO,
        actor=actor_of(scope, source),
        action=span.name,
        text=f"{span.name} started",
        fields=_visible(scope, span.attributes, source),
    )


def span_ended(scope: Scope, span: ReadableSpan) -> NarrationEvent | None:
    """A span of the story has ended. Our own spans are told by lifecycle phrases instead."""
    scope.story.spans.ended(span)
    source = source_of(span)
    if source == names.SCOPE:
        return None
    failed = span.status.status_code is StatusCode.ERROR
    took = duration(max(0, (span.end_time or 0) - (span.start_time or 0)) / 1e9)
    text = f"{span.name} {'failed' if failed else 'ended'} after {took}"
    description = span.status.description
    if failed and description and _shows(scope, source, names.EXCEPTION_MESSAGE):
        text = f"{text}: {description}"
    return message(
        scope,
        place_of(span),
        at_ns=span.end_time,
        kind=Kind.SPAN_END,
        level=Level.ERROR if failed else Level.INFO,
        actor=actor_of(scope, source),
        action=span.name,
        text=text,
        fields=_visible(scope, span.attributes, source),
    )


def span_event(scope: Scope, span: ReadableSpan, event: SpanEvent) -> NarrationEvent:
    """An event on a span of the story: narrated, lifecycle, an exception, or anyone's own."""
    attributes = plain(event.attributes)
    place = place_of(span)
    if names.NARRATION_TEXT in attributes:
        return narration(scope, Said(event.timestamp, event.name, attributes, place))
    source = source_of(span)
    if event.name == names.EXCEPTION_EVENT:
        return _exception(scope, place, event, attributes, source)
    moment = _MOMENTS.get(event.name) if source == names.SCOPE else None
    if moment is not None:
        return lifecycle(scope, moment, attributes, event.timestamp, place)
    fields = _visible(scope, attributes, source)
    return message(
        scope,
        place,
        at_ns=event.timestamp,
        kind=Kind.EVENT,
        level=Level.INFO,
        actor=actor_of(scope, source),
        action=event.name,
        text=_with_fields(event.name, fields),
        fields=fields,
    )


def narration(scope: Scope, said: Said) -> NarrationEvent:
    """What a handler narrated: always first party, whichever span carries it."""
    told = plain(said.attributes)
    text = told.pop(names.NARRATION_TEXT, "")
    level = told.pop(names.NARRATION_LEVEL, None)
    actor = told.pop(names.NARRATION_ACTOR, None)
    cute = told.pop(names.NARRATION_CUTE, None)
    story = told.pop(names.NARRATION_STORY, None)
    size = told.pop(names.NARRATION_LENGTH, None)
    return message(
        scope,
        said.place,
        at_ns=said.at_ns,
        kind=Kind.NARRATE,
        level=Level.INFO if level is None else level_named(level),
        actor=actor or scope.actor,
        action=said.action,
        text=text,
        cute=cute,
        story=story,
        fields=_visible(scope, told, names.SCOPE),
        size=size if type(size) is int else None,  # it may be anyone's
    )


def log_record(scope: Scope, line: LogLine) -> NarrationEvent:
    """A log record, or a log-based event, under the job.

    What a third party's text was filled in with is withheld like its attributes, unless the
    operation allows `log.record.original`.
    """
    source = line.logger
    fields = _visible(scope, line.attributes, source)
    text = line.text
    if line.template is not None and not _shows(scope, source, names.LOG_RECORD_ORIGINAL):
        text = without_values(line.template, line.arguments, scope.disclosure)
    if line.event_name and not text:
        text = _with_fields(line.event_name, fields)
    if line.exception_type:
        shown = line.exception_message and _shows(scope, source, names.EXCEPTION_MESSAGE)
        error = _error(line.exception_type, line.exception_message if shown else None)
        text = f"{text}: {error}" if text else error
        fields[names.EXCEPTION_TYPE] = line.exception_type
    return message(
        scope,
        line.place,
        at_ns=line.at_ns,
        kind=Kind.EVENT if line.event_name else Kind.LOG,
        level=line.level,
        actor=actor_of(scope, source),
        action=line.event_name or "log",
        text=text,
        fields=fields,
    )


def process_line(scope: Scope, line: ProcessLine) -> NarrationEvent:
    """One line that a child process of the job has written."""
    return message(
        scope,
        line.place,
        at_ns=line.at_ns,
        kind=line.kind,
        level=Level.INFO,
        actor=line.actor,
        action=line.action,
        text=line.text,
        fields={},
        size=line.size,
    )


def lifecycle(
    scope: Scope,
    moment: Moment,
    attributes: Mapping[str, Any],
    at_ns: int | None,
    place: Place = NOWHERE,
) -> NarrationEvent:
    """A moment of the job itself, in three voices; of the attempt that it speaks of, if any."""
    said = phrase(moment, attributes)
    told = message(
        scope,
        place,
        at_ns=at_ns,
        kind=Kind.LIFECYCLE,
        level=PHRASES[moment].level,
        actor=NARRATOR,
        action=moment.removeprefix("job."),
        text=said.human,
        cute=said.cute,
        story=said.story,
        fields=_visible(scope, attributes, names.SCOPE),
    )
    attempt = attributes.get(names.JOB_ATTEMPT)
    if isinstance(attempt, int):
        told.attempt = attempt
    return told


def _exception(
    scope: Scope, place: Place, event: SpanEvent, attributes: Mapping[str, Any], source: str
) -> NarrationEvent:
    kind = str(attributes.get(names.EXCEPTION_TYPE) or "Exception")
    shown = _shows(scope, source, names.EXCEPTION_MESSAGE)
    fields = _visible(scope, attributes, source)
    fields[names.EXCEPTION_TYPE] = well_formed(kind)
    return message(
        scope,
        place,
        at_ns=event.timestamp,
        kind=Kind.EXCEPTION,
        level=Level.ERROR,
        actor=actor_of(scope, source),
        action=event.name,
        text=_error(kind, attributes.get(names.EXCEPTION_MESSAGE) if shown else None),
        fields=fields,
    )


def source_of(span: ReadableSpan) -> str:
    """The name of the instrumentation scope that made `span`."""
    scope = span.instrumentation_scope
    return scope.name or "" if scope else ""


def actor_of(scope: Scope, source: str) -> str:
    """Who speaks: the last part of a scope's name, `x` of `opentelemetry.instrumentation.x`."""
    return scope.actor if source == names.SCOPE else source.rpartition(".")[2] or scope.actor


def _visible(scope: Scope, attributes: Mapping[str, Any] | None, source: str) -> dict[str, Any]:
    if not attributes:
        return {}
    story = scope.story
    return visible(
        attributes,
        source,
        scope.disclosure,
        mask=story.mask,
        max_bytes=story.max_message_bytes,
    )


def _shows(scope: Scope, source: str, attribute: str) -> bool:
    return attribute in scope.disclosure.allowed or is_first_party(source, scope.disclosure)


def _error(kind: object, message: object) -> str:
    return f"{kind}: {message}" if message else f"{kind}"


def _with_fields(name: str, fields: Mapping[str, Any]) -> str:
    return " ".join([name, *(f"{key}={render(value)}" for key, value in fields.items())])

"""Where a stream begins: what a client may ask for, and the place in the log that it means.

It does not know how an event looks on the wire or how it is sent. Precedence: the `Last-Event-ID`
header, its query form, `from`, `tail` (a browser repeats its address when it comes back, and adds
the header).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar

from narration.log import NarrationLog
from narration.view import Format, Gap, Mode, View
from telemetry.names import GapReason, Level

_T = TypeVar("_T")

_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_LEVELS: Final = {level.label: level for level in Level}
_BOOLEANS: Final = {"true": True, "false": False}


class InvalidStreamQuery(ValueError):  # noqa: N818 - the domain's errors are named for what is wrong
    """A query parameter of a stream has a value that means nothing; `legal` says what does."""

    def __init__(self, field: str, value: str, legal: tuple[str, ...]) -> None:
        super().__init__(f"{field}={value[:100]!r} is not one of: {', '.join(legal)}")
        self.field = field
        self.value = value
        self.legal = legal


@cache
def _view(mode: Mode, form: Format, level: Level) -> View:
    """One object for one view, so that readers who share renderings find them by identity."""
    return View(mode=mode, format=form, level=level)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamQuery:
    """What a client asks of a stream; `from_` and `tail` are whole numbers from 0 up."""

    mode: Mode = Mode.HUMAN
    format: Format = Format.JSON
    level: Level = Level.TRACE
    from_: int | None = None
    tail: int | None = None
    follow: bool = True
    last_event_id: str | None = None

    @property
    def view(self) -> View:
        """The form that is asked for."""
        return _view(self.mode, self.format, self.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a log: the first sequence to send, what to say before it, whether all is told.

    `complete` means that the story has ended before `start`: there is nothing to come, ever, which
    HTTP says as 204, on which a browser stops coming back.
    """

    start: int
    gaps: tuple[Gap, ...] = ()
    complete: bool = False


def parse_query(query: Mapping[str, str], last_event_id: str | None = None) -> StreamQuery:
    """The query of a stream from its parameters and its `Last-Event-ID` header.

    Other parameters are not looked at. An empty id is none (WHATWG HTML: the empty string is what a
    client has before the first id). Raises `InvalidStreamQuery` for a value that means nothing.
    """
    modes = {mode.value: mode for mode in Mode}
    formats = {form.value: form for form in Format}
    return StreamQuery(
        mode=_choice(query, "mode", modes, Mode.HUMAN),
        format=_choice(query, "format", formats, Format.JSON),
        level=_choice(query, "level", _LEVELS, Level.TRACE),
        from_=_whole_number(query, "from"),
        tail=_whole_number(query, "tail"),
        follow=_choice(query, "follow", _BOOLEANS, True),
        last_event_id=last_event_id or query.get("last_event_id") or None,
    )


def resolve(log: NarrationLog, query: StreamQuery) -> Position:
    """The place in `log` where `query` begins, as the log is now.

    - An id of this log: the event after it. Any other text, or a sequence that was never given:
      the whole story, after a gap that says so.
    - `from`: that sequence; 0 is the whole story. One that is not there yet is waited for.
    - `tail`: the newest N events that the view shows; 0 is only what comes from now on.
    """
    if query.last_event_id is not None:
        sequence = log.parse_id(query.last_event_id)
        if sequence is not None:
            return _from(log, sequence + 1)
        unknown = Gap(from_=None, to=None, reason=GapReason.UNKNOWN_ID)
        whole = _from(log, 1)
        return Position(start=whole.start, gaps=(unknown, *whole.gaps))
    if query.from_ is not None:
        return _from(log, max(query.from_, 1))
    if query.tail is not None:
        return _tail(log, query.view, query.tail)
    return _from(log, 1)


def _from(log: NarrationLog, start: int) -> Position:
    if start < log.first:
        gap = Gap(from_=start, to=log.first - 1, reason=GapReason.EVICTED)
        return Position(start=log.first, gaps=(gap,))
    return Position(start=start, complete=log.ended and start >= log.next)


def _tail(log: NarrationLog, view: View, count: int) -> Position:
    start = log.next
    for entry in reversed(log.entries()) if count else ():
        start -= 1
        if view.shows(entry):
            count -= 1
            if not count:
                break
    return _from(log, start if not count else 1)


def _choice(query: Mapping[str, str], field: str, legal: Mapping[str, _T], default: _T) -> _T:
    value = query.get(field)
    if value is None:
        return default
    if value not in legal:
        raise InvalidStreamQuery(field, value, tuple(legal))
    return legal[value]


def _whole_number(query: Mapping[str, str], field: str) -> int | None:
    value = query.get(field)
    if value is None:
        return None
    if not _WHOLE_NUMBER.fullmatch(value):
        raise InvalidStreamQuery(field, value, ("a whole number from 0 to 999999999999999999",))
    return int(value)

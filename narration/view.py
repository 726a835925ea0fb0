"""How a run of a log's entries looks on the wire: three phrasings, three formats, a least level.

It does not know who reads, where they are in the log, or what was dropped. In the default view no
JSON is decoded: frames are joined around the bytes that the log keeps. What several readers of one
log ask for in the same form is rendered once.

Formats:

- `json`: Server-Sent Events (WHATWG HTML, section 9.2); `data` is the event as JSON.
- `ndjson`: `application/x-ndjson`, one line `{"id", "event", "data"}` an event. There are no
  heartbeats in it, since every line is an event, and `id` is null where the event is in no log.
- `text`: Server-Sent Events without names, for people. A narration message is its plain line, an
  output chunk its text (JSON where it is not a string), the end its marker, which is the last data
  line of all. `state` and `progress` are left out: lifecycle messages say the same in words. A gap
  and a drain are plain lines of the narrator. A line break inside a message or a chunk makes a
  further `data:` line of the same event; inside a marker it is escaped, so that the marker stays
  one line.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from narration.encoding import encode
from narration.log import Entry, NarrationLog, Rendering
from narration.plain import plain_line
from narration.story import NARRATOR
from telemetry.names import Level, StreamEvent

KEEP_ALIVE: Final = b": keep-alive\n"
"""A comment, by which a proxy sees that the connection lives.

It is a line of its own with no blank line after it: a blank line is what dispatches an event, and
some clients (httpx-sse) then make an empty one of it.
"""

_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")
_UNTOLD: Final = frozenset({StreamEvent.STATE, StreamEvent.PROGRESS})  # in `text`
_RENDERINGS: Final = 4
"""Shared renderings that a watched log keeps: readers of a live log are at one or two cursors."""

_SHARED_BYTES: Final = 256 * 1024
"""A larger rendering (of a whole story) is not kept: it would cost more memory than it saves."""


class Mode(StrEnum):
    """Which phrasing of a message is its `text`, where it has that one."""

    HUMAN = "human"
    CUTE = "cute"
    STORY = "story"


class Format(StrEnum):
    """The form on the wire."""

    JSON = "json"
    TEXT = "text"
    NDJSON = "ndjson"


class Gap(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Sequences that are missing, inclusive; null where nothing is known of them."""

    from_: int | None
    to: int | None
    reason: str


class Draining(msgspec.Struct, frozen=True, kw_only=True):
    """The server closes this stream; come back in `retry_ms` milliseconds."""

    reason: str
    retry_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one client sees of a log. `level` is a minimum and filters narration only."""

    mode: Mode = Mode.HUMAN
    format: Format = Format.JSON
    level: Level = Level.TRACE

    def __hash__(self) -> int:
        # Asked for once per reader and burst; hashing three enum members costs a microsecond.
        return int(self.level)

    @property
    def media_type(self) -> str:
        """The content type of this view."""
        return "application/x-ndjson" if self.format is Format.NDJSON else "text/event-stream"

    @property
    def keep_alive(self) -> bytes:
        """What shows that the connection lives; empty where every line is an event."""
        return b"" if self.format is Format.NDJSON else KEEP_ALIVE

    def shows(self, entry: Entry) -> bool:
        """Whether `entry` is seen in this view."""
        return entry.level >= self.level and not (
            self.format is Format.TEXT and entry.name in _UNTOLD
        )


def render(view: View, log: NarrationLog, first: int, entries: Sequence[Entry]) -> Rendering:
    """`entries`, the first of which has sequence `first`, as `view` shows them."""
    if log.readers < 2:  # noqa: PLR2004 - one reader shares with nobody
        return frames(view, log, first, entries)
    key = (view, first, len(entries))
    known = log.renderings.get(key)
    if known is None:
        known = frames(view, log, first, entries)
        if len(known.data) > _SHARED_BYTES:
            return known
        while len(log.renderings) >= _RENDERINGS:
            del log.renderings[next(iter(log.renderings))]
        log.renderings[key] = known
    return known


def document(view: View, log: NarrationLog, start: int) -> bytes:
    """The story so far as one JSON object: `{epoch, first, next, events: [{id, event, data}]}`.

    Events from sequence `start` on, as `view` shows them; its format is not looked at.
    """
    entries = log.entries()[max(0, start - log.first) :]
    first = log.next - len(entries)
    head = encode({"epoch": log.epoch, "first": log.first, "next": log.next})
    events = [line for _, line in _lines(view, log, first, entries)]
    return head[:-1] + b',"events":[' + b",".join(events) + b"]}"


def notice(view: View, told: Gap | Draining) -> bytes:
    """A gap or a drain, which are in no log and have no id."""
    name = StreamEvent.GAP if isinstance(told, Gap) else StreamEvent.DRAINING
    if view.format is Format.NDJSON:
        return b'{"id":null,"event":"%b","data":%b}\n' % (name.encode(), encode(told))
    retry = b"" if isinstance(told, Gap) else retry_line(told.retry_ms)
    if view.format is Format.TEXT:
        return retry + _data(plain_line(NARRATOR, name, _phrase(told))) + b"\n"
    return b"%bevent: %b\ndata: %b\n\n" % (retry, name.encode(), encode(told))


def retry_line(retry_ms: int) -> bytes:
    """The field by which a client learns how long to wait before it comes back.

    It takes effect as a line, whatever comes next; a blank line after it would dispatch nothing, or
    an empty event in some clients.
    """
    return b"retry: %d\n" % retry_ms


def frames(view: View, log: NarrationLog, first: int, entries: Sequence[Entry]) -> Rendering:
    """As `render`, for who shares the bytes by other means: nothing is kept."""
    if view.format is Format.JSON:
        # The hot path of a stream: no call for an entry that is shown as it is kept.
        level, is_plain = view.level, view.mode is Mode.HUMAN
        shown = [
            b"id: %b\nevent: %b\ndata: %b\n\n"
            % (
                log.event_id(sequence).encode(),
                entry.name.encode(),
                entry.data if is_plain else _phrased(view, entry),
            )
            for sequence, entry in enumerate(entries, first)
            if entry.level >= level
        ]
    elif view.format is Format.NDJSON:
        shown = [line + b"\n" for _, line in _lines(view, log, first, entries)]
    else:
        shown = [
            b"id: %b\n%b\n" % (log.event_id(sequence).encode(), _data(_as_text(view, entry)))
            for sequence, entry in _shown(view, first, entries)
        ]
    return Rendering(b"".join(shown), len(shown))


def _shown(view: View, first: int, entries: Sequence[Entry]) -> Iterator[tuple[int, Entry]]:
    return ((sequence, entry) for sequence, entry in enumerate(entries, first) if view.shows(entry))


def _lines(
    view: View, log: NarrationLog, first: int, entries: Sequence[Entry]
) -> Iterator[tuple[int, bytes]]:
    for sequence, entry in enumerate(entries, first):
        if entry.level >= view.level:
            event_id = log.event_id(sequence).encode()
            data = _phrased(view, entry)
            yield (
                sequence,
                b'{"id":"%b","event":"%b","data":%b}' % (event_id, entry.name.encode(), data),
            )


def _phrased(view: View, entry: Entry) -> bytes:
    """The entry's JSON with the asked phrasing as its `text`."""
    if view.mode is Mode.HUMAN or entry.name != StreamEvent.NARRATION:
        return entry.data
    if b'"%b":' % view.mode.encode() not in entry.data:  # most messages have one phrasing only
        return entry.data
    message = msgspec.json.decode(entry.data)
    message["text"] = message.get(view.mode, message["text"])
    return encode(message)


def _as_text(view: View, entry: Entry) -> str:
    event: dict[str, Any] = msgspec.json.decode(_phrased(view, entry))
    if entry.name == StreamEvent.NARRATION:
        return plain_line(event["actor"], event["action"], event["text"])
    if entry.name == StreamEvent.END:
        return str(event["marker"]).replace("\r", "\\r").replace("\n", "\\n")
    chunk = event["chunk"]
    return chunk if isinstance(chunk, str) else encode(chunk).decode()


def _data(text: str) -> bytes:
    return b"".join(b"data: %b\n" % line.encode() for line in _LINE_BREAK.split(text))


def _phrase(told: Gap | Draining) -> str:
    if isinstance(told, Draining):
        return f"The server is closing this stream ({told.reason}): back in {told.retry_ms} ms"
    if told.from_ is None:
        return f"This may not continue what you have seen ({told.reason})"
    until = "the newest" if told.to is None else str(told.to)
    return f"Events {told.from_} to {until} are missing here ({told.reason})"

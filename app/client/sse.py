"""A parser of event streams as WHATWG HTML says, section 9.2.6, without I/O.

It takes bytes in pieces of any size and gives what they complete. It knows neither HTTP nor what
an event means; when to come back, and with which id, is `app.client.resume`'s.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_BOM: Final = "\ufeff"
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_DIGITS: Final = re.compile(r"[0-9]+")
_MAX_DIGITS: Final = 15
"""More digits of milliseconds are more than any clock has, and are taken as none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One dispatched event.

    `id` is what its own block said, None where that said nothing; the parser's `last_event_id` is
    the one that lasts.
    """

    event: str
    data: str
    id: str | None


class Parser:
    """Reads one connection.

    `last_event_id` starts as that of the connection before (as browsers have it) and is the id of
    the last block that was complete: what `Last-Event-ID` takes. `retry_ms` is the time to come
    back that the server has asked for, if it has; `comments` counts heartbeats.
    """

    __slots__ = (
        "_begun",
        "_data",
        "_decoder",
        "_event",
        "_id",
        "_pieces",
        "_skip_newline",
        "comments",
        "last_event_id",
        "retry_ms",
    )

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self.comments = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False
        self._skip_newline = False
        self._pieces: list[str] = []  # of the line that is not complete yet
        self._id: str | None = None
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """The events that `chunk` completes; the iterator must be read to its end."""
        for line in self._lines(self._decoder.decode(chunk)):
            if line:
                self._field(line)
            elif (message := self._dispatch()) is not None:
                yield message

    def _lines(self, text: str) -> Iterator[str]:
        """The lines that `text` completes; what comes after them waits for the next piece."""
        if text and not self._begun:
            self._begun = True
            text = text.removeprefix(_BOM)
        if self._skip_newline and text:  # a CR ended the line: an LF that follows belongs to it
            self._skip_newline = False
            text = text.removeprefix("\n")
        start = 0
        for end in _LINE_END.finditer(text):
            self._pieces.append(text[start : end.start()])
            start = end.end()
            line = "".join(self._pieces)
            self._pieces.clear()
            yield line
        if start < len(text):
            self._pieces.append(text[start:])
        elif text.endswith("\r"):
            self._skip_newline = True

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry":
            if _DIGITS.fullmatch(value) and len(value) <= _MAX_DIGITS:
                self.retry_ms = int(value)
        elif not name:
            self.comments += 1

    def _dispatch(self) -> Message | None:
        """The block is complete; one without data says its id and no more."""
        if self._id is not None:
            self.last_event_id = self._id
        message = None
        if self._data:
            message = Message(
                event=self._event or "message", data="\n".join(self._data), id=self._id
            )
        self._id, self._event, self._data = None, "", []
        return message

"""The standard output and error of a child process, line by line, as narration.

A line is told when it is complete; of an overlong one the beginning is kept, with its true length.
"""

import re
from collections.abc import Iterator
from typing import Final

from narration import formatting
from narration.formatting import ProcessLine
from narration.message import MASK_MARGIN, Place
from narration.plain import parse_plain
from narration.scope import Scope
from telemetry.names import Kind

_BREAK: Final = re.compile(rb"\r\n|\n|\r")  # a bare CR too: progress bars end their lines so


class Printout:
    """One of the two streams; `feed` and `finish` on the loop's thread."""

    def __init__(self, scope: Scope, kind: Kind, place: Place) -> None:
        self._scope = scope
        self._kind = kind
        self._place = place
        self._keep = scope.story.max_message_bytes + MASK_MARGIN
        self._line = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Tell the lines that `data` completes."""
        *ended, begun = _BREAK.split(data)
        for piece in ended:
            self._add(piece)
            self.finish()
        self._add(begun)

    def finish(self) -> None:
        """Tell the line that has begun, if any; blank ones are left out."""
        for line, size in self._take():
            text = line.decode("utf-8", "replace")
            actor, action, said = parse_plain(text) or (self._scope.actor, self._kind.value, text)
            told = ProcessLine(
                kind=self._kind,
                at_ns=self._scope.story.clock.wall_ns(),
                actor=actor,
                action=action,
                text=said,
                size=size if size > len(line) else None,
                place=self._place,
            )
            self._scope.story.put(formatting.process_line, self._scope, told)

    def _take(self) -> Iterator[tuple[bytes, int]]:
        if self._size:
            yield bytes(self._line), self._size
            self._line.clear()
            self._size = 0

    def _add(self, piece: bytes) -> None:
        self._line += piece[: max(0, self._keep - len(self._line))]
        self._size += len(piece)

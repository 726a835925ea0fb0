"""Connections in memory that readers are written to directly, for tests."""

import asyncio
from dataclasses import dataclass, field

from narration.log import NarrationLog
from narration.reader import Reader
from narration.resume import StreamQuery, resolve
from narration.streams import Streams
from narration.transport import Sender


@dataclass(slots=True, eq=False)
class Wire:
    """One connection, which takes what it is given unless it is paused."""

    reader: Reader
    sender: Sender
    running: asyncio.Future[bool]
    written: list[bytes] = field(default_factory=list)
    room: int | None = None
    """How many writes it takes before it says that its buffer is full; None: any number."""
    is_paused: bool = False

    def write(self, data: bytes) -> None:
        """As a transport's: what was full is told while it is written to."""
        assert not self.is_paused, "written to while paused"
        self.written.append(data)
        if self.room is not None:
            self.room -= 1
            if self.room <= 0:
                self.pause()

    def pause(self) -> None:
        """Its buffer is full."""
        if not self.is_paused:
            self.is_paused = True
            self.sender.paused()

    def resume(self, room: int | None = None) -> None:
        """It has room again."""
        if self.is_paused:
            self.is_paused, self.room = False, room
            self.sender.resumed()

    @property
    def body(self) -> bytes:
        """What its client reads: the chunks, without their frames."""
        return b"".join(self.chunks)

    @property
    def chunks(self) -> list[bytes]:
        """The same, chunk by chunk; fails for what is not framed as RFC 9112 has it."""
        found: list[bytes] = []
        rest = b"".join(self.written)
        while rest:
            size, line_end, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            assert line_end, rest
            assert length > 0, "an empty chunk is the end of the body"
            assert rest[length : length + 2] == b"\r\n"
            found.append(rest[:length])
            rest = rest[length + 2 :]
        return found


def connect(
    streams: Streams,
    log: NarrationLog,
    query: StreamQuery | None = None,
    *,
    room: int | None = None,
) -> Wire:
    """A new reader of `log` with its connection; what is there is written to it at once."""
    query = query or StreamQuery()
    reader = streams.open(log, query, resolve(log, query))
    streams.attach(reader)
    sender = streams.sender(reader)

    wire = Wire(reader, sender, sender.ended, room=room)

    def over(_ended: object) -> None:
        sender.close()
        streams.detach(reader)

    sender.ended.add_done_callback(over)
    sender.begin(wire.write)
    return wire


async def turns(count: int = 3) -> None:
    """Let what is scheduled happen, and what that schedules."""
    for _ in range(count):
        await asyncio.sleep(0)

"""What crosses the pipes between the server and a child process: MessagePack, length-prefixed.

One frame is four bytes of length (big-endian) and one tagged message. Values that a user made (the
params, a result, a chunk) travel as JSON inside, checked by the sender. This module knows neither
end of the pipe.
"""

import os
from typing import Any, Final

import msgspec

from narration.formatting import LogLine, ProcessLine, Said
from narration.span_record import EventRecord
from telemetry.names import DropReason

MAX_FRAME: Final = (1 << 30) + (1 << 20)
"""Bytes; a longer frame is taken for garbage."""

_LENGTH_BYTES: Final = 4


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """One message."""


class FrameError(ValueError):
    """These bytes are no frame."""


# --- server to child -----------------------------------------------------------------------------


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """All that a child needs to know to run one attempt; ids in hex, values as JSON."""

    module: str
    attribute: str
    path: str | None
    sys_path: list[str]
    params: bytes
    job_id: str
    attempt: int
    tags: dict[str, str]
    metadata: bytes
    last_checkpoint: bytes
    actor: str
    trace_id: str
    span_id: str
    trace_flags: int
    trace_state: str
    baggage: dict[str, str]
    log_level: int
    instrument_threads: bool
    max_message_bytes: int
    max_result_bytes: int


# --- child to server -----------------------------------------------------------------------------


class Progressed(Frame, frozen=True):
    """`JobContext.progress`."""

    done: float
    total: float | None
    text: str | None


class Output(Frame, frozen=True):
    """`JobContext.output`."""

    chunk: bytes


class Checkpointed(Frame, frozen=True):
    """`JobContext.checkpoint`."""

    value: bytes


class SpanStarted(Frame, frozen=True):
    """A span has started: a `SpanRecord`."""

    record: bytes


class SpanEventAdded(Frame, frozen=True):
    """A running span has a new event; ids in hex."""

    trace_id: str
    span_id: str
    event: EventRecord


class SpanEnded(Frame, frozen=True):
    """A span has ended: a `SpanRecord`."""

    record: bytes


class AttemptEvent(Frame, frozen=True):
    """An event on the span of the attempt, which lives in the server; `at` in Unix nanoseconds."""

    name: str
    at: int
    attributes: dict[str, Any]


class AttemptAttributes(Frame, frozen=True):
    """Attributes for the span of the attempt."""

    attributes: dict[str, Any]


class Narrated(Frame, frozen=True):
    """What `narrate` said where no span of the story carries it."""

    said: Said


class Logged(Frame, frozen=True):
    """A log record."""

    line: LogLine


class Printed(Frame, frozen=True):
    """A line of a process that the child runs."""

    line: ProcessLine


class Dropped(Frame, frozen=True):
    """Messages that never left the child."""

    reason: DropReason
    count: int


class Result(Frame, frozen=True):
    """The handler returned."""

    value: bytes


class Failure(Frame, frozen=True):
    """The handler raised. `kind` names what is more than an error: see `child.failure_of`."""

    kind: str
    module: str
    name: str
    types: list[str]
    message: str
    traceback: str
    after_s: float | None = None


ChildFrame = (
    Progressed
    | Output
    | Checkpointed
    | SpanStarted
    | SpanEventAdded
    | SpanEnded
    | AttemptEvent
    | AttemptAttributes
    | Narrated
    | Logged
    | Printed
    | Dropped
    | Result
    | Failure
)


def encode(frame: Frame | Task) -> bytes:
    """`frame` with its length before it.

    Raises:
        FrameError: MessagePack cannot carry a value in it.

    """
    try:
        body = _encoder.encode(frame)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FrameError(f"{type(frame).__name__}: {error}") from error
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Decoder:
    """Takes the bytes of a pipe as they come, and gives the frames that are complete."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[ChildFrame]:
        """The frames that `data` completes.

        Raises:
            FrameError: the bytes are no frames.

        """
        pending = self._pending
        pending += data
        frames: list[ChildFrame] = []
        start = 0
        while len(pending) - start >= _LENGTH_BYTES:
            length = int.from_bytes(pending[start : start + _LENGTH_BYTES], "big")
            if length > MAX_FRAME:
                raise FrameError(f"a frame of {length} bytes")
            end = start + _LENGTH_BYTES + length
            if len(pending) < end:
                break
            frames.append(_decode(bytes(pending[start + _LENGTH_BYTES : end])))
            start = end
        del pending[:start]
        return frames


def read_task(descriptor: int) -> Task:
    """Read the task that a child is given, blocking.

    Raises:
        EOFError: the server has gone.

    """
    length = int.from_bytes(_read_exactly(descriptor, _LENGTH_BYTES), "big")
    return msgspec.msgpack.decode(_read_exactly(descriptor, length), type=Task)


def _decode(body: bytes) -> ChildFrame:
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # msgspec lets the second through
        raise FrameError(str(error)) from error


def _read_exactly(descriptor: int, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = os.read(descriptor, count - len(parts))
        if not part:
            raise EOFError("the server has closed the pipe")
        parts += part
    return bytes(parts)


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[ChildFrame]] = msgspec.msgpack.Decoder(ChildFrame)

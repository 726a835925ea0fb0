"""A stream's bytes cut into whole events, as they came; what was cut off by a kill is none."""

from collections.abc import Iterator
from typing import NamedTuple


class Frame(NamedTuple):
    """One event, with its bytes; `id` is None where it has none."""

    id: str | None
    event: str | None
    data: str
    raw: bytes


class Frames:
    """Takes what comes and gives the events that are complete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The events that `data` completes."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for block in whole:
            # `retry:` is the connection's, and may stand in front of any event.
            lines = [line for line in block.split(b"\n") if not line.startswith((b":", b"retry:"))]
            if lines:
                yield _frame(lines)


def _frame(lines: list[bytes]) -> Frame:
    fields = dict(line.decode().split(": ", 1) for line in lines)
    return Frame(fields.get("id"), fields.get("event"), fields.get("data", ""), b"\n".join(lines))

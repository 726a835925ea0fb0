"""What a client makes of a stream's bytes, for tests."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from httpx_sse._decoders import SSEDecoder


@dataclass(slots=True)
class Client:
    """Reads frames as a browser does, and keeps what it has seen."""

    epoch: str = "e"
    last_id: str | None = None
    sequences: list[int] = field(default_factory=list)
    gaps: list[tuple[int | None, int | None, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    data: list[Any] = field(default_factory=list)

    def take(self, chunk: bytes) -> None:
        """Read one chunk, which holds whole frames."""
        decoder = SSEDecoder()
        for line in chunk.decode().removesuffix("\n").split("\n"):
            event = decoder.decode(line)
            if event is None or not event.data:
                continue
            data = json.loads(event.data)
            self.names.append(event.event)
            self.data.append(data)
            if event.event == "gap":
                self.gaps.append((data["from"], data["to"], data["reason"]))
            elif event.event != "draining":
                self.last_id = event.id
                self.sequences.append(data["seq"])

    def take_all(self, chunks: Iterable[bytes]) -> None:
        """Read several."""
        for chunk in chunks:
            self.take(chunk)

    def missing(self) -> set[int]:
        """The sequences that gaps told it are missing."""
        return {
            sequence
            for first, last, _ in self.gaps
            if first is not None and last is not None
            for sequence in range(first, last + 1)
        }

"""A reader of event streams that follows the WHATWG text line by line, for tests.

It shares no code with ours or with the clients under test, and keeps what those throw away:
comments, `retry` lines, the bytes.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Frame:
    """One dispatched event. `id` is what its own block said, None where that said nothing."""

    id: str | None
    event: str
    data: str

    @property
    def body(self) -> dict[str, Any]:
        """Its data, decoded."""
        body: dict[str, Any] = json.loads(self.data)
        return body


@dataclass(slots=True)
class Parser:
    """HTML, section 9.2.6, "Interpreting an event stream"."""

    comments: list[str] = field(default_factory=list)
    retries: list[int] = field(default_factory=list)
    _rest: bytes = b""
    _id: str | None = None
    _event: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, chunk: bytes) -> list[Frame]:
        """The events that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [frame for line in lines if (frame := self._line(line.decode())) is not None]

    def _line(self, line: str) -> Frame | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "":
            self.comments.append(value)
        elif name == "retry":
            self.retries.append(int(value))
        elif name == "id":
            self._id = value
        elif name == "event":
            self._event = value
        else:
            assert name == "data", line
            self._data.append(value)
        return None

    def _dispatch(self) -> Frame | None:
        frame = Frame(self._id, self._event or "message", "\n".join(self._data))
        dispatched = bool(self._data)
        self._id, self._event, self._data = None, "", []
        return frame if dispatched else None


class Heard:
    """One open stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.parser = Parser()
        self._chunks = response.iter_raw()
        self._waiting: list[Frame] = []

    def __iter__(self) -> Iterator[Frame]:
        while True:
            while self._waiting:
                yield self._waiting.pop(0)
            chunk = next(self._chunks, None)
            if chunk is None:
                return
            self._waiting += self.parser.feed(chunk)

    def next(self) -> Frame:
        """The next event; the stream must not end before it."""
        return next(iter(self))

    def until(self, text: str) -> list[Frame]:
        """The events up to the first whose data holds `text`."""
        heard: list[Frame] = []
        for frame in self:
            heard.append(frame)
            if text in frame.data:
                return heard
        raise AssertionError(f"{text!r} was not told; these were: {heard}")

    def rest(self) -> list[Frame]:
        """All events until the server closes."""
        return list(self)


@contextlib.contextmanager
def stream(
    client: httpx.Client, path: str, *, headers: dict[str, str] | None = None, **query: Any
) -> Iterator[Heard]:
    """An open stream of `path`."""
    asked = {name.removesuffix("_"): value for name, value in query.items()}
    with client.stream("GET", path, params=asked, headers=headers) as response:
        yield Heard(response)


def read(client: httpx.Client, path: str, **options: Any) -> list[Frame]:
    """All events of a stream that ends."""
    with stream(client, path, **options) as heard:
        assert heard.response.status_code == 200, heard.response.read()
        return heard.rest()


def sequences(frames: list[Frame]) -> list[int]:
    """The sequences of those that have one."""
    return [frame.body["seq"] for frame in frames if "seq" in frame.body]

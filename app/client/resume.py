"""A stream as steps: events in order, each once, over as many connections as it takes.

It resumes as WHATWG HTML says (section 9.2.3): after a break it waits for the time that the server
asked for and comes back with the id of the last event that was complete. It does no I/O.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypedDict

import httpx

from app.client.answers import (
    GATEWAY,
    NEVER_SENT,
    PASSING,
    check_stream,
    closed,
    refused,
    unreachable,
)
from app.client.calls import Link, query_of
from app.client.errors import ClientError, Gap, Refused
from app.client.events import EndEvent, Event, GapEvent, event_of
from app.client.sse import Message, Parser
from app.client.steps import Deliver, Open, Pause, Read, Request, Steps
from telemetry.propagation import inject

DEFAULT_RETRY_S: Final = 1.0
"""Seconds before coming back, where the server has not said."""

_OK: Final = 200
_NO_CONTENT: Final = 204


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """A stream broke and will come back in `pause_s` seconds, after `last_event_id`.

    `reason` is why, in words; `tries` counts connections that failed one after another.
    """

    reason: str
    pause_s: float
    last_event_id: str
    tries: int


class StreamOptions(TypedDict, total=False):
    """How to read a stream; all may be left out.

    - `mode`: `human`, `cute` or `story`; which phrasing becomes `text`.
    - `level`: the least level of narration.
    - `last_event_id`: begin after this event. It goes before `from_seq`, which begins with that
      sequence, and this before `tail`, which begins with the newest events.
    - `follow`: False ends with what there is, and does not count as watching.
    - `raise_on_gap`: a `GapEvent` becomes the error `Gap`.
    - `on_reconnect`: called before each pause; what it raises ends the stream.
    """

    mode: str
    level: str
    last_event_id: str
    from_seq: int
    tail: int
    follow: bool
    raise_on_gap: bool
    on_reconnect: Callable[[Reconnect], object]


class Following:
    """One stream. `last_event_id` is that of the newest event handed over, and lasts."""

    def __init__(
        self, link: Link, path: str, options: StreamOptions, *, of_changes: bool = False
    ) -> None:
        self.last_event_id = options.get("last_event_id", "")
        self._link = link
        self._path = path
        self._of_changes = of_changes
        self._live = options.get("follow", True)
        self._raise_on_gap = options.get("raise_on_gap", False)
        self._on_reconnect = options.get("on_reconnect")
        self._query = query_of(
            {
                "mode": options.get("mode"),
                "level": options.get("level"),
                "from": options.get("from_seq"),
                "tail": options.get("tail"),
                "follow": None if self._live else False,
            }
        )
        self._tries = link.tries(link.patience.streams_s)
        self._retry_s = DEFAULT_RETRY_S
        self._gaps: list[GapEvent] = []  # those told since the last event with an id

    def steps(self) -> Steps[None]:
        """Deliver the events; ends after `end`, or when there is nothing to come."""
        while True:
            try:
                broken = yield from self._connection()
            except httpx.RequestError as error:
                broken = unreachable(error, tries=self._tries.count)
                if not isinstance(error, (*PASSING, *NEVER_SENT)):
                    raise broken from error
            if broken is None:
                return
            yield Pause(self._pause(broken))

    def _connection(self) -> Steps[ClientError | None]:
        """One connection: None if all has been told, else why it is over."""
        response: httpx.Response = yield Open(self._request())
        if response.status_code in GATEWAY:
            return refused(response)
        if response.status_code == _NO_CONTENT:
            return None
        if response.status_code != _OK:
            raise refused(response)
        check_stream(response)
        self._tries.reached()
        parser = Parser(self.last_event_id)
        while True:
            chunk: bytes | None = yield Read()
            if chunk is None:
                return closed(response, tries=self._tries.count) if self._live else None
            comments = parser.comments
            for message in parser.feed(chunk):
                self._tries.progressed()
                if (yield from self._told(message, parser.last_event_id)):
                    return None
            if parser.comments > comments:
                self._tries.progressed()
            if parser.retry_ms is not None:
                self._retry_s = parser.retry_ms / 1000

    def _told(self, message: Message, last_event_id: str) -> Steps[bool]:
        """Deliver one event; whether it was the last."""
        event: Event = event_of(message, of_changes=self._of_changes)
        if isinstance(event, GapEvent):
            if event in self._gaps:
                return False  # the connection broke right after it, and the server said it again
            self._gaps.append(event)
            if self._raise_on_gap:
                raise Gap(event, self._path)
        elif event.id is not None:
            self._gaps.clear()
        self.last_event_id = last_event_id
        yield Deliver(event)
        return isinstance(event, EndEvent)

    def _pause(self, broken: ClientError) -> float:
        """How long to wait; raises `broken` where the time to try is over."""
        tries = self._tries.count
        wished = broken.retry_after_s if isinstance(broken, Refused) else None
        pause_s = self._tries.pause(
            max(self._retry_s, wished or 0.0), longest_s=self._link.patience.longest_pause_s
        )
        if pause_s is None:
            raise broken
        if self._on_reconnect is not None:
            self._on_reconnect(
                Reconnect(
                    reason=str(broken),
                    pause_s=pause_s,
                    last_event_id=self.last_event_id,
                    tries=tries,
                )
            )
        return pause_s

    def _request(self) -> Request:
        headers = {
            "accept": "text/event-stream",
            "accept-encoding": "identity",  # a compressor would hold events back
            "cache-control": "no-store",
            **inject(),
        }
        if self.last_event_id:
            headers["last-event-id"] = self.last_event_id
        return Request(
            method="GET",
            path=self._path,
            query=self._query,
            headers=headers,
            silence_s=self._link.silence_s,
        )

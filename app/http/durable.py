"""A job's story read as a Durable Stream: catch-up, long-poll, events, and what HEAD says.

The public draft is PROTOCOL.md of github.com/durable-streams/durable-streams; sections are its, and
where it differs from our other calls it goes before: a wrong value is a 400, and a parameter that
means nothing is ignored. What an offset means and what a segment is are `narration.durable`'s. It
knows no engine: who wants to know of live reads gives callbacks.
"""

import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import anyio
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.http.problems import BAD_READ, GONE, Problem, refusal
from app.http.serving import JSON
from narration.durable import (
    NOW,
    Cursors,
    GoneOffset,
    InvalidOffset,
    Place,
    Segment,
    SegmentReader,
    offset_of,
    place_of,
    segment,
)
from narration.log import NarrationLog
from narration.sse import CACHE_CONTROL, Attachment, Departure, NarrationResponse
from narration.streams import Streams

LONG_POLL: Final = "long-poll"
SSE: Final = "sse"
LIVE: Final = (LONG_POLL, SSE)

LONG_POLL_S: Final = 20.0
"""Seconds that a long-poll waits unless it asks for another time: below most clients' patience."""

MOST_LONG_POLL_S: Final = 50.0

FOREIGN: Final = ("mode", "format", "level", "from", "tail", "follow", "last_event_id")
"""Parameters of our own stream, which mean nothing here: refused, since they were meant."""

EVENTS: Final = "text/event-stream"
"""As the protocol has it: without a charset, which is always UTF-8 in it."""

NO_STORE: Final = "no-store"
WHOLE: Final = "max-age=60, stale-while-revalidate=300"
"""How long caches keep a segment: it never changes, but its job may be deleted (section 10.1)."""

GROWING: Final = "max-age=10"
"""The same of the newest one while the story goes on.

The protocol would have it as long as any; but who reads a story so far wants what is there now.
"""

NOTHING_YET: Final = "max-age=2"
"""The same of an answer without items: enough that a crowd becomes one."""

_NOT_SNIFFED: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
"""What section 12.7 asks for."""


def is_durable(request: Request) -> bool:
    """Whether a stream's request is a read of a Durable Stream."""
    query = request.query_params
    return "offset" in query or "live" in query


class DurableRead:
    """One read of `log`. `on_attach` and `on_detach` are told of live ones, as of any stream.

    `owner` is for whom it is, None where nobody is asked.
    """

    def __init__(
        self,
        request: Request,
        log: NarrationLog,
        streams: Streams,
        cursors: Cursors,
        *,
        on_attach: Callable[[], None],
        on_detach: Callable[[Departure], None],
        owner: str | None,
    ) -> None:
        self._owner = owner
        self._request = request
        self._log = log
        self._streams = streams
        self._cursors = cursors
        self._on_attach = on_attach
        self._on_detach = on_detach

    def response(self) -> Response:
        """The answer.

        Raises:
            Problem: 400 for what is no read, 410 for what is no longer kept.

        """
        if self._request.method == "HEAD":
            return self._metadata()
        live, offset = self._asked()
        wait_s = self._wait_s()
        try:
            place = place_of(self._log, offset)
            if live is None:
                return self._caught_up(place, is_now=offset == NOW)
            cursor = self._cursors.after(self._request.query_params.get("cursor"))
            if live == LONG_POLL:
                return self._long_poll(place, cursor, wait_s, is_now=offset == NOW)
        except InvalidOffset as error:
            raise bad_read(str(error)) from None
        except GoneOffset as error:
            raise gone(error) from None
        return self._events(place, cursor)

    def _asked(self) -> tuple[str | None, str]:
        query = self._request.query_params
        foreign = [name for name in FOREIGN if name in query]
        if foreign:
            raise bad_read(f"{foreign[0]} has no meaning together with offset")
        live = query.get("live")
        if live is not None and live not in LIVE:
            raise bad_read(f"live={live[:100]!r} is not one of: {', '.join(LIVE)}")
        offsets = query.getlist("offset")
        if len(offsets) != 1:
            raise bad_read(f"there must be one offset, not {len(offsets)}")
        return live, offsets[0]

    def _wait_s(self) -> float:
        given = self._request.query_params.get("timeout")
        if given is None:
            return LONG_POLL_S
        try:
            wait_s = float(given)
        except ValueError:
            wait_s = math.nan
        if not 0 <= wait_s <= MOST_LONG_POLL_S:
            raise bad_read(f"timeout is a number of seconds from 0 to {MOST_LONG_POLL_S:g}")
        return wait_s

    def _metadata(self) -> Response:
        log = self._log
        headers = {
            **_NOT_SNIFFED,
            "Content-Type": JSON,
            "Cache-Control": NO_STORE,
            "Stream-Next-Offset": offset_of(log, log.next),
        }
        if log.ended:
            headers["Stream-Closed"] = "true"
        response = Response(headers=headers)
        del response.headers["content-length"]  # that of a GET, which nobody has asked for
        return response

    def _caught_up(self, place: Place, *, is_now: bool) -> Response:
        found = segment(self._log, place)
        if is_now:
            return self._answer(found, NO_STORE)
        if found.closed or not found.up_to_date:
            return self._answer(found, WHOLE, tagged=True)
        return self._answer(found, GROWING if found.count else NOTHING_YET, tagged=True)

    def _long_poll(self, place: Place, cursor: str, wait_s: float, *, is_now: bool) -> Response:
        found = segment(self._log, place)
        if found.closed and not found.count:
            return self._answer(found, NO_STORE if is_now else WHOLE)
        reader = self._reader(place, cursor)
        return LongPoll(
            reader,
            Attachment(reader, self._streams, self._on_attach, self._on_detach),
            wait_s=wait_s,
            answer=lambda: self._polled(place, cursor, is_now=is_now),
        )

    def _reader(self, place: Place, cursor: str) -> SegmentReader:
        reader = SegmentReader(self._log, place, cursor=cursor, counters=self._streams.counters)
        reader.owner = self._owner
        return reader

    def _polled(self, place: Place, cursor: str, *, is_now: bool) -> Response:
        try:
            found = segment(self._log, place)
        except GoneOffset as error:
            return refusal(gone(error), self._request)
        if is_now:
            return self._answer(found, NO_STORE, cursor=cursor)
        # A cache that makes one of many readers must be able to keep what ends their wait, even
        # nothing: each comes back with the new cursor, so that nobody is given it twice.
        kept = WHOLE if found.count or found.closed else NOTHING_YET
        return self._answer(found, kept, cursor=cursor, tagged=True)

    def _events(self, place: Place, cursor: str) -> Response:
        reader = self._reader(place, cursor)

        def left(who: Departure) -> None:
            self._on_detach(Departure.CLIENT if reader.expired else who)

        response = NarrationResponse(
            reader, self._streams, on_attach=self._on_attach, on_detach=left
        )
        response.headers.update(
            {**_NOT_SNIFFED, "Content-Type": EVENTS, "Cache-Control": f"no-cache, {CACHE_CONTROL}"}
        )
        return response

    def _answer(
        self, found: Segment, kept: str, *, cursor: str | None = None, tagged: bool = False
    ) -> Response:
        """`cursor` is given for live reads: where they found nothing, 204 says so."""
        headers = {
            **_NOT_SNIFFED,
            "Cache-Control": kept if kept == NO_STORE else f"{self._audience()}, {kept}",
            "Stream-Next-Offset": found.next_offset,
        }
        if found.up_to_date:
            headers["Stream-Up-To-Date"] = "true"
        if found.closed:
            headers["Stream-Closed"] = "true"
        elif cursor is not None:
            headers["Stream-Cursor"] = cursor
        live = "live" in self._request.query_params
        if live and not found.count:
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
        if tagged:
            headers["ETag"] = f'"{found.tag}"'
            if not live and self._has(found.tag):
                return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(found.body, headers={**headers, "Content-Type": JSON})

    def _audience(self) -> str:
        """Who asked with credentials gets what no shared cache may give to others."""
        asked = self._request.headers
        is_somebody = self._owner is not None or "authorization" in asked or "cookie" in asked
        return "private" if is_somebody else "public"

    def _has(self, tag: str) -> bool:
        known = self._request.headers.get("if-none-match", "")
        tags = {each.strip().removeprefix("W/") for each in known.split(",")}
        return f'"{tag}"' in tags or "*" in tags


class LongPoll(Response):
    """Answers once there is something to read, or after `wait_s` seconds.

    A client that does not come back after its answer has left, as one that closes its stream.
    """

    def __init__(
        self,
        reader: SegmentReader,
        attachment: Attachment,
        *,
        wait_s: float,
        answer: Callable[[], Response],
    ) -> None:
        self._reader = reader
        self._attachment = attachment
        self._wait_s = wait_s
        self._answer = answer
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, and send what there is then (ASGI)."""
        self._attachment.attach()
        try:
            if await self._waited(receive):
                await self._answer()(scope, receive, send)
        finally:
            self._attachment.client_left = not self._reader.draining
            self._attachment.detach()

    async def _waited(self, receive: Receive) -> bool:
        """Wait for something to read; whether the client is still there."""
        is_there = True
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                nonlocal is_there
                while (await receive())["type"] != "http.disconnect":
                    pass
                is_there = False
                group.cancel_scope.cancel()

            group.start_soon(watch)
            with anyio.move_on_after(self._wait_s):
                await self._reader.arrival()
            group.cancel_scope.cancel()
        return is_there


def bad_read(detail: str) -> Problem:
    """A 400."""
    return Problem(BAD_READ, f"Not a read of a stream: {detail}.")


def gone(error: GoneOffset) -> Problem:
    """A 410; what is kept can be read from `-1`."""
    return Problem(GONE, f"{error}; offset=-1 reads what is.")

"""The public conformance suite's view of our reads: a server that can be written to, too.

Creating and appending are not ours; here a stream is a job that outputs what is appended, in the
same process. Reads are passed to the real application as they come, and only what it answers is
mapped: from our events to what the suite has appended. Run as a module it prints its address.
"""

import asyncio
import base64
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app import JobContext, operation
from app.service import Narrator
from app.settings import Settings

JSON: Final = "application/json"
POLL_S: Final = "1.5"
"""Seconds of a long-poll: the suite would wait for its own bound."""

_appended: Final[dict[str, asyncio.Queue[Any]]] = {}
_CLOSE: Final = object()
_LINE_BREAK: Final = re.compile(rb"\r\n|\r|\n")


@operation("stream")
async def stream(path: str, *, job: JobContext) -> None:
    """Output what is appended, until the stream is closed."""
    queue = _appended[path]
    while (item := await queue.get()) is not _CLOSE:
        job.output(item)


@dataclass(slots=True, kw_only=True)
class Stream:
    """One stream of the suite and the job behind it."""

    job_id: str
    content_type: str
    queue: asyncio.Queue[Any]
    count: int = 0
    closed: bool = False

    @property
    def is_json(self) -> bool:
        return self.content_type.partition(";")[0].strip().lower() == JSON


class Adapter:
    """PUT, POST and DELETE by its own means; GET and HEAD by the narrator's."""

    def __init__(self) -> None:
        self._narrator = Narrator(
            operations=[stream],
            settings=Settings(
                concurrency=10_000, max_message_bytes=1_000_000, log_limit=20_000, drain_s=0
            ),
        )
        self._streams: dict[str, Stream] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if request.method in {"GET", "HEAD"}:
            await self._read(scope, receive, send)
            return
        write = {"PUT": self._create, "POST": self._append, "DELETE": self._delete}
        if request.method not in write:
            await Response(status_code=405)(scope, receive, send)
            return
        response = await write[request.method](request)
        await response(scope, receive, send)

    async def serve(self) -> None:
        """Serve on a free port until the process is ended."""
        async with self._narrator.running():
            server = uvicorn.Server(uvicorn.Config(self, port=0, log_level="warning"))
            serving = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn tells it by no event
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            sys.stdout.write(f"http://127.0.0.1:{port}\n")
            sys.stdout.flush()
            await serving

    # --- writes -------------------------------------------------------------------------------

    async def _create(self, request: Request) -> Response:
        path = request.url.path
        kind = request.headers.get("content-type", "application/octet-stream")
        known = self._streams.get(path)
        if known is not None:
            same = known.content_type.lower() == kind.lower()
            return await self._written(known, 200 if same else 409)
        queue = _appended[path] = asyncio.Queue()
        record = await self._narrator.submit("stream", path=path)
        made = self._streams[path] = Stream(job_id=record.id, content_type=kind, queue=queue)
        await self._settled(made)
        await self._add(made, await request.body(), closes=_closes(request))
        response = await self._written(made, 201)
        response.headers["location"] = str(request.url)
        return response

    async def _append(self, request: Request) -> Response:
        known = self._streams.get(request.url.path)
        body = await request.body()
        if known is None:
            return Response(status_code=404)
        if known.closed:
            return await self._written(known, 409 if body else 204)
        if not body and not _closes(request):
            return Response(status_code=400)
        if known.is_json and body:
            try:
                refused = json.loads(body) == []
            except ValueError:
                refused = True
            if refused:
                return Response(status_code=400)
        await self._add(known, body, closes=_closes(request))
        return await self._written(known, 204)

    async def _delete(self, request: Request) -> Response:
        known = self._streams.pop(request.url.path, None)
        if known is None:
            return Response(status_code=404)
        known.queue.put_nowait(_CLOSE)
        return Response(status_code=204)

    async def _add(self, to: Stream, body: bytes, *, closes: bool) -> None:
        for item in _items(to, body):
            to.queue.put_nowait(item)
            to.count += 1
        if closes:
            to.closed = True
            to.queue.put_nowait(_CLOSE)
            await self._narrator.result(to.job_id, timeout_s=10)
        log = self._narrator.engine.log(to.job_id)
        while sum(entry.name == "output" for entry in log.entries()) < to.count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def _settled(self, made: Stream) -> None:
        """Until all is told that comes before the first output."""
        log = self._narrator.engine.log(made.job_id)
        while b'"running"' not in b"".join(entry.data for entry in log.entries()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)

    async def _written(self, to: Stream, status: int) -> Response:
        headers = {"content-type": to.content_type, "stream-next-offset": await self._tail(to)}
        if to.closed:
            headers["stream-closed"] = "true"
        return Response(status_code=status, headers=headers)

    async def _tail(self, of: Stream) -> str:
        told: list[Message] = []

        async def send(message: Message) -> None:
            told.append(message)

        scope = _scope_of(of.job_id, b"offset=-1", "HEAD", [(b"host", b"127.0.0.1")])
        await self._narrator.application(scope, _nothing, send)
        return _header(told[0], b"stream-next-offset")

    # --- reads --------------------------------------------------------------------------------

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = self._streams.get(scope["path"])
        query = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
        names = {name for name, _ in query}
        if "offset" not in names and "live" not in names:
            query.append(("offset", "-1"))  # without it the address is another one of ours
        if ("live", "long-poll") in query:
            query.append(("timeout", POLL_S))
        job_id = known.job_id if known else "nobody"
        while True:
            inner = {**scope, **_scope_of(job_id, urlencode(query).encode())}
            mapping = Mapping(known, send)
            await self._narrator.application(inner, receive, mapping.send)
            if mapping.goes_on is None:
                return
            query = [pair for pair in query if pair[0] != "offset"]
            query.append(("offset", mapping.goes_on))


class Mapping:
    """Maps one answer; `goes_on` is where to read on when it had nothing for the suite."""

    def __init__(self, known: Stream | None, send: Send) -> None:
        self.goes_on: str | None = None
        self._known = known
        self._send = send
        self._start: Message = {}
        self._body = b""
        self._is_live = False

    async def send(self, message: Message) -> None:
        """As the narrator sends it."""
        if message["type"] == "http.response.start":
            self._start = message
            self._is_live = "text/event-stream" in _header(message, b"content-type")
            if self._is_live:
                await self._send(message)
            return
        self._body += message.get("body", b"")
        more = message.get("more_body", False)
        if self._is_live:
            *whole, self._body = self._body.split(b"\n\n")
            blocks = b"".join(self._block(each) for each in whole)
            await self._send({"type": message["type"], "body": blocks, "more_body": more})
        elif not more:
            await self._whole(message["type"])

    def _block(self, block: bytes) -> bytes:
        lines = block.lstrip(b"\n").split(b"\n")
        if b"event: data" not in lines:
            return block + b"\n\n"
        found = _outputs(lines[-1].removeprefix(b"data:"))
        if not found or self._known is None:
            return b""
        if self._known.is_json:
            told = [json.dumps(found).encode()]
        else:
            joined = b"".join(map(base64.b64decode, found))
            told = _LINE_BREAK.split(joined)
        return b"event: data\n" + b"".join(b"data:%b\n" % line for line in told) + b"\n"

    async def _whole(self, kind: str) -> None:
        start, known = self._start, self._known
        content = _header(start, b"content-type")
        if known is not None and content == JSON:
            if self._body:
                await self._segment(known)
                if self.goes_on is not None:
                    return
            self._set(b"content-type", known.content_type.encode())
        if b"content-length" in dict(start["headers"]):
            self._set(b"content-length", b"%d" % len(self._body))
        await self._send(self._start)
        await self._send({"type": kind, "body": self._body})

    async def _segment(self, known: Stream) -> None:
        found = _outputs(self._body)
        if not found and _header(self._start, b"stream-cursor"):
            self.goes_on = _header(self._start, b"stream-next-offset")
            return
        self._body = json.dumps(found).encode() if known.is_json else b""
        if not known.is_json:
            self._body = b"".join(map(base64.b64decode, found))

    def _set(self, name: bytes, value: bytes) -> None:
        kept = [pair for pair in self._start["headers"] if pair[0] != name]
        self._start = {**self._start, "headers": [*kept, (name, value)]}


def _outputs(body: bytes) -> list[Any]:
    return [each["chunk"] for each in json.loads(body) if each["event"] == "output"]


def _items(to: Stream, body: bytes) -> Iterable[Any]:
    if not body:
        return []
    if not to.is_json:
        return [base64.b64encode(body).decode()]
    value = json.loads(body)
    return value if isinstance(value, list) else [value]


def _closes(request: Request) -> bool:
    return request.headers.get("stream-closed", "").lower() == "true"


def _scope_of(
    job_id: str, query: bytes, method: str = "", headers: list[tuple[bytes, bytes]] | None = None
) -> dict[str, Any]:
    path = f"/v1/jobs/{job_id}/stream"
    changed = {"path": path, "raw_path": path.encode(), "query_string": query, "state": {}}
    if not method:
        return changed
    own = {"type": "http", "http_version": "1.1", "scheme": "http", "root_path": ""}
    return {**own, **changed, "method": method, "headers": headers, "server": None, "client": None}


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _header(message: Message, name: bytes) -> str:
    return next((value.decode() for each, value in message["headers"] if each == name), "")


if __name__ == "__main__":
    asyncio.run(Adapter().serve())

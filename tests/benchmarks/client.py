"""The load generator: a process of its own, raw sockets on one epoll, nothing parsed that need not.

It reads questions as lines of JSON and answers in the same way:

- `open` readers of streams on `paths`, `each` of them for each path, and answer once each has got
  its response's head;
- `read` until `ticks` ticks were delivered; with `stamped`, how long each took from its publisher;
- `post` a `body` `requests` times, over `connections` kept alive, each waiting for its answer;
- `close` all that is open.

A tick is a message that carries `~tick NANOSECONDS~`, by the clock that all processes share.
"""

import json
import re
import select
import socket
import sys
import time
from typing import Any, Final

HOST: Final = "127.0.0.1"
WAIT_S: Final = 60.0
TICK: Final = b"~tick "
STAMP: Final = re.compile(rb"~tick (\d+)~")
_GET: Final = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
_AT_ONCE: Final = 50
_CARRIED: Final = 64
"""Bytes of a chunk that ends within a frame which are looked at again: more than a tick has."""


class Client:
    """All connections of this process."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._carried: dict[int, bytes] = {}

    def open(self, port: int, paths: list[str], each: int) -> dict[str, Any]:
        """Connect the readers, some at a time: the queue of a listening socket is bounded."""
        waiting: set[int] = set()
        end = time.monotonic() + WAIT_S
        for path in [path for path in paths for _ in range(each)]:
            waiting.add(self._send(port, _GET % path.encode()))
            if len(waiting) == _AT_ONCE:
                self._heads(waiting, end)
        self._heads(waiting, end)
        return {"open": len(self._open), "missing": len(waiting)}

    def read(self, ticks: int, *, stamped: bool) -> dict[str, Any]:
        """Read until so many ticks have come."""
        count = size = 0
        took: list[int] = []
        poll, carried, now_ns = self._poll.poll, self._carried, time.monotonic_ns
        receive = {number: each.recv for number, each in self._open.items()}
        end = time.monotonic() + WAIT_S
        while count < ticks and time.monotonic() < end:
            for number, _ in poll(1):
                chunk = receive[number](262_144)
                size += len(chunk)
                if number in carried:
                    chunk = carried.pop(number) + chunk
                if stamped:
                    now = now_ns()
                    took += [now - int(each) for each in STAMP.findall(chunk)]
                    count = len(took)
                else:
                    count += chunk.count(TICK)
                if not chunk.endswith(b"\n"):
                    self._carry(number, chunk, stamped=stamped)
        return {"ticks": count, "bytes": size, "took_ns": took}

    def post(self, port: int, body: str, requests: int, connections: int) -> dict[str, Any]:
        """Send requests, one after another on each connection."""
        data = body.encode()
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        request = head + b"Content-Length: %d\r\n\r\n" % len(data) + data
        began = time.perf_counter()
        for _ in range(connections):
            self._send(port, request)
        sent, answered, refused = connections, 0, 0
        end = time.monotonic() + WAIT_S
        while answered < requests and time.monotonic() < end:
            for number, _ in self._poll.poll(1):
                answer = self._carried.pop(number, b"") + self._open[number].recv(65_536)
                if not _whole(answer):
                    self._carried[number] = answer
                    continue
                answered += 1
                refused += not answer.startswith(b"HTTP/1.1 202")
                if sent < requests:
                    sent += 1
                    self._open[number].send(request)
        took_s = time.perf_counter() - began
        self.close()
        return {"answered": answered, "refused": refused, "took_s": took_s}

    def close(self) -> dict[str, Any]:
        """Close all."""
        for each in self._open.values():
            self._poll.unregister(each)
            each.close()
        self._open.clear()
        self._carried.clear()
        return {}

    def _send(self, port: int, request: bytes) -> int:
        connection = socket.create_connection((HOST, port), WAIT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.send(request)
        self._open[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLIN)
        return connection.fileno()

    def _heads(self, waiting: set[int], end: float) -> None:
        """Read until none is waiting for its head."""
        while waiting and time.monotonic() < end:
            for number, _ in self._poll.poll(1):
                chunk = self._open[number].recv(262_144)
                if b"\r\n\r\n" in chunk:
                    assert chunk.startswith(b"HTTP/1.1 200"), chunk[:200]
                    waiting.discard(number)

    def _carry(self, number: int, chunk: bytes, *, stamped: bool) -> None:
        """Keep the beginning of a tick that is not whole yet, unless it has been counted."""
        begun = chunk.rfind(b"~", max(0, len(chunk) - _CARRIED))
        last = chunk[begun:] if begun >= 0 else b""
        if not last or not TICK.startswith(last[: len(TICK)]):
            return
        if len(last) < len(TICK) or (stamped and not STAMP.match(last)):
            self._carried[number] = last


def _whole(answer: bytes) -> bool:
    """Whether an answer has come with all of its body."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    return len(body) >= int(length)


def main() -> None:
    """Answer until stdin ends."""
    client = Client()
    for line in sys.stdin:
        question = json.loads(line)
        answer = getattr(client, question.pop("do"))(**question)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

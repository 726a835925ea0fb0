"""A crowd of readers, as a process of its own: python -m tests.bounds.crowd MODE PORT PATH COUNT.

It says `ready` once all have their streams, and leaves when its stdin is closed. `idle` reads what
comes, `deaf` nothing after the beginning, `drip` a byte a second; `storm` comes and goes, COUNT at
once, ten times a second.
"""

import os
import resource
import selectors
import socket
import sys
import time

REQUEST = "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
SMALL = 4096
"""Bytes of a receive buffer that is soon full."""


def connected(port: int, request: bytes, *, room: int | None) -> socket.socket:
    """A connection with the request sent."""
    connection = socket.socket()
    if room is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.connect(("127.0.0.1", port))
    connection.sendall(request)
    return connection


def is_open(read: list[socket.socket], *, within_s: float) -> bool:
    """Whether stdin is open still, after `within_s` seconds or what has come on `read`."""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        for each in read:
            selector.register(each, selectors.EVENT_READ)
        end = time.monotonic() + within_s
        while (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if key.fd == 0:
                    return False
                if not os.read(key.fd, 1 << 16):
                    selector.unregister(key.fileobj)
    return True


def storm(port: int, request: bytes, count: int) -> None:
    """Come `count` at once, and go, until stdin is closed; every other one waits for an answer."""
    first = True
    while is_open([], within_s=0.1):
        crowd = [connected(port, request, room=None) for _ in range(count)]
        for each in crowd[::2]:
            each.recv(15)
        for each in crowd:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            each.close()
        if first:
            print("ready", flush=True)  # noqa: T201 - its output is what the tests read
            first = False


def main(mode: str, port: int, path: str, count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = REQUEST.format(path=path, port=port).encode()
    if mode == "storm":
        storm(port, request, count)
        return
    room = None if mode == "idle" else SMALL
    crowd = [connected(port, request, room=room) for _ in range(count)]
    for each in crowd:
        if not each.recv(15).startswith(b"HTTP/1.1 200 OK"):
            raise SystemExit("no stream")
    print("ready", flush=True)  # noqa: T201 - its output is what the tests read
    while is_open(crowd if mode == "idle" else [], within_s=1):
        for each in crowd if mode == "drip" else []:
            each.recv(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))

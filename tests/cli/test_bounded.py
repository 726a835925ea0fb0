"""Connections within bounds, over raw sockets: slow, endless, unclear, too many, unread."""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.cli.bounded import MAX_AHEAD, MAX_HEAD_BYTES, MAX_HEADERS
from app.cli.protocol import protocol_in
from app.cli.room import TURNED_AWAY, ConnectionLimits, Room
from telemetry.names import Cut
from tests.narration.serving import bounded, serving, until
from tests.narration.story_server import Server as StoryServer

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
GET = HEAD + b"\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
BIG = 16 << 20
SHORT_S = 0.2


@dataclass(slots=True)
class Counted:
    """What a room has counted."""

    open: int = 0
    cut: Counter[Cut] = field(default_factory=Counter)

    def connection_opened(self) -> None:
        self.open += 1

    def connection_closed(self) -> None:
        self.open -= 1

    def connection_cut(self, why: Cut) -> None:
        self.cut[why] += 1


@dataclass(slots=True, kw_only=True)
class Served:
    """A server of ours around a small application."""

    host: str
    port: int
    counted: Counted
    bodies: list[bytes | None]
    """The body of each request, None where the client went before it was whole."""
    gate: asyncio.Event
    story: StoryServer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    async def exchange(self, data: bytes) -> bytes:
        """What is answered to `data`, until the server closes."""
        reader, writer = await self.connect()
        writer.write(data)
        received = b""
        with contextlib.suppress(ConnectionError):  # it may be cut while we still send
            received = await reader.read()
        writer.close()
        return received


@contextlib.asynccontextmanager
async def served(**limits: float) -> AsyncIterator[Served]:
    """Serve until the block ends; `limits` are those of connections."""
    counted, gate, story = Counted(), asyncio.Event(), StoryServer()
    bodies: list[bytes | None] = []

    async def echo(request: Request) -> Response:
        try:
            bodies.append(await request.body())
        except ClientDisconnect:
            bodies.append(None)
        host = request.headers.getlist("host")
        return PlainTextResponse(f"{request.url.path} {host} {len(request.headers)}")

    async def big(_: Request) -> Response:
        return Response(bytes(BIG))

    async def waits(_: Request) -> Response:
        await gate.wait()
        return PlainTextResponse("waited")

    routes = [
        Route("/", echo, methods=["GET", "POST"]),
        Route("/big", big),
        Route("/waits", waits, methods=["GET", "POST"]),
        Route("/stream", story.stream),
    ]
    room = Room(ConnectionLimits(**limits), counted)  # type: ignore[arg-type] # whole numbers are
    async with serving(Starlette(routes=routes), http=protocol_in(room)) as url:
        place = urlsplit(url)
        yield Served(
            host=str(place.hostname),
            port=int(place.port or 0),
            counted=counted,
            bodies=bodies,
            gate=gate,
            story=story,
        )


def statuses(received: bytes) -> list[int]:
    """The status of each answer."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


# --- what can be read in more than one way ----------------------------------------------------

UNCLEAR = {
    "length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length of another base": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length that overflows": POST + b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n",
    "a coding behind a control": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk size that overflows": CHUNKED + b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\n{}xx\r\n0\r\n\r\n",
    "a signed chunk size": CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n",
    "a line feed in a chunk's extension": CHUNKED + b"2;a\n{}\r\n0\r\n\r\n",
    "a folded header": HEAD + b"X-A: a\r\n b\r\n\r\n",
    "a nul in a value": HEAD + b"X-A: a\0b\r\n\r\n",
    "a nul in a name": HEAD + b"X-\0A: a\r\n\r\n",
    "a header without a name": HEAD + b": a\r\n\r\n",
    "a bare line feed": HEAD + b"X-A: a\nX-B: b\r\n\r\n",
    "line feeds alone": GET.replace(b"\r\n", b"\n"),
    "a bare carriage return": HEAD + b"X-A: a\rb\r\n\r\n",
    "carriage returns in a row": HEAD + b"X-A: a\r\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another server's address": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a name before an @": b"GET http://localhost@evil/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an address and no host": b"GET http://localhost/ HTTP/1.1\r\n\r\n",
    "a tunnel": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n",
}


@pytest.mark.parametrize("request_", UNCLEAR.values(), ids=UNCLEAR)
def test_what_is_unclear_is_a_400_and_nothing_behind_it_is_read(request_: bytes) -> None:
    async def test() -> None:
        async with served() as server:
            received = await server.exchange(request_ + GET)

            assert statuses(received) == [400]
            assert b"content-type: application/problem+json" in received
            assert b"connection: close" in received
            assert server.counted.cut == {Cut.MALFORMED: 1}
            assert server.bodies in ([], [None])  # the application may have waited for the body

    bounded(test())


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"xchunked", b"identity"])
def test_a_transfer_coding_that_is_not_known_is_a_501(coding: bytes) -> None:
    async def test() -> None:
        async with served() as server:
            received = await server.exchange(
                POST + b"Transfer-Encoding: %b\r\n\r\n0\r\n\r\n" % coding + GET
            )
            assert statuses(received) == [501]

    bounded(test())


def test_an_address_of_this_server_is_read_as_its_path() -> None:
    async def test() -> None:
        async with served() as server:
            received = await server.exchange(
                b"GET http://LOCALHOST/?q=1 HTTP/1.1\r\nHost: localhost\r\n"
                b"Connection: close\r\n\r\n"
            )
            assert statuses(received) == [200]

    bounded(test())


def test_trailers_are_no_headers() -> None:
    async def test() -> None:
        async with served() as server:
            received = await server.exchange(
                CHUNKED + b"2\r\n{}\r\n0\r\nHost: evil\r\nX-A: a\r\n\r\n"
                b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            assert statuses(received) == [200, 200]
            assert received.count(b"['localhost'] 2") == 2

    bounded(test())


def test_an_upgrade_is_answered_and_what_follows_is_not_read() -> None:
    async def test() -> None:
        async with served() as server:
            received = await server.exchange(
                HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + GET
            )
            assert statuses(received) == [200]
            assert b"connection: close" in received

    bounded(test())


# --- behind an answer that is under way --------------------------------------------------------


def test_a_refusal_comes_after_the_answers_before_it_and_never_into_one() -> None:
    async def test() -> None:
        async with served() as server:
            reader, writer = await server.connect()
            writer.write(GET.replace(b"/ ", b"/stream ", 1) + GET + b"\0nonsense\r\n\r\n")
            await until(lambda: server.counted.cut[Cut.MALFORMED] == 1)
            server.story.say()
            server.story.end()
            received = await reader.read()
            writer.close()

            assert statuses(received) == [200, 200, 400]
            first, second, _ = received.split(b"HTTP/1.1 ")[1:]
            assert first.endswith(b"\r\n0\r\n\r\n")
            assert second.endswith(b"/ ['localhost'] 1")

    bounded(test())


def test_a_body_that_is_malformed_spoils_its_own_request_alone() -> None:
    async def test() -> None:
        async with served() as server:
            reader, writer = await server.connect()
            writer.write(GET.replace(b"/ ", b"/waits ", 1) + CHUNKED + b"nonsense\r\n")
            await until(lambda: server.counted.cut[Cut.MALFORMED] == 1)
            server.gate.set()
            received = await reader.read()
            writer.close()

            assert statuses(received) == [200, 400]
            assert server.bodies == []

    bounded(test())


def test_only_so_many_requests_may_be_ahead_of_their_turn() -> None:
    async def test() -> None:
        async with served() as server:
            reader, writer = await server.connect()
            writer.write(GET.replace(b"/ ", b"/waits ", 1) + GET * (MAX_AHEAD + 1000))
            await until(lambda: server.counted.cut[Cut.AHEAD] == 1)
            server.gate.set()
            received = await reader.read()
            writer.close()

            assert statuses(received) == [200] * (MAX_AHEAD + 1) + [429]

    bounded(test())


def test_a_client_that_leaves_with_requests_ahead_leaves_nothing() -> None:
    async def test() -> None:
        async with served() as server:
            _, writer = await server.connect()
            writer.write(GET.replace(b"/ ", b"/stream ", 1))
            await until(lambda: server.story.streams.count == 1)
            writer.write(GET * 3)
            await asyncio.sleep(SHORT_S)
            writer.transport.abort()
            for _ in range(20):  # what is being sent finds out
                server.story.say(chunk="x" * 10_000)
                await asyncio.sleep(0.01)
            await until(lambda: server.counted.open == 0)
            await until(lambda: server.story.streams.count == 0)

    bounded(test())


# --- sizes -------------------------------------------------------------------------------------

TOO_LARGE = {
    "a target": b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * MAX_HEAD_BYTES),
    "a header": HEAD + b"X-A: %b\r\n\r\n" % (b"a" * MAX_HEAD_BYTES),
    "a name": HEAD + b"%b: a\r\n\r\n" % (b"a" * MAX_HEAD_BYTES),
    "headers": HEAD + b"a: b\r\n" * MAX_HEADERS + b"\r\n",
    "a header that does not end": HEAD + b"X-A: " + b"a" * (4 * MAX_HEAD_BYTES),
    "headers that do not end": HEAD + b"a:\r\n" * MAX_HEAD_BYTES,
    "trailers that do not end": CHUNKED + b"0\r\n" + b"aaaa: bbbb\r\n" * MAX_HEAD_BYTES,
}


@pytest.mark.parametrize("request_", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_over_its_bounds_is_a_431(request_: bytes) -> None:
    async def test() -> None:
        async with served() as server:
            received = await server.exchange(request_)

            assert statuses(received) in ([431], [])  # cut while we sent, it may not come here
            assert server.counted.cut == {Cut.HEAD_SIZE: 1}
            assert statuses(await server.exchange(GET[:-2] + b"Connection: close\r\n\r\n")) == [200]

    bounded(test())


def test_as_many_headers_as_there_may_be_are_taken() -> None:
    async def test() -> None:
        async with served() as server:
            received = await server.exchange(
                HEAD + b"a: b\r\n" * (MAX_HEADERS - 2) + b"Connection: close\r\n\r\n"
            )
            assert statuses(received) == [200]

    bounded(test())


# --- time --------------------------------------------------------------------------------------


async def dripping(server: Served, data: bytes) -> tuple[bytes, float]:
    """What is answered to `data`, sent byte by byte, and after how many seconds."""
    reader, writer = await server.connect()
    began = time.monotonic()
    reading = asyncio.ensure_future(reader.read())
    with contextlib.suppress(ConnectionError):
        for byte in data:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
            if reading.done():
                break
    received = await reading
    writer.close()
    return received, time.monotonic() - began


SLOW = {
    "a head": (GET[:-2] + b"X-A: " + b"a" * 10_000, [408], Cut.HEAD_TIME),
    "lines before a head": (b"\r\n" * 10_000, [], Cut.HEAD_TIME),
    "a body": (POST + b"Content-Length: 10000\r\n\r\n" + b"a" * 9_000, [408], Cut.BODY_TIME),
    "chunks": (CHUNKED + b"1\r\na\r\n" * 9_000, [408], Cut.BODY_TIME),
    "a chunk's extension": (CHUNKED + b"1;" + b"a" * 9_000, [408], Cut.BODY_TIME),
    "trailers": (CHUNKED + b"0\r\n" + b"a: b\r\n" * 9_000, [408], Cut.BODY_TIME),
}


@pytest.mark.parametrize(("data", "answers", "why"), SLOW.values(), ids=SLOW)
def test_what_drips_in_is_cut_off_in_its_time(data: bytes, answers: list[int], why: Cut) -> None:
    async def test() -> None:
        async with served(head_s=2 if why is Cut.BODY_TIME else SHORT_S, body_s=SHORT_S) as server:
            received, _ = await dripping(server, data)

            assert statuses(received) == answers
            assert server.counted.cut == {why: 1}
            await until(lambda: server.counted.open == 0)

    bounded(test())


def test_a_connection_that_says_nothing_is_closed() -> None:
    async def test() -> None:
        async with served(head_s=SHORT_S) as server:
            assert await server.exchange(b"") == b""
            assert server.counted.cut == {Cut.HEAD_TIME: 1}

    bounded(test())


def test_each_request_of_a_connection_has_the_whole_time() -> None:
    async def test() -> None:
        async with served(head_s=0.5, body_s=0.5) as server:
            reader, writer = await server.connect()
            for _ in range(4):
                writer.write(POST)
                await asyncio.sleep(0.2)
                writer.write(b"Content-Length: 2\r\n\r\n{")
                await asyncio.sleep(0.2)
                writer.write(b"}")
                await reader.readuntil(b"] 2")
            writer.close()

            assert server.bodies == [b"{}"] * 4
            assert not server.counted.cut

    bounded(test())


def test_a_second_head_that_does_not_come_is_cut_off() -> None:
    async def test() -> None:
        async with served(head_s=SHORT_S) as server:
            received = await server.exchange(GET + HEAD)

            assert statuses(received) == [200, 408]

    bounded(test())


def test_an_idle_connection_is_closed_without_a_word() -> None:
    async def test() -> None:
        async with served(keep_alive_s=1) as server:
            assert statuses(await server.exchange(GET)) == [200]
            assert not server.counted.cut

    bounded(test())


def test_a_stream_has_all_the_time_there_is() -> None:
    async def test() -> None:
        async with served(head_s=SHORT_S, body_s=SHORT_S, keep_alive_s=1, unread_s=SHORT_S) as made:
            reader, writer = await made.connect()
            writer.write(GET.replace(b"/ ", b"/stream ", 1))
            await until(lambda: made.story.streams.count == 1)
            await asyncio.sleep(3 * SHORT_S)
            made.story.end()
            await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.close()

            assert not made.counted.cut

    bounded(test())


# --- who does not read -------------------------------------------------------------------------


async def deaf(server: Served, request: bytes) -> socket.socket:
    """A connection with little room for the answer to `request`, of which nothing is read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (server.host, server.port))
    await loop.sock_sendall(connection, request)
    return connection


@pytest.mark.parametrize("ends", [b"\r\n", b"Connection: close\r\n\r\n"], ids=["kept", "closed"])
def test_an_answer_of_which_nothing_is_read_is_cut_off(ends: bytes) -> None:
    async def test() -> None:
        async with served(unread_s=SHORT_S, keep_alive_s=1) as server:
            request = b"GET /big HTTP/1.1\r\nHost: localhost\r\n" + ends
            with await deaf(server, request):
                await until(lambda: server.counted.cut[Cut.UNREAD] == 1)
                await until(lambda: server.counted.open == 0)

    bounded(test())


def test_a_stream_of_which_nothing_is_read_is_cut_off() -> None:
    async def test() -> None:
        async with served(unread_s=SHORT_S) as server:
            with await deaf(server, GET.replace(b"/ ", b"/stream ", 1)):
                await until(lambda: server.story.streams.count == 1)
                for _ in range(400):
                    server.story.say(10, chunk="x" * 1000)
                    await asyncio.sleep(0)
                await until(lambda: server.counted.cut[Cut.UNREAD] == 1)
                await until(lambda: server.story.streams.count == 0)
                await until(lambda: server.counted.open == 0)

    bounded(test())


def test_an_answer_that_is_read_slowly_is_given_whole() -> None:
    async def test() -> None:
        async with served(unread_s=0.5, keep_alive_s=1) as server:
            loop, read = asyncio.get_running_loop(), 0
            with await deaf(server, b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
                for _ in range(30):  # longer than either time
                    await asyncio.sleep(0.05)
                    read += len(await loop.sock_recv(connection, 16_384))
                while chunk := await loop.sock_recv(connection, BIG):
                    read += len(chunk)

            assert read > BIG
            assert not server.counted.cut

    bounded(test())


# --- how many ----------------------------------------------------------------------------------


def test_an_idle_connection_makes_room_for_a_new_one() -> None:
    async def test() -> None:
        async with served(connections=3) as server:
            held = [await server.connect() for _ in range(3)]
            await until(lambda: server.counted.open == 3)
            received = await server.exchange(GET[:-2] + b"Connection: close\r\n\r\n")

            assert statuses(received) == [200]
            assert server.counted.cut == {Cut.MADE_ROOM: 1}
            with contextlib.suppress(ConnectionError):
                assert await held[0][0].read() == b""  # the one that had waited longest
            for _, writer in held:
                writer.close()

    bounded(test())


def test_where_all_are_busy_a_new_connection_is_a_503() -> None:
    async def test() -> None:
        async with served(connections=3) as server:
            held = [await server.connect() for _ in range(3)]
            for _, writer in held:
                writer.write(GET.replace(b"/ ", b"/waits ", 1))
            await until(lambda: server.counted.open == 3)
            await asyncio.sleep(SHORT_S)
            received = await server.exchange(GET)

            assert statuses(received) == [503]
            assert b"retry-after: 1" in received
            assert server.counted.cut == {Cut.TOO_MANY: 1}
            server.gate.set()
            for reader, writer in held:
                await reader.readuntil(b"waited")
                writer.close()
            await until(lambda: server.counted.open == 0)

    bounded(test())


def test_of_those_that_are_turned_away_few_are_there_at_a_time() -> None:
    async def test() -> None:
        async with served(connections=1) as server:
            _, busy = await server.connect()
            busy.write(GET.replace(b"/ ", b"/waits ", 1))
            await until(lambda: server.counted.open == 1)
            await asyncio.sleep(SHORT_S)
            answers = await asyncio.gather(*(server.exchange(b"") for _ in range(2 * TURNED_AWAY)))

            assert {*map(tuple, map(statuses, answers))} <= {(503,), ()}
            assert sum(map(bool, answers)) >= TURNED_AWAY
            assert server.counted.cut == {Cut.TOO_MANY: 2 * TURNED_AWAY}
            busy.close()

    bounded(test())

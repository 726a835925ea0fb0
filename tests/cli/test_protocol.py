"""The connection handed over: when it is, when it is not, and that uvicorn's state stays true."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.cli.protocol import protocol_in
from app.cli.room import Room
from tests.narration.serving import bounded, serving, until
from tests.narration.story_server import Server, raw

LAST_CHUNK = b"\r\n0\r\n\r\n"
GET = b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"


def is_direct(server: Server) -> list[bool]:
    """Of each open stream, whether it is written to its connection."""
    return [reader.sender is not None for reader in server.streams._open]


def without_date(head: bytes) -> list[bytes]:
    return [line for line in head.split(b"\r\n") if not line.startswith(b"date:")]


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the chunked body of one answer, as they came."""
    return await reader.readuntil(b"\r\n\r\n"), await reader.readuntil(LAST_CHUNK)


async def ask(address: str, request: bytes = GET) -> Any:
    """A connection with `request` sent: its reader and its writer."""
    reader, writer = await asyncio.open_connection(*address.removeprefix("http://").split(":"))
    writer.write(request)
    return reader, writer


@pytest.mark.parametrize("query", ["", "?format=text", "?format=ndjson", "?follow=false"])
def test_the_bytes_on_the_wire_are_those_of_uvicorn(query: str) -> None:
    async def test() -> None:
        server = Server()
        server.say(3, chunk="a\nb")
        server.end()
        request = GET.replace(b"/stream", b"/stream" + query.encode())
        answers = []
        for http in ("auto", protocol_in(Room())):
            async with serving(server.app, http=http) as address:
                reader, writer = await ask(address, request)
                head, body = await answer(reader)
                answers.append((without_date(head), body))
                writer.close()

        assert answers[0] == answers[1]

    bounded(test())


def test_a_connection_serves_its_next_request_after_a_stream() -> None:
    async def test() -> None:
        server = Server()
        async with serving(server.app, http=protocol_in(Room())) as address:
            reader, writer = await ask(address)
            await until(lambda: is_direct(server) == [True])
            server.end()
            await answer(reader)
            await until(lambda: server.streams.count == 0)
            writer.write(GET)
            _, second = await answer(reader)
            writer.write(GET.replace(b"\r\n\r\n", b"\r\nLast-Event-ID: e.1\r\n\r\n"))
            nothing = await reader.readuntil(b"\r\n\r\n")
            writer.close()

        assert b"event: end" in second
        assert nothing.startswith(b"HTTP/1.1 204 ")
        assert server.told == ["attached", "server"] * 2

    bounded(test())


def test_a_connection_that_is_to_close_closes_after_its_stream() -> None:
    async def test() -> None:
        server = Server()
        async with serving(server.app, http=protocol_in(Room())) as address:
            reader, writer = await ask(
                address, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
            await until(lambda: is_direct(server) == [True])
            server.end()
            whole = await reader.read()
            writer.close()

        assert b"connection: close" in whole
        assert whole.endswith(LAST_CHUNK)

    bounded(test())


def test_requests_that_do_not_wait_for_their_turn_are_all_answered() -> None:
    """Pipelined: uvicorn loses sight of the one that it answers, so that one is sent."""

    async def test() -> None:
        server = Server()
        async with serving(server.app, http=protocol_in(Room())) as address:
            reader, writer = await ask(address, GET * 2)
            await until(lambda: server.streams.count == 1)
            assert is_direct(server) == [False]
            server.say(2)
            server.end()
            answers = [await answer(reader) for _ in range(2)]
            writer.close()

        assert answers[0][1].count(b"id: ") == answers[1][1].count(b"id: ") == 3

    bounded(test())


@pytest.mark.parametrize(
    "request_",
    [
        GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
        GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nab"),
    ],
    ids=["HTTP/1.0", "a body that is not there yet"],
)
def test_what_is_not_simple_is_sent(request_: bytes) -> None:
    async def test() -> None:
        server = Server()
        async with serving(server.app, http=protocol_in(Room())) as address:
            reader, writer = await ask(address, request_)
            await until(lambda: server.streams.count == 1)
            assert is_direct(server) == [False]
            server.end()
            await reader.readuntil(b"event: end")
            writer.close()
            await until(lambda: server.streams.count == 0)

    bounded(test())


class HeldHead:
    """Middleware that keeps the head until the body begins, as compressors do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def send_later(message: Message) -> None:
            held.append(message)
            if message["type"] != "http.response.start":
                for each in held:
                    await send(each)
                held.clear()

        await self._app(scope, receive, send_later)


def test_middleware_that_wants_to_see_the_body_sees_it() -> None:
    async def test() -> None:
        server = Server()
        server.app.add_middleware(HeldHead)
        async with serving(server.app, http=protocol_in(Room())) as address:
            reader, writer = await ask(address)
            await until(lambda: server.streams.count == 1)
            server.say()
            await reader.readuntil(b"id: e.1")
            assert is_direct(server) == [False]
            server.end()
            await reader.readuntil(LAST_CHUNK)
            writer.close()

    bounded(test())


class Held:
    """Something that an application makes for a request."""


def test_an_idle_stream_holds_nothing_that_the_application_made_for_it() -> None:
    async def test() -> None:
        server = Server()
        made: list[weakref.ref[Held]] = []

        async def stream(request: Request) -> Response:
            held = request.scope["held"] = Held()
            made.append(weakref.ref(held))
            return await server.stream(request)

        app = Starlette(routes=[Route("/stream", stream)])
        async with serving(app, http=protocol_in(Room())) as address:
            reader, writer = await ask(address)
            await until(lambda: is_direct(server) == [True])
            gc.collect()
            gone = made[0]() is None
            server.end()
            await answer(reader)
            writer.close()

        assert gone

    bounded(test())


def test_a_stream_that_is_cut_off_has_no_end() -> None:
    async def test() -> None:
        server = Server()
        async with serving(server.app, http=protocol_in(Room())) as address:
            reader, writer = await ask(address)
            await until(lambda: is_direct(server) == [True])
            server.streams.abort()
            received = await reader.read()
            writer.close()

        assert not received.endswith(LAST_CHUNK)
        assert server.told == ["attached", "server"]

    bounded(test())


def test_the_end_of_the_server_cuts_off_what_still_streams() -> None:
    """Its grace is over: tasks are cancelled, and each stream is let go of."""

    async def test() -> None:
        server = Server()
        async with serving(server.app, http=protocol_in(Room())) as address:
            _, writer = await ask(address)
            await until(lambda: is_direct(server) == [True])
        await until(lambda: server.streams.count == 0)
        writer.close()

        assert server.told == ["attached", "server"]
        assert server.log.watched == 0

    bounded(test())


def test_other_answers_are_uvicorns() -> None:
    async def test() -> None:
        async def plain(_: Request) -> Response:
            return PlainTextResponse("hello")

        app = Starlette(routes=[Route("/stream", plain)])
        async with serving(app, http=protocol_in(Room())) as address:
            reader, writer = await raw(address)
            await reader.readuntil(b"hello")
            writer.close()

    bounded(test())

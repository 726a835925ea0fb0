"""The response, over real sockets: attach, resume, 204, gaps, slow readers, drain, leaving."""

import asyncio
import functools
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from app.cli.protocol import protocol_in
from app.cli.room import Room
from narration.resume import parse_query
from narration.sse import stream_response
from tests.narration.serving import bounded, serving, until
from tests.narration.story_server import Server, events_of, raw
from tests.plain_http import PLAIN

Serve = Callable[[Any], AbstractAsyncContextManager[str]]


@pytest.fixture(params=["written to the connection", "sent"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Serves by one of the two roads: what a client sees is the same."""
    direct = request.param != "sent"
    return functools.partial(serving, http=protocol_in(Room()) if direct else "auto")


def test_a_client_gets_what_was_told_and_what_is_told_while_it_listens(serve: Serve) -> None:
    async def test() -> None:
        server = Server()
        server.say(2)
        async with serve(server.app) as address:
            listening = asyncio.create_task(events_of(address))
            await until(lambda: server.streams.count == 1)
            server.say(2)
            await asyncio.sleep(0)
            server.end()
            events = await listening
            await until(lambda: server.streams.count == 0)

        assert [event.id for event in events] == [f"e.{number}" for number in range(1, 6)]
        assert events[-1].event == "end"
        assert json.loads(events[-1].data)["marker"] == "[DONE]"
        assert server.told == ["attached", "server"]
        assert server.log.watched == 0

    bounded(test())


def test_the_headers_keep_proxies_from_buffering_and_compressing(serve: Serve) -> None:
    async def test() -> None:
        server = Server()
        server.end()
        async with serve(server.app) as address, httpx.AsyncClient(verify=PLAIN) as client:
            response = await client.get(f"{address}/stream", headers={"Accept-Encoding": "gzip"})
            ndjson = await client.get(f"{address}/stream?format=ndjson")

        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in response.headers
        assert response.text.startswith("retry: 1250\nid: e.1\nevent: end\n")
        assert ndjson.headers["content-type"] == "application/x-ndjson"
        assert [json.loads(line)["id"] for line in ndjson.text.splitlines()] == ["e.1"]

    bounded(test())


def test_a_client_resumes_by_header_and_a_client_that_has_seen_all_gets_204(serve: Serve) -> None:
    async def test() -> None:
        server = Server()
        server.say(4)
        server.end()
        async with serve(server.app) as address, httpx.AsyncClient(verify=PLAIN) as client:
            resumed = await events_of(address, headers={"Last-Event-ID": "e.3"})
            strange = await events_of(address, headers={"Last-Event-ID": "'; DROP \\u0000 --"})
            done = await client.get(f"{address}/stream", headers={"Last-Event-ID": "e.5"})

        assert [event.id for event in resumed] == ["e.4", "e.5"]
        assert json.loads(strange[0].data) == {"from": None, "to": None, "reason": "unknown_id"}
        assert len(strange) == 6
        assert (done.status_code, done.content) == (204, b"")
        assert server.told == ["attached", "server"] * 2

    bounded(test())


def test_head_answers_with_the_headers_and_attaches_nothing(serve: Serve) -> None:
    async def test() -> None:
        server = Server()
        server.say()
        async with serve(server.app) as address, httpx.AsyncClient(verify=PLAIN) as client:
            response = await client.head(f"{address}/stream")

        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert server.told == []
        assert server.log.watched == 0

    bounded(test())


def test_a_client_that_leaves_is_let_go_and_said_to_have_left(serve: Serve) -> None:
    async def test() -> None:
        server = Server()
        async with serve(server.app) as address:
            reader, writer = await raw(address)
            await reader.readuntil(b"retry: 1250\n")
            writer.close()
            await writer.wait_closed()
            await until(lambda: server.streams.count == 0)

        assert server.told == ["attached", "client"]
        assert server.log.watched == 0

    bounded(test())


def test_a_client_that_never_reads_costs_bounded_memory_and_delays_nobody(serve: Serve) -> None:
    """It is sent what the buffers hold, and no more is read for it; a gap says what it missed."""

    async def test() -> None:
        server = Server(limit=50)
        async with serve(server.app) as address:
            reader, writer = await raw(address, receive_buffer=4_096)
            await until(lambda: server.streams.count == 1)
            (slow,) = server.streams._open
            quick = asyncio.create_task(events_of(address))
            await until(lambda: server.streams.count == 2)

            async def tell_until_it_has_fallen_behind() -> None:
                while slow.cursor >= server.log.first:
                    server.say(chunk="z" * 2_000)
                    await asyncio.sleep(0)

            await asyncio.wait_for(tell_until_it_has_fallen_behind(), 30)
            stuck_at = slow.cursor
            for _ in range(200):
                server.say(chunk="z" * 2_000)
                await asyncio.sleep(0)

            assert slow.cursor == stuck_at
            assert server.log.size < 50 * 3_000

            server.end()
            seen = await quick
            body = b""
            while not body.endswith(b"0\r\n\r\n"):
                body += await reader.read(2**20)
            writer.close()

        assert seen[-1].event == "end"
        assert b'"from":%d' % stuck_at in body
        assert b'"reason":"slow_reader"' in body
        assert b"event: end" in body

    bounded(test())


def test_an_idle_stream_gets_heartbeats_and_a_busy_one_does_not(serve: Serve) -> None:
    async def test() -> None:
        server = Server(heartbeat_s=0.05)
        async with serve(server.app) as address:
            reader, writer = await raw(address)
            await reader.readuntil(b": keep-alive\n")
            await reader.readuntil(b": keep-alive\n")
            server.end()
            rest = await reader.readuntil(b"event: end")
            writer.close()

        assert b"id: e.1" in rest

    bounded(test())


def test_a_drain_tells_the_streams_that_are_open_and_closes_them(serve: Serve) -> None:
    async def test() -> None:
        server = Server()
        server.say(2)
        async with serve(server.app) as address:
            listening = asyncio.create_task(events_of(address))
            await until(lambda: server.streams.count == 1)
            server.streams.drain("shutdown", retry_ms=4_000)
            server.say()
            events = await listening
            assert await server.streams.wait_closed(10)
            later = asyncio.create_task(events_of(address, headers={"Last-Event-ID": "e.2"}))
            await until(lambda: server.streams.count == 1)
            server.end()
            resumed = await later

        assert [event.event for event in events] == ["output", "output", "draining"]
        assert json.loads(events[-1].data) == {"reason": "shutdown", "retry_ms": 5_000}
        assert events[-1].retry == 5_000
        assert events[-1].id == "e.2"  # the id that a client holds stays what it was
        assert [event.event for event in resumed] == ["output", "end"]
        assert server.told == ["attached", "server"] * 2

    bounded(test())


def test_streams_whose_clients_do_not_read_are_cut_off_by_an_abort(serve: Serve) -> None:
    async def test() -> None:
        server = Server(limit=5_000)
        server.say(5_000, chunk="z" * 2_000)
        async with serve(server.app) as address:
            _, writer = await raw(address, receive_buffer=4_096)
            await until(lambda: server.streams.count == 1)
            server.streams.drain()
            assert not await server.streams.wait_closed(0.05)
            server.streams.abort()
            assert await server.streams.wait_closed(10)
            writer.close()

        assert server.told == ["attached", "server"]

    bounded(test())


def test_a_forgotten_log_ends_its_stream_with_a_gap(serve: Serve) -> None:
    async def test() -> None:
        server = Server()
        server.say(2)
        async with serve(server.app) as address:
            listening = asyncio.create_task(events_of(address))
            await until(lambda: server.streams.count == 1)
            await asyncio.sleep(0.05)
            server.log.forget()
            events = await listening

        assert json.loads(events[-1].data)["reason"] == "forgotten"

    bounded(test())


def test_the_exit_of_a_plain_server_tells_the_streams_before_it_ends_them(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`watch_exit`: nobody calls `drain`, the response sees the server's exit by itself."""

    async def test() -> None:
        server = Server()
        server.streams.watch_exit = True
        server.say()
        async with serve(server.app) as address:
            listening = asyncio.create_task(events_of(address))
            await until(lambda: server.streams.count == 1)
            monkeypatch.setattr("sse_starlette.sse.AppStatus.should_exit", True)
            events = await listening

        assert [event.event for event in events] == ["output", "draining"]

    bounded(test())


def test_a_server_that_says_by_an_error_that_the_client_has_gone_is_understood() -> None:
    async def test() -> None:
        server = Server()
        server.say()
        response = stream_response(
            server.log, parse_query({}), server.streams, on_detach=server.left
        )

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                raise OSError("gone")

        await response({"type": "http", "method": "GET"}, receive, send)

        assert server.told == ["client"]
        assert server.streams.count == 0

    bounded(test())

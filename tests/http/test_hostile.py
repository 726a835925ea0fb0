"""Bytes that no client library would send: every answer is below 500, and the server lives on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from app import operation

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Run = Callable[[Awaitable[None]], None]


@operation("nothing")
async def nothing(value: Any = None) -> None:
    """Do nothing."""


async def send(url: str, data: bytes, *, whole: bool) -> bytes:
    """What the server answers to `data`, until it closes; what is not whole, we end ourselves."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        if not whole:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def post(body: bytes, *headers: bytes, path: bytes = b"/v1/jobs") -> bytes:
    lines = [
        b"POST %b HTTP/1.1" % path,
        b"Host: 127.0.0.1",
        b"Connection: close",
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join([*lines, b"", body])


def get(path: bytes, *headers: bytes) -> bytes:
    lines = [b"GET %b HTTP/1.1" % path, b"Host: 127.0.0.1", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", b""])


JSON = b"Content-Type: application/json"

REQUESTS: list[tuple[str, bytes, set[int]]] = [
    ("not http", b"\x16\x03\x01\x02\x00\x01\x00", {400}),
    ("an empty line", b"\r\n\r\n", {0, 400}),
    ("no host", b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", {400}),
    ("two hosts", get(b"/livez", b"Host: evil.example"), {400}),
    ("an http/1.0 request without host", b"GET /livez HTTP/1.0\r\n\r\n", {400}),
    ("an absolute target", get(b"http://evil.example/livez"), {200, 400, 404, 421}),
    ("a star target", b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", {404}),
    (
        "an unknown method",
        b"BREW /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        {400, 405},
    ),
    ("bytes in the path", get(b"/v1/jobs/\xff\xfe"), {400, 404}),
    ("a nul in the path", get(b"/v1/jobs/%00"), {404}),
    ("overlong utf-8 in the path", get(b"/v1/jobs/%c0%af"), {404}),
    ("surrogates in the path", get(b"/v1/jobs/%ed%a0%80"), {404}),
    ("a path that climbs", get(b"/v1/jobs/..%2f..%2fetc%2fpasswd"), {404}),
    ("a very long path", get(b"/v1/jobs/" + b"a" * 60_000), {404}),
    ("a head over the limit", get(b"/v1/jobs/" + b"a" * 70_000), {431}),
    ("bytes in the query", get(b"/v1/jobs?state=%ff%fe&tag=%00"), {422}),
    ("a query of nothing but separators", get(b"/v1/jobs?&&&=&=&&"), {200, 422}),
    ("a thousand parameters", get(b"/v1/jobs?" + b"tag=x&" * 1000), {200, 422}),
    ("bytes in a header", get(b"/v1/jobs/x/stream", b"Last-Event-ID: \xff\xfe\x80"), {404}),
    ("a hostile trace context", post(b"{}", JSON, b"traceparent: \xff", b"baggage: =;,="), {422}),
    ("a hostile trace state", post(b"{}", JSON, b"tracestate: " + b"a=b," * 500), {422}),
    ("a hostile accept", get(b"/metrics", b"Accept: ;;;q=\xff,*/*;q=nan"), {200}),
    ("a hostile range", get(b"/v1/jobs", b"Range: bytes=9999999999999999999-"), {200}),
    (
        "an upgrade",
        get(b"/v1/stream?follow=false", b"Connection: upgrade", b"Upgrade: websocket"),
        {200, 400},
    ),
    ("an expectation", post(b"{}", JSON, b"Expect: 200-ok"), {422}),
    (
        "a negative length",
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        {400},
    ),
    ("two lengths", post(b"{}", JSON, b"Content-Length: 7"), {400}),
    ("length and chunks", post(b"0\r\n\r\n", JSON, b"Transfer-Encoding: chunked"), {400, 415, 422}),
    (
        "a body that ends too early",
        post(b"{}", JSON).replace(b"Length: 2", b"Length: 20"),
        {0, 400},
    ),
    (
        "malformed chunks",
        (
            b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"
        ),
        {0, 400},
    ),
    ("a compressed body", post(b"\x1f\x8b\x08", JSON, b"Content-Encoding: gzip"), {400}),
    (
        "a form",
        post(b"operation=nothing", b"Content-Type: application/x-www-form-urlencoded"),
        {415},
    ),
    ("no content type", post(b'{"operation":"nothing"}'), {415}),
    ("nan", post(b'{"operation":"nothing","timeout_s":NaN}', JSON), {400}),
    ("1e400", post(b'{"operation":"nothing","timeout_s":1e400}', JSON), {400}),
    ("1e308", post(b'{"operation":"nothing","timeout_s":1e308}', JSON), {422}),
    ("minus zero", post(b'{"operation":"nothing","timeout_s":-0.0}', JSON), {422}),
    (
        "a huge integer",
        post(b'{"operation":"nothing","timeout_s":%b}' % (b"9" * 4000), JSON),
        {422},
    ),
    ("an integer that is too long", post(b"9" * 10_000, JSON), {400}),
    (
        "a huge integer as a param",
        post(b'{"operation":"nothing","params":{"value":%b}}' % (b"9" * 400), JSON),
        {202, 422},
    ),
    ("a depth bomb", post(b"[" * 200_000, JSON), {400}),
    (
        "a depth bomb in params",
        post(b'{"operation":"nothing","params":{"value":%b}}' % (b"[" * 500 + b"]" * 500), JSON),
        {400},
    ),
    (
        "deep params that are legal",
        post(b'{"operation":"nothing","params":{"value":%b}}' % (b"[" * 60 + b"]" * 60), JSON),
        {202},
    ),
    (
        "a nul in a string",
        post(b'{"operation":"nothing","params":{"value":"\\u0000"}}', JSON),
        {202},
    ),
    ("a lone surrogate", post(b'{"operation":"\\ud800"}', JSON), {400}),
    ("bytes that are no utf-8", post(b'{"operation":"\xff"}', JSON), {400}),
    ("a list for a body", post(b"[]", JSON), {422}),
    ("null for a body", post(b"null", JSON), {422}),
    ("a prototype", post(b'{"operation":"nothing","__proto__":{}}', JSON), {422}),
    (
        "ten thousand keys",
        post(
            b'{"operation":"nothing","metadata":{%b}}'
            % b",".join(b'"k%d":1' % number for number in range(10_000)),
            JSON,
        ),
        {422},
    ),
    ("a hostile key", post(b"{}", JSON, b"Idempotency-Key: \xff\x01"), {400, 422}),
    ("a cancel of nothing", post(b"", path=b"/v1/jobs/%0d%0aX-Evil:%201/cancel"), {404}),
]


@pytest.mark.parametrize(
    ("request_", "statuses"), [each[1:] for each in REQUESTS], ids=[each[0] for each in REQUESTS]
)
def test_what_no_client_sends_is_refused_and_the_server_lives_on(
    serve: Serve, run: Run, request_: bytes, statuses: set[int]
) -> None:
    async def test() -> None:
        async with serve((nothing,)) as served:
            answer = await send(served.url, request_, whole=0 not in statuses)
            status = int(answer.split(b" ", 2)[1]) if answer else 0

            assert status in statuses, answer
            assert b"Traceback" not in answer
            assert b"X-Evil" not in answer.partition(b"\r\n\r\n")[0]
            assert (await served.client.get("/livez")).status_code == 200

    run(test())


def test_a_client_that_goes_away_in_the_middle_of_a_body_leaves_nothing(
    serve: Serve, run: Run
) -> None:
    async def test() -> None:
        async with serve((nothing,)) as served:
            host, _, port = served.url.removeprefix("http://").partition(":")
            for _ in range(20):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(post(b"x" * 1000, JSON)[:-900])
                await writer.drain()
                writer.close()

            assert (await served.client.get("/v1/jobs")).json()["total"] == 0

    run(test())


def test_an_oversized_body_is_refused_before_it_was_sent(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve((nothing,)) as served:
            head = b"\r\n".join(
                [
                    b"POST /v1/jobs HTTP/1.1",
                    b"Host: 127.0.0.1",
                    b"Content-Length: 99999999999",
                    b"Expect: 100-continue",
                    JSON,
                    b"",
                    b"",
                ]
            )
            host, _, port = served.url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head)
            first = await reader.readline()
            writer.close()

            assert first.startswith(b"HTTP/1.1 413 ")

    run(test())


def test_ids_of_every_kind_are_a_404(serve: Serve, run: Run) -> None:
    async def test() -> None:
        async with serve((nothing,)) as served:
            for hostile in ("%25", "%7Bjob_id%7D", "null", "-1", "0", "~", "%F0%9F%92%A9", "*"):
                answer = await served.client.get(f"{served.url}/v1/jobs/{hostile}")
                assert answer.status_code == 404

    run(test())

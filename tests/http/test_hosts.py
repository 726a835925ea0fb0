"""Who may address the server."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from app.http.hosts import HostCheck, Hosts, host_part


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8000", "localhost"),
        ("localhost.", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[0:0::1]", "::1"),
        ("", None),
        (":8000", None),
        ("localhost:", "localhost"),
        ("localhost:80a", None),
        ("localhost:-1", None),
        ("[::1", None),
        ("[::1]x", None),
        ("[localhost]", None),
        ("localhost:80:90", None),
    ],
)
def test_an_authority_has_a_host_or_none(authority: str, host: str | None) -> None:
    assert host_part(authority) == host


@given(st.text())
def test_no_authority_breaks_the_check(authority: str) -> None:
    assert Hosts(["only.example"]).accept(authority) in {True, False}


def test_the_bound_host_is_one_of_the_names() -> None:
    hosts = Hosts(["localhost"], bound="192.0.2.7")

    assert hosts.accept("192.0.2.7:8000")
    assert not hosts.accept("192.0.2.8:8000")


def test_bound_to_every_address_each_literal_one_is_accepted_but_no_foreign_name() -> None:
    hosts = Hosts(["localhost"], bound="0.0.0.0")

    assert hosts.accept("192.0.2.8:8000")
    assert hosts.accept("[2001:db8::1]:8000")
    assert not hosts.accept("rebound.example:8000")


def test_a_name_is_not_accepted_because_another_was() -> None:
    hosts = Hosts(["localhost"])

    for _ in range(2):
        assert hosts.accept("localhost:8000")
        assert not hosts.accept("rebound.example:8000")


def test_a_star_accepts_every_name() -> None:
    assert Hosts(["*"]).accept("whatever.example")


def ask(method: str, *headers: tuple[str, str]) -> httpx.Response:
    """The answer of an application that is called localhost."""
    app = FastAPI()
    app.add_middleware(HostCheck, hosts=Hosts(["localhost"]))

    async def answer() -> str:
        return "well"

    app.add_api_route("/", answer, methods=["GET", "POST", "DELETE"])

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, "/", headers=list(headers))

    return asyncio.run(call())


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X"]
)
def test_a_wrong_host_is_a_421_on_every_method(method: str) -> None:
    answer = ask(method, ("host", "rebound.example"))

    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_wrong_host_is_told_the_legal_ones() -> None:
    problem = ask("GET", ("host", "rebound.example")).json()

    assert problem["type"] == "urn:job-narrator:problem:wrong-host"
    assert problem["legal"] == ["localhost"]
    assert "'rebound.example'" in problem["detail"]


def test_two_hosts_are_a_400() -> None:
    answer = ask("GET", ("host", "localhost"), ("host", "rebound.example"))

    assert answer.status_code == 400


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://localhost.evil.example"]
)
def test_a_write_from_another_sites_page_is_a_403(origin: str) -> None:
    assert ask("POST", ("origin", origin)).status_code == 403
    assert ask("DELETE", ("origin", origin)).status_code == 403


def test_a_write_from_a_page_of_ours_is_accepted() -> None:
    assert ask("POST", ("origin", "http://localhost:8000")).status_code == 200


def test_a_read_from_another_sites_page_is_the_browsers_to_judge() -> None:
    assert ask("GET", ("origin", "http://evil.example")).status_code == 200

"""Both clients and the key to a closed server: where it comes from, and where it never goes."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.keys_file import Scope
from app.client import EndEvent, Forbidden, NotFound, Refused, Unauthorized
from app.client.address import KEY_VARIABLE
from app.settings import CLIENT_VARIABLES
from tests.clients.keyed import Keyed, keyed
from tests.clients.python.both import Open

KEY = "nk_k7f3q2m4x5ab_0123456789012345678901234567890123456789012"
ELSEWHERE = "https://elsewhere.test"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A server that asks for keys."""
    with keyed(tmp_path_factory.mktemp("keys"), heartbeat_s=0.2) as started:
        yield started


def sent(
    opened: Open,
    *,
    answer: Callable[[], httpx.Response] = lambda: httpx.Response(204),
    server: str = "http://narrator.test",
    **options: Any,
) -> list[httpx.Request]:
    """The requests of a call and of a stream."""
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer()

    with opened(server, transport=httpx.MockTransport(note), **options) as client:
        for ask in (lambda: client.delete("a"), lambda: list(client.stream("a"))):
            with contextlib.suppress(Refused):
                ask()
    return seen


def keys(requests: list[httpx.Request]) -> list[str | None]:
    """What each says in its header."""
    return [each.headers.get("authorization") for each in requests]


# --- where it comes from --------------------------------------------------------------------------


def test_the_key_goes_with_every_request_and_every_stream(opened: Open) -> None:
    assert keys(sent(opened, key=KEY)) == [f"Bearer {KEY}"] * 2


def test_it_is_the_one_given_else_the_variables_else_none(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys(sent(opened)) == [None] * 2
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY}\n")
    assert keys(sent(opened)) == [f"Bearer {KEY}"] * 2
    assert keys(sent(opened, key="other")) == ["Bearer other"] * 2
    assert keys(sent(opened, key="")) == [None] * 2
    assert KEY_VARIABLE in CLIENT_VARIABLES


def test_a_header_of_the_callers_own_goes_before_the_variable(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)

    assert keys(sent(opened, headers={"Authorization": "Basic x"})) == ["Basic x"] * 2


@pytest.mark.parametrize("wrong", ["a b", "a\nb", "ü", "a\x00", '"'])
def test_a_key_that_no_header_carries_is_refused_and_not_repeated(
    opened: Open, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    with pytest.raises(ValueError, match="key is no key") as caught, opened(key=f"secret{wrong}x"):
        pass
    assert "secret" not in str(caught.value)
    if "\x00" not in wrong:
        monkeypatch.setenv(KEY_VARIABLE, f"secret{wrong}x")
        with pytest.raises(ValueError, match=f"{KEY_VARIABLE} is no key"), opened():
            pass


def test_a_key_and_a_user_in_the_address_are_one_too_many(opened: Open) -> None:
    with pytest.raises(ValueError, match="only one of them can be sent") as caught:
        sent(opened, server="http://ada:pass@narrator.test", key=KEY)

    assert KEY not in str(caught.value)
    assert "pass@" not in str(caught.value)


# --- where it never goes --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", [f"{ELSEWHERE}/v1/jobs/a", "//elsewhere.test/", "/other"])
def test_no_redirect_is_followed(opened: Open, status: int, place: str) -> None:
    requests = sent(
        opened, key=KEY, answer=lambda: httpx.Response(status, headers={"location": place})
    )

    assert [each.url.host for each in requests] == ["narrator.test"] * 2


def test_nothing_that_shows_itself_shows_it(opened: Open) -> None:
    with opened("http://narrator.test", key=KEY) as client:
        assert client.key == KEY
        inner: Any = getattr(client, "_client", client)  # of the one that awaits
        for each in (inner, inner._http, inner._http.headers, inner._link, inner._calls):
            assert KEY not in repr(each)


def test_no_log_and_no_error_has_it(
    opened: Open, closed: Keyed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = closed.keys["reader"]
    with opened(closed.server.url, key=key) as client:
        with pytest.raises(Forbidden) as forbidden:
            client.submit("talk")
        with pytest.raises(NotFound) as missing:
            list(client.stream("nowhere"))
    with (
        opened(closed.server.url, key=f"{key}x") as client,
        pytest.raises(Unauthorized) as unknown,
    ):
        client.overview()

    secret = key.split("_", 2)[2]
    assert caplog.text != ""
    assert secret not in caplog.text
    for each in (forbidden, missing, unknown):
        assert secret not in f"{each.value!r} {each.value}"


# --- what a closed server says --------------------------------------------------------------------


def test_a_job_is_submitted_followed_and_waited_for_with_a_key(opened: Open, closed: Keyed) -> None:
    with opened(closed.server.url, key=closed.keys["worker"]) as client:
        job = client.submit("talk")

        assert isinstance(list(client.stream(job))[-1], EndEvent)
        assert client.result(job) == {"ok": 1}
        assert job.id in [each.id for each in client.list()]


def test_without_a_key_it_says_where_one_goes(opened: Open, closed: Keyed) -> None:
    with opened(closed.server.url) as client:
        for ask in (client.overview, lambda: list(client.stream("a")), lambda: client.submit("x")):
            with pytest.raises(Unauthorized, match=f"a key goes in key=… or {KEY_VARIABLE}") as no:
                ask()
            assert no.value.status == 401


def test_a_key_that_opens_nothing_is_told_apart_from_none(opened: Open, closed: Keyed) -> None:
    with (
        opened(closed.server.url, key=KEY) as client,
        pytest.raises(Unauthorized, match=r"another key goes in key=…"),
    ):
        client.operations()


def test_a_key_without_the_scope_is_told_which(opened: Open, closed: Keyed) -> None:
    with opened(closed.server.url, key=closed.keys["reader"]) as client:
        with pytest.raises(Forbidden, match="submit") as caught:
            client.submit("talk")

        assert caught.value.problem.members["scope"] == "submit"
        assert client.operations() != ()


def test_a_job_of_another_tenant_is_not_there(opened: Open, closed: Keyed) -> None:
    with opened(closed.server.url, key=closed.new_key(Scope.ADMIN, tenant="other")) as theirs:
        job = theirs.submit("talk")
    with opened(closed.server.url, key=closed.keys["admin"]) as ours:
        for ask in (ours.get, ours.cancel, lambda each: list(ours.stream(each))):
            with pytest.raises(NotFound):
                ask(job.id)
        assert job.id not in [each.id for each in ours.list()]


def test_a_stream_whose_key_is_revoked_ends_with_the_refusal(
    opened: Open, closed: Keyed, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    key = closed.new_key(Scope.READ, Scope.SUBMIT)
    with opened(closed.server.url, key=key) as client:
        job = client.submit("gated", {"gate": str(gate)})
        with client.stream(job) as stream:
            assert any(getattr(event, "text", "") == "before 0" for event in stream)
            closed.revoke(key)
            with pytest.raises(Unauthorized, match="another key"):
                list(stream)

    gate.touch()
    closed.server.ended(job.id)

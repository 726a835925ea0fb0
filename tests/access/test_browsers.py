"""What a browser is told: by every answer, and about which pages may call."""

from pathlib import Path

import httpx
import pytest

from app.access.keys_file import Scope
from app.settings import SettingsError, load
from tests.access.closed import Closed, bearer, run
from tests.access.routes_table import NEEDS, with_heads

APP = "https://app.example.com"
OTHERS = (
    "https://evil.example",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com.evil.example",
    "https://xapp.example.com",
    "null",
    "",
)


def safe(answer: httpx.Response) -> None:
    """A browser runs nothing of it, shows it in no frame, and guesses no type."""
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "cross-origin-resource-policy" in answer.headers
    assert answer.headers["cache-control"]


def test_every_answer_of_every_route_is_safe_in_a_browser(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        admin = server.caller(scopes=[Scope.ADMIN])
        job_id = await admin.ended("say", params={"text": "<script>alert(1)</script>"})
        for method, template in with_heads(sorted(NEEDS)):
            if method == "DELETE":
                continue
            path = template.format(job_id=job_id, name="main.js")
            query = "?follow=false" if path.endswith("/stream") else ""
            for headers in (bearer(admin.key), {}, {"host": "evil.example"}):
                safe(await server.http.request(method, path + query, headers=headers))
        for method, path in (("GET", "/nothing"), ("PUT", "/v1/jobs"), ("OPTIONS", "/v1/jobs")):
            safe(await server.http.request(method, path))
        safe(await admin.call("POST", "/v1/jobs", content=b"{"))

    run(tmp_path, attack)


def test_the_console_runs_only_what_is_its_own(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        policy = (await server.http.get("/")).headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "http" not in policy

    run(tmp_path, attack)


async def preflight(server: Closed, origin: str, method: str = "POST") -> httpx.Response:
    """The answer to what a browser asks before a page of `origin` may call."""
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }
    return await server.http.options("/v1/jobs", headers=headers)


def allowed(answer: httpx.Response) -> list[str]:
    """What of CORS an answer says."""
    return [each for each in answer.headers if each.startswith("access-control-allow-")]


def test_no_page_of_another_site_may_call_unless_it_is_named(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        key = server.key()
        for origin in (APP, *OTHERS):
            assert not allowed(await preflight(server, origin))
            read = await server.http.get("/v1/jobs", headers={**bearer(key), "origin": origin})
            assert not allowed(read)
            write = await server.http.post(
                "/v1/jobs", json={"operation": "add"}, headers={**bearer(key), "origin": origin}
            )
            assert write.status_code == 403
        assert (await server.caller().get("/v1/jobs"))["total"] == 0

    run(tmp_path, attack)


def test_a_named_page_may_call_and_no_other(tmp_path: Path) -> None:
    async def attack(server: Closed) -> None:
        key = server.key()
        asked = await preflight(server, APP)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == APP
        assert "access-control-allow-credentials" not in asked.headers
        assert not {"PUT", "PATCH"} & set(asked.headers["access-control-allow-methods"].split(", "))
        assert (await preflight(server, APP, "PATCH")).status_code == 400
        for path in ("/v1/jobs", "/v1/stream?follow=false", "/v1/jobs/none"):
            read = await server.http.get(path, headers={**bearer(key), "origin": APP})
            assert read.headers["access-control-allow-origin"] == APP
            assert "origin" in read.headers["vary"].lower()
        write = await server.http.post(
            "/v1/jobs", json={"operation": "add"}, headers={**bearer(key), "origin": APP}
        )
        assert write.status_code == 202
        assert "location" in write.headers["access-control-expose-headers"].lower()
        for origin in OTHERS:
            told = await preflight(server, origin)
            assert told.status_code in {400, 403}
            assert "access-control-allow-origin" not in told.headers
            read = await server.http.get("/v1/jobs", headers={**bearer(key), "origin": origin})
            assert "access-control-allow-origin" not in read.headers
            write = await server.http.post("/v1/jobs", headers={**bearer(key), "origin": origin})
            assert write.status_code == 403

    run(tmp_path, attack, cors_origins=(APP,))


@pytest.mark.parametrize(
    "wrong",
    ["*", "null", "app.example.com", "https://*.example.com", f"{APP}/", f"{APP}/x", "ftp://a.b",
     "https://u@a.b", "HTTPS://APP.example.com"],
)  # fmt: skip
def test_an_origin_that_is_none_or_too_wide_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="origins"):
        load({"cors_origins": wrong})

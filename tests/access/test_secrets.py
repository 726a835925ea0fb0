"""Keys and tokens are in no log, span, metric or error; and text of others is text and no more."""

import logging
from pathlib import Path
from typing import Final

import pytest

from app.access.keys_file import Scope
from tests.access.closed import Closed, bearer, run
from tests.access.routes_table import NEEDS

HOSTILE: Final = (
    "a\r\nx-injected: yes",
    "a\nERROR forged line",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "%0d%0ax-injected:%20yes",
)


def ours(record: logging.LogRecord) -> bool:
    """Whether the server has logged it, and not the client that attacks."""
    return not record.name.startswith(("httpx", "httpcore"))


def test_no_key_or_token_is_in_logs_spans_metrics_or_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"
    monkeypatch.setenv(f"{prefix}SERVER_REQUEST", ".*")
    monkeypatch.setenv(f"{prefix}SERVER_RESPONSE", ".*")

    async def attack(server: Closed) -> None:
        admin = server.caller(scopes=[Scope.ADMIN])
        job_id = await admin.ended()
        made = await admin.call("POST", f"/v1/jobs/{job_id}/stream-token")
        token = made.json()["token"]
        secrets = [admin.key, admin.key[16:], token, token.rpartition(".")[2]]
        told: list[str] = []
        for method, template in NEEDS:
            path = template.format(job_id=job_id, name="main.js")
            for query in (
                "",
                f"?token={token}",
                f"?%74oken={token}",
                f"?x=1&token={token}&token=y",
            ):
                for headers in (bearer(admin.key), bearer(admin.key + "x"), {}):
                    if method == "DELETE" or (path == "/v1/stream" and headers):
                        continue  # the job is needed, and this stream has no end
                    answer = await server.http.request(method, path + query, headers=headers)
                    if "stream-token" not in path:
                        told.append(f"{answer.headers}{answer.text}")
        spans = [each.to_json() for each in server.spans.get_finished_spans()]
        assert any("http.request.header.authorization" in each for each in spans)
        metrics = (await admin.call("GET", "/metrics")).text
        for secret in secrets:
            assert not [each for each in (*told, *spans) if secret in each], secret
            assert secret not in metrics
            assert not [
                each for each in caplog.records if ours(each) and secret in str(each.__dict__)
            ]

    with caplog.at_level(logging.DEBUG):
        run(tmp_path, attack)


def test_hostile_text_makes_no_header_no_log_line_and_no_markup(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def attack(server: Closed) -> None:
        caller = server.caller()
        job_id = await caller.ended()
        for text in HOSTILE:
            calls = [
                await caller.call("GET", "/v1/jobs", params={"cursor": text, "operation": text}),
                await caller.call("POST", "/v1/jobs", json={"operation": text}),
                await caller.call(
                    "POST", "/v1/jobs", json={"operation": "add", "tags": {text: text}}
                ),
                await caller.call("POST", "/v1/jobs", json={"operation": "add", text: 1}),
                await caller.call(
                    "POST", "/v1/jobs", json={"operation": "say", "params": {"text": text}}
                ),
                await server.http.get(f"/v1/jobs/{job_id}/stream", params={"token": text}),
                await caller.call("GET", f"/v1/jobs/{job_id}/stream", params={"mode": text}),
            ]
            for name in (
                "idempotency-key",
                "last-event-id",
                "authorization",
                "origin",
                "traceparent",
            ):
                raw = [(name.encode(), text.encode())]
                request = server.http.build_request(
                    "POST", "/v1/jobs", json={"operation": "add"}, headers=raw
                )
                calls.append(await server.http.send(request))
            for answer in calls:
                assert answer.status_code < 500
                assert "x-injected" not in answer.headers
                assert answer.headers["content-type"].partition(";")[0] in {
                    "application/json",
                    "application/problem+json",
                    "text/event-stream",
                }
                assert "\x1b" not in answer.text
                assert "\x07" not in answer.text
        for record in filter(ours, caplog.records):
            line = record.getMessage()
            assert line.isprintable(), line

    with caplog.at_level(logging.INFO):
        run(tmp_path, attack)

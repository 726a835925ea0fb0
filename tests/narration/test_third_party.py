"""Real instrumentation packages of others, narrated live and with their attributes withheld."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import SyncOpenTelemetryTransport
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from narration.capture import Captured, capture
from narration.encoding import encode
from narration.logs import NarrationHandler, NarrationLogProcessor, Once

STATEMENT = "SELECT 'private' AS word"


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider
    provider.shutdown()


def _query(provider: TracerProvider, statement: str) -> None:
    with closing(sqlite3.connect(":memory:")) as plain:
        traced = SQLite3Instrumentor.instrument_connection(plain, tracer_provider=provider)
        cursor = traced.cursor()
        cursor.execute(statement)
        cursor.close()


def _get(provider: TracerProvider, captured: Captured) -> list[list[str]]:
    """The texts told by the time that the request was being answered, and afterwards."""
    told = []

    def answer(_: httpx.Request) -> httpx.Response:
        told.append(captured.texts)
        return httpx.Response(200, headers={"set-cookie": "private"})

    transport = SyncOpenTelemetryTransport(httpx.MockTransport(answer), tracer_provider=provider)
    with httpx.Client(transport=transport) as client:
        client.get("http://shop.example/orders/private")
    return [*told, captured.texts]


def test_a_query_is_told_and_its_statement_is_withheld(provider: TracerProvider) -> None:
    with capture(provider=provider) as captured:
        _query(provider, STATEMENT)

    started, ended = captured.messages
    assert (started.kind, started.actor, started.text) == (
        "span_start",
        "sqlite3",
        "SELECT started",
    )
    assert ended.text.startswith("SELECT ended after ")
    assert b"private" not in encode([started, ended])


def test_a_statement_is_told_when_its_attribute_is_allowed_by_name(
    provider: TracerProvider,
) -> None:
    with capture(provider=provider, allowed=["db.statement", "db.query.text"]) as captured:
        _query(provider, STATEMENT)

    assert list(captured.messages[1].fields.values()) == [STATEMENT]


def test_a_failing_query_shows_only_the_type_of_its_error(provider: TracerProvider) -> None:
    with capture(provider=provider) as captured, pytest.raises(sqlite3.OperationalError):
        _query(provider, "SELECT private FROM nowhere")

    (raised,) = captured.find(kind="exception")
    assert raised.text == "sqlite3.OperationalError"
    assert captured.messages[-1].level == "error"
    assert b"private" not in encode(captured.messages)
    assert b"nowhere" not in encode(captured.messages)


def test_a_request_is_told_live_and_its_address_is_withheld(provider: TracerProvider) -> None:
    with capture(provider=provider) as captured:
        during, afterwards = _get(provider, captured)

    assert during == ["GET started"]
    assert len(afterwards) == 2
    assert b"private" not in encode(captured.messages)


def test_an_event_on_the_span_of_a_third_party_is_told_at_once(provider: TracerProvider) -> None:
    with (
        capture(provider=provider) as captured,
        provider.get_tracer("thirdparty.cache").start_as_current_span("lookup"),
    ):
        trace.get_current_span().add_event("cache.miss", {"key": "private"})
        told = captured.find(action="cache.miss")

    assert [(said.actor, said.text, said.fields) for said in told] == [("cache", "cache.miss", {})]


def test_log_records_that_carry_injected_ids_are_told_once_and_without_them(
    provider: TracerProvider,
) -> None:
    once = Once()
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(NarrationLogProcessor(once=once))
    logger = logging.getLogger("jobs.third_party")
    handlers = [LoggingHandler(logger_provider=logs), NarrationHandler(once=once)]
    for handler in handlers:
        logger.addHandler(handler)
    instrumentor = LoggingInstrumentor()
    instrumentor.instrument(
        tracer_provider=provider, inject_trace_context=True, enable_log_auto_instrumentation=False
    )
    try:
        with (
            capture(logs=False, first_party=["jobs"]) as captured,
            provider.get_tracer("jobs").start_as_current_span("work") as span,
        ):
            logger.warning("heard", extra={"n": 1})
    finally:
        instrumentor.uninstrument()
        for handler in handlers:
            logger.removeHandler(handler)
        logs.shutdown()

    (said,) = captured.messages
    assert (said.text, said.fields) == ("heard", {"n": 1})
    assert said.span_id == f"{span.get_span_context().span_id:016x}"

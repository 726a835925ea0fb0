"""The published table against a full run: a real server, every outcome, all that it emitted."""

import os
import socket
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from narration.phrases import PHRASES
from telemetry import names
from telemetry.names import Moment
from telemetry.table import (
    ATTRIBUTES,
    METRIC_ROWS,
    SPANS,
    Emitted,
    MetricType,
    differences,
    span_row_name,
)
from tests.telemetry.otlp_receiver import OtlpReceiver, Received
from tests.telemetry.served import Server, events_of, locked_out, samples, serving, until

STORE: Final = "jobs.db"
RETRIES: Final = {"max_attempts": 2, "base_delay_s": 0.01, "jitter": "none"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Received], str]]:
    """All spans of a full run, and the exposition at its end."""
    folder = tmp_path_factory.mktemp("table")
    with (
        OtlpReceiver() as receiver,
        serving(
            folder,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            NARRATOR_LOG_EVENTS="true",
            NARRATOR_STORE=str(folder / STORE),
        ) as server,
    ):
        run_everything(server, folder)
        yield [each for each in receiver.spans if each.scope == names.SCOPE], server.metrics()


def run_everything(server: Server, folder: Path) -> None:
    """A job for each outcome, a stream that is told a gap, what is refused: a submission, bytes."""
    gate = folder / "gate"
    os.mkfifo(gate)
    server.run("coroutine", tags={"team": "blue"}, concurrency_key="k")
    failed = server.run("flaky", params={"failures": 9}, retry=RETRIES)
    retried = server.client.post(f"/v1/jobs/{failed['id']}/retry", json={"params": {"failures": 1}})
    server.run("endless", timeout_s=0.02)
    server.run("blocks")
    server.run("coroutine", start="on_stream", attach_timeout_s=0.02)
    deaf = server.submit("deaf", params={"gate": str(gate)})
    server.said(deaf["id"], "ready")
    server.cancel(deaf["id"])
    gate.write_text("open")
    assert server.client.post("/v1/jobs", json={"operation": "coroutine", "no": 1}).is_error
    assert server.client.post("/v1/jobs", json={"operation": "none"}).is_error
    with socket.create_connection(("127.0.0.1", server.client.base_url.port or 0)) as connection:
        connection.sendall(b"no HTTP\r\n\r\n")
    with locked_out(server, folder / STORE):
        assert server.client.post("/v1/jobs", json={"operation": "coroutine"}).status_code == 503
    stream = f"/v1/jobs/{failed['id']}/stream"
    assert "event: gap" in server.client.get(stream, headers={"last-event-id": "nonsense"}).text
    server.ended(retried.json()["id"])
    until(lambda: samples(server.metrics()).get('narrator_messages_dropped_total{reason="late"}'))
    until(lambda: samples(server.metrics()).get('narrator_exporter_spans_total{outcome="sent"}'))
    until(lambda: samples(server.metrics())['narrator_log_exporter_records_total{outcome="sent"}'])
    until(lambda: not samples(server.metrics())["narrator_exporter_queue_length"])


def emitted_of(spans: list[Received], exposition: str) -> Emitted:
    """What was seen, in the form that the table is compared with."""
    by_span: dict[str, set[str]] = defaultdict(set)
    by_event: dict[str, set[str]] = defaultdict(set)
    by_metric: dict[str, set[str]] = defaultdict(set)
    for each in spans:
        by_span[span_row_name(each.span.name)] |= set(each.attributes)
        for name, attributes in events_of(each):
            if names.NARRATION_TEXT not in attributes:
                by_event[name] |= set(attributes)
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            name = sample.name
            if family.type == MetricType.COUNTER and sample.labels and not sample.value:
                continue  # it is there from the start; nothing has been counted
            if family.type == MetricType.HISTOGRAM:
                name = family.name
            by_metric[name] |= set(sample.labels) - {"le"}
    return Emitted(
        spans={name: frozenset(found) for name, found in by_span.items()},
        events={name: frozenset(found) for name, found in by_event.items()},
        metrics={name: frozenset(found) for name, found in by_metric.items()},
    )


def test_a_full_run_emits_what_is_published_and_all_of_it(ran: tuple[list[Received], str]) -> None:
    assert differences(emitted_of(*ran), complete=True) == []


def test_each_moment_carries_exactly_what_its_phrase_has(ran: tuple[list[Received], str]) -> None:
    seen: dict[Moment, set[frozenset[str]]] = defaultdict(set)
    for each in ran[0]:
        for name, attributes in events_of(each):
            if name in set(Moment):
                seen[Moment(name)].add(frozenset(attributes))

    assert dict(seen) == {
        moment: {frozenset(phrase.attributes)} for moment, phrase in PHRASES.items()
    }


def test_each_attribute_has_the_type_that_is_published(ran: tuple[list[Received], str]) -> None:
    types = {"string": str, "int": int, "double": float, "bool": bool}
    published = {row.name: types[row.type] for row in ATTRIBUTES}
    seen: dict[str, set[type]] = defaultdict(set)
    for each in ran[0]:
        for attributes in (each.attributes, *(found for _, found in events_of(each))):
            for name, value in attributes.items():
                seen[names.JOB_TAG_PREFIX if name.startswith("job.tag.") else name].add(type(value))

    assert {name: {published[name]} for name in seen} == dict(seen)


def test_each_span_is_of_the_kind_that_is_published(ran: tuple[list[Received], str]) -> None:
    kinds = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
    published = {row.name: kinds[row.kind] for row in SPANS}

    assert {span_row_name(each.span.name): int(each.span.kind) for each in ran[0]} == published


def test_each_metric_is_of_the_type_and_says_the_help_that_is_published(
    ran: tuple[list[Received], str],
) -> None:
    seen = {
        family.name: (family.type, family.documentation)
        for family in text_string_to_metric_families(ran[1])
    }
    published = {
        name.removesuffix("_total"): (row.type, row.description)
        for name, row in METRIC_ROWS.items()
        if not name.startswith("narrator_process_")  # the client library's words
    }

    assert {name: seen[name] for name in published} == published

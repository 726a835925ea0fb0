"""What a client may see, on the stream and in the trace alike, over a real server."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.telemetry.served import Server, nodes_of, serving, text_of

SECRET = "xylophone-in-the-attic"
"""Of no shape that would give it away: only the setting tells that it is secret."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"NARRATOR_SECRETS": SECRET, "SHOP_SECRET": SECRET}
    with serving(tmp_path_factory.mktemp("disclosure"), **environment) as server:
        yield server


def seen(server: Server, job_id: str) -> dict[str, str]:
    """All that a client can read of a job, by where."""
    with server.client.stream("GET", f"/v1/jobs/{job_id}/stream") as answer:
        stream = answer.read().decode()
    return {
        "record": text_of(server.record(job_id)),
        "stream": stream,
        "narration": text_of(server.events(job_id)),
        "trace": text_of(server.trace(job_id)),
        "otlp": text_of(server.trace(job_id, format="otlp")),
        "jaeger": text_of(server.trace(job_id, format="jaeger")),
    }


@pytest.mark.parametrize("operation", ["closed", "closed_child"])
def test_the_attributes_of_third_parties_are_withheld_everywhere(
    server: Server, operation: str
) -> None:
    record = server.run(operation)

    for where, text in seen(server, record["id"]).items():
        assert "hidden" not in text, where


@pytest.mark.parametrize("operation", ["closed", "closed_child"])
def test_the_names_and_texts_of_third_parties_are_shown(server: Server, operation: str) -> None:
    record = server.run(operation)

    told = [
        (each["actor"], each["kind"], each["text"])
        for each in server.messages(record["id"])
        if each["kind"] not in {"lifecycle", "span_end"}
    ]
    assert told == [
        ("sqlite3", "span_start", "SELECT started"),
        ("httpx", "span_start", "GET started"),
        ("httpx", "log", 'HTTP Request: … … "… … …"'),
        ("client", "log", "order … of …"),
        ("client", "log", "named … for …"),
        ("client", "log", "nothing to fill in"),
        ("events", "event", "order.sent"),
        ("pay", "span_start", "pay started"),
        ("pay", "exception", "ValueError"),
    ]
    spans = nodes_of(server.trace(record["id"])["spans"])
    assert [span["name"] for span in spans][-3:] == ["SELECT", "GET", "pay"]
    assert all(span["attributes"] == {} for span in spans[-3:])


def test_what_the_operation_discloses_by_name_is_shown_on_stream_and_trace_alike(
    server: Server,
) -> None:
    record = server.run("open_hearted")
    messages = server.messages(record["id"])
    by_text = {each["text"].partition(" ended after")[0]: each["fields"] for each in messages}
    nodes = {node["name"]: node for node in nodes_of(server.trace(record["id"])["spans"])}

    (statement,) = by_text["SELECT"].values()
    (address,) = by_text["GET"].values()
    assert statement == "SELECT 'hidden statement' AS word"
    assert address == "http://shop.example/orders?customer=hidden"
    assert nodes["SELECT"]["attributes"] == by_text["SELECT"]
    assert nodes["GET"]["attributes"] == by_text["GET"]
    assert "named lamp for …" in by_text
    assert by_text["ValueError: hidden card"] == {
        "exception.type": "ValueError",
        "exception.message": "hidden card",
    }
    (event,) = nodes["pay"]["events"]
    assert event["attributes"] == {"exception.message": "hidden card"}


def test_third_party_log_texts_are_shown_in_full_where_that_is_disclosed(server: Server) -> None:
    record = server.run("open_logs")
    logs = [each for each in server.messages(record["id"]) if each["kind"] == "log"]

    assert [each["text"] for each in logs] == [
        'HTTP Request: GET http://shop.example/orders?customer=hidden "HTTP/1.1 200 OK"',
        "order hidden of 3",
        "named lamp for hidden",
        "nothing to fill in",
    ]
    assert [each["fields"] for each in logs] == [{}] * 4


def test_a_log_based_event_of_the_handlers_own_is_told_with_its_attributes(server: Server) -> None:
    record = server.run("logs_events")

    (event,) = [each for each in server.messages(record["id"]) if each["kind"] == "event"]
    assert (event["actor"], event["action"], event["fields"]) == (
        "handlers",
        "parcel.sent",
        {"n": 1},
    )


@pytest.mark.parametrize("operation", ["spills", "spills_child"])
def test_a_configured_secret_is_seen_nowhere(server: Server, operation: str) -> None:
    record = server.run(operation, params={"name": "SHOP_SECRET"})

    for where, text in seen(server, record["id"]).items():
        assert SECRET not in text, where
        assert "[MASKED]" in text, where
    metrics = server.metrics()
    assert SECRET not in metrics


@pytest.mark.parametrize("operation", ["spills", "spills_child"])
def test_a_secret_is_masked_in_its_place_and_the_rest_is_told(
    server: Server, operation: str
) -> None:
    record = server.run(operation, params={"name": "SHOP_SECRET"})
    events = server.events(record["id"])

    def of(name: str) -> list[dict[str, Any]]:
        return [each for each in events if each["event"] == name]

    told = {each["action"]: each for each in of("narration")}
    spill = told["spill"]
    assert (spill["text"], spill["cute"], spill["story"]) == (
        "told [MASKED]",
        "psst [MASKED]",
        "“[MASKED]”",
    )
    assert spill["fields"] == {"secret": "[MASKED]"}
    texts = [each["text"] for each in of("narration")]
    assert "logged [MASKED]" in texts
    assert "formatted [MASKED]" in texts
    assert "span [MASKED] started" in texts
    assert [each["chunk"] for each in of("output")] == ["chunk [MASKED]", {"deep": ["[MASKED]"]}]
    assert [each["text"] for each in of("progress")] == ["at [MASKED]"]
    assert of("end")[0]["marker"] == "[ERROR] failed on [MASKED]"
    assert record["progress"]["text"] == "at [MASKED]"
    assert record["failure"]["message"] == "failed on [MASKED]"
    assert record["attempts"][0]["error"]["message"] == "failed on [MASKED]"
    if operation == "spills_child":
        assert "printed [MASKED]" in texts

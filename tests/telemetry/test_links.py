"""From each view of one fact to the others, on a real server: each link is followed as told."""

import json
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.telemetry.otlp_receiver import OtlpReceiver
from tests.telemetry.served import Server, serving, trace_of

DASHBOARDS: Final = Path(__file__).parents[2] / "dashboards"

VIEWERS: Final = {
    "jaeger": "http://localhost:16686/trace/{trace_id}",
    "zipkin": "http://localhost:9411/zipkin/traces/{trace_id}",
    "grafana, any datasource of traces": (
        "http://localhost:3000/explore?schemaVersion=1&panes=%7B%22a%22:%7B%22datasource%22:"
        "%22tempo%22,%22queries%22:%5B%7B%22refId%22:%22A%22,%22queryType%22:%22traceql%22,"
        "%22query%22:%22{trace_id}%22%7D%5D%7D%7D"
    ),
}
METRICS: Final = "http://localhost:3000/d/narrator-jobs?var-operation={operation}"


def exemplars(server: Server) -> list[dict[str, str]]:
    """The labels of each exemplar of a scrape."""
    answer = server.client.get(
        "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
    )
    told = re.findall(r" # \{([^}]*)\} ", answer.text)
    return [dict(re.findall(r'(\w+)="([^"]*)"', labels)) for labels in told]


def nodes(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for span in spans for each in (span, *nodes(span["children"]))]


def test_the_chain_of_links_leads_from_a_message_through_each_view_and_back(
    tmp_path: Path,
) -> None:
    with (
        OtlpReceiver() as receiver,
        serving(
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            NARRATOR_TRACE_URL=VIEWERS["jaeger"],
            NARRATOR_DASHBOARD_URL=METRICS,
        ) as server,
    ):
        record = server.run("coroutine")
        message = server.messages(record["id"])[-2]

        # message -> trace, by the record's link and by the job's own spans
        links = record["links"]
        assert links["trace_viewer"].endswith(f"/trace/{message['trace_id']}")
        tree = server.client.get(links["trace"]).json()
        assert tree["url"] == links["trace_viewer"]
        assert message["span_id"] in {node["span_id"] for node in nodes(tree["spans"])}

        # trace -> job: what a viewer is sent has the id, and the job's page is there
        job = trace_of(receiver, message["trace_id"]).one("job coroutine")
        assert job.attributes["job.id"] == record["id"] == message["job_id"]
        page = server.client.get(f"/jobs/{job.attributes['job.id']}")
        assert page.headers["content-type"].startswith("text/html")

        # job -> metrics of its operation
        url = urlsplit(links["dashboard"])
        board = json.loads((DASHBOARDS / f"{url.path.removeprefix('/d/')}.json").read_text())
        assert url.path == f"/d/{board['uid']}"
        assert parse_qs(url.query) == {"var-operation": ["coroutine"]}
        assert "operation" in {each["name"] for each in board["templating"]["list"]}

        # metrics -> trace and job, by exemplars
        found = [each for each in exemplars(server) if each["job_id"] == record["id"]]
        assert {each["trace_id"] for each in found} == {message["trace_id"]}
        assert {each["span_id"] for each in found} <= {
            node["span_id"] for node in nodes(tree["spans"])
        }
        assert len(found) >= 2  # its wait, and its run
        assert server.client.get(f"/v1/jobs/{found[0]['job_id']}").status_code == 200


@pytest.mark.parametrize("viewer", VIEWERS)
def test_a_template_of_each_viewer_is_taken_and_filled_in(tmp_path: Path, viewer: str) -> None:
    with serving(tmp_path, NARRATOR_TRACE_URL=VIEWERS[viewer]) as server:
        record = server.run("coroutine")

        address = record["links"]["trace_viewer"]
        assert address == VIEWERS[viewer].replace("{trace_id}", record["trace_id"])
        assert "dashboard" not in record["links"]

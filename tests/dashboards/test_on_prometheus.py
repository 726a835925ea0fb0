"""Every query of every panel, on a real Prometheus that scraped a real server under load."""

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from telemetry.names import SCOPE
from tests.dashboards.generated import expressions, filled_in, panels, read
from tests.dashboards.load import OPERATION, run, scraped
from tests.telemetry.otlp_receiver import Received
from tests.telemetry.prometheus import asked, needs_prometheus
from tests.telemetry.served import Server, until

pytestmark = [needs_prometheus, pytest.mark.slow]

SCRAPE_S: Final = 0.25
ALL: Final[Mapping[str, str]] = {}
ONE: Final = {
    "operation": OPERATION,
    "priority": "normal",
    "source": "narrate",
    "level": "info",
    "route": "/v1/jobs/{job_id}",
}
"""One value of each variable; every panel has data for them, too."""

IMMEDIATE: Final = {
    "NarratorCancellationsDoNotStop",
    "NarratorNarrationDropping",
    "NarratorLoopBlocked",
}
"""The alerts that fire at once; the others wait for minutes, see rules_test.yml."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there when the load is over, from `began` to `ended` (Unix seconds)."""

    server: Server
    address: str
    spans: list[Received]
    began: float
    ended: float

    def series(self, expression: str) -> list[dict[str, Any]]:
        """What a panel would draw."""
        found: list[dict[str, Any]] = asked(
            self.address,
            "query_range",
            query=expression,
            start=str(self.began),
            end=str(self.ended),
            step=str(SCRAPE_S),
        )["result"]
        return found

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        """The dots on it."""
        found = asked(
            self.address,
            "query_exemplars",
            query=expression,
            start=str(self.began),
            end=str(self.ended),
        )
        return [exemplar["labels"] for each in found for exemplar in each["exemplars"]]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """A server under load, scraped all the while."""
    folder = tmp_path_factory.mktemp("observed")
    with scraped(folder, interval_s=SCRAPE_S) as (
        server,
        receiver,
        address,
    ):
        began = time.time()
        run(server, receiver, folder)
        yield Observed(server, address, list(receiver.spans), began, time.time())


def numbers(series: list[dict[str, Any]]) -> list[float]:
    """All finite values."""
    found = (float(value) for each in series for _, value in each["values"])
    return [value for value in found if math.isfinite(value)]


@pytest.mark.parametrize("chosen", [ALL, ONE], ids=["all", "one"])
def test_every_query_of_every_panel_gives_numbers(
    observed: Observed, chosen: Mapping[str, str]
) -> None:
    empty, absurd = [], []
    for shown, target in expressions():
        expression = filled_in(target["expr"], chosen)
        values = numbers(observed.series(expression))
        if not values or max(values) <= 0:
            empty.append(f"{shown.name}: {expression}")
        elif min(values) < 0:
            absurd.append(f"{shown.name}: {min(values)} {expression}")

    assert (empty, absurd) == ([], [])


def test_no_share_is_above_the_whole(observed: Observed) -> None:
    shares = [
        max(numbers(observed.series(filled_in(target["expr"], ALL))))
        for shown, target in expressions()
        if shown.panel["fieldConfig"]["defaults"]["unit"] == "percentunit"
    ]

    assert len(shares) == 4
    assert max(shares) <= 1


@pytest.mark.parametrize("uid", ["narrator-jobs", "narrator-narration", "narrator-service"])
def test_every_variable_finds_the_value_that_is_chosen(observed: Observed, uid: str) -> None:
    for variable in read(uid)["templating"]["list"]:
        asks = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
        if asks:
            match = f"{asks[1]}_count" if asks[1].endswith("answer_seconds") else asks[1]
            found = asked(observed.address, f"label/{asks[2]}/values", **{"match[]": match})

            assert ONE[variable["name"]] in found


def test_exemplars_lead_to_jobs_and_their_traces(observed: Observed) -> None:
    asked_for = [
        filled_in(target["expr"], chosen)
        for chosen in (ALL, ONE)
        for _, target in expressions()
        if target["exemplar"]
    ]
    exported = {each.span.trace_id.hex() for each in observed.spans}
    for expression in asked_for:
        found = observed.exemplars(expression)
        job = found[0]

        assert observed.server.record(job["job_id"])["trace_id"] == job["trace_id"]
        assert exported & {each["trace_id"] for each in found}
    assert len(asked_for) == 4


def test_what_narrator_serves_is_where_links_lead(observed: Observed) -> None:
    urls = {link["url"] for shown in panels() for link in shown.links}
    ours = {url.removeprefix("${narrator}") for url in urls if url.startswith("${narrator}/")}
    asks = observed.server.client.get
    for url in ours:
        page = url.replace("${__field.labels.operation}", OPERATION)
        listed = asks(page.replace("/", "/v1/jobs", 1))

        assert asks(page).headers["content-type"].startswith("text/html")
        assert listed.status_code == 200, "the console asks this of the API"
        assert OPERATION not in page or listed.json()["total"] > 0
    assert len(ours) > 5


def test_what_links_search_for_is_in_traces(observed: Observed) -> None:
    urls = {link["url"] for shown in panels() for link in shown.links}
    names = {each.span.name for each in observed.spans}
    searches = [searched_for(url) for url in urls if url.startswith("/explore?")]
    for search in searches:
        assert search["service"] == SCOPE
        assert search.get("operation", f"job {OPERATION}") in names
        for tag in search.get("tags", "").split():
            assert any(_has(each, *tag.split("=")) for each in observed.spans), tag
    assert {each.resource["service.name"] for each in observed.spans} == {SCOPE}
    assert len(searches) > 5


def searched_for(url: str) -> dict[str, Any]:
    """The query of a link to Explore, once Grafana has filled in its variables."""
    filled = url.replace("${__field.labels.operation}", OPERATION)
    filled = filled.replace("${__from}", "1").replace("${__to}", "2")
    assert "$" not in filled
    pane = json.loads(parse_qs(urlsplit(filled).query)["panes"][0])["traces"]
    (query,) = pane["queries"]
    assert pane["datasource"] == query["datasource"]["uid"] == "jaeger"
    assert pane["range"] == {"from": "1", "to": "2"}
    found: dict[str, Any] = query
    return found


def _has(received: Received, name: str, value: str) -> bool:
    """Whether a search of Jaeger for this tag finds the span; `error` is what it makes of ERROR."""
    if name == "error":
        return bool(received.span.status.code == Status.STATUS_CODE_ERROR)
    return json.dumps(received.attributes.get(name)).strip('"') == value


def test_prometheus_evaluates_every_rule_and_those_at_once_fire(observed: Observed) -> None:
    def fired() -> bool:
        found = asked(observed.address, "alerts")["alerts"]
        return {each["labels"]["alertname"] for each in found if each["state"] == "firing"} >= (
            IMMEDIATE
        )

    until(fired, "the alerts")
    rules = asked(observed.address, "rules")["groups"][0]["rules"]
    told = [each["annotations"] for rule in rules for each in rule["alerts"]]

    assert {rule["health"] for rule in rules} == {"ok"}
    assert not any("lastError" in rule for rule in rules)
    assert not any(word in json.dumps(told) for word in ("<error", "<no value>", "{{"))


def test_promtool_finds_no_fault_with_what_was_scraped(observed: Observed) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=observed.server.metrics(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stderr + checked.stdout) == (0, "")

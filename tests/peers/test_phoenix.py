"""A job of each outcome, found again through the API of a trace backend: `make test-peers`.

What is compared with is `/trace`, which tests/telemetry compares with what an OTLP receiver got.
Phoenix keeps no links: of a repeated job its API shows the attribute alone, and that the link is
sent is proven there and in test_jaeger_stats.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from telemetry import names
from tests.peers.backend import Phoenix, running_phoenix
from tests.telemetry.outcomes import OUTCOMES, Record
from tests.telemetry.served import Caller, Server, nodes_of, serving, until

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

ROUNDED: Final = 1.5e-6  # Phoenix keeps times as floating-point seconds, rounded to microseconds

LISTENS: Final = "0A"  # of /proc/net/tcp
LOOPBACK: Final = "0100007F"
IPV4_IN_IPV6: Final = "0000000000000000FFFF0000"


@dataclass(frozen=True, slots=True)
class Found:
    """A job that has ended: its spans as our server shows them, and as Phoenix does."""

    record: Record
    caller: Caller
    ours: dict[str, dict[str, Any]]
    theirs: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    with running_phoenix(tmp_path_factory.mktemp("phoenix")) as phoenix:
        yield phoenix


@pytest.fixture(scope="module")
def server(phoenix: Phoenix, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, OTEL_EXPORTER_OTLP_ENDPOINT=phoenix.url) as server:
        yield server


@pytest.fixture(scope="module", params=list(OUTCOMES))
def found(
    request: pytest.FixtureRequest,
    phoenix: Phoenix,
    server: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Found:
    caller = Caller.new()
    folder = tmp_path_factory.mktemp("run")
    return find(phoenix, server, OUTCOMES[request.param](server, caller, folder), caller)


def find(phoenix: Phoenix, server: Server, record: Record, caller: Caller) -> Found:
    """The job in both views, once all its spans and that of its request have arrived."""
    ours = {node["span_id"]: node for node in nodes_of(server.trace(record["id"])["spans"])}

    def look() -> dict[str, dict[str, Any]] | None:
        theirs = phoenix.spans(caller.trace_id)
        return theirs if len(theirs) > len(ours) else None

    return Found(record, caller, ours, until(look, "all spans"))


def test_every_span_is_found_and_no_other_but_the_requests(found: Found) -> None:
    beside = {each["name"] for key, each in found.theirs.items() if key not in found.ours}

    assert found.ours.keys() < found.theirs.keys()
    assert beside == {"POST /v1/jobs"}


def test_every_span_has_its_name_parent_status_and_attributes(found: Found) -> None:
    for key, node in found.ours.items():
        span = found.theirs[key]
        assert span["name"] == node["name"]
        assert span["parent_id"] == node["parent_span_id"]
        assert span["status_code"].lower() == node["status"]["code"]
        assert span["status_message"] == node["status"].get("description", "")
        assert span["attributes"] == node["attributes"]
        assert span["context"]["trace_id"] == node["trace_id"] == found.record["trace_id"]
    assert found.theirs[job_of(found)]["parent_id"] == found.caller.span_id


def test_every_span_has_its_events_with_their_attributes_in_order(found: Found) -> None:
    for key, node in found.ours.items():
        events = found.theirs[key]["events"]
        assert [(each["name"], each["attributes"]) for each in events] == [
            (each["name"], each["attributes"]) for each in node["events"]
        ]
        for theirs, ours in zip(events, node["events"], strict=True):
            assert apart(theirs["timestamp"], ours["at"]) < ROUNDED


def test_every_span_has_its_times(found: Found) -> None:
    for key, node in found.ours.items():
        assert apart(found.theirs[key]["start_time"], node["start"]) < ROUNDED
        assert apart(found.theirs[key]["end_time"], node["end"]) < ROUNDED


def test_a_repeated_job_is_found_by_the_job_that_it_repeats(
    phoenix: Phoenix, server: Server
) -> None:
    first, caller = server.run("coroutine"), Caller.new()
    answer = server.client.post(f"/v1/jobs/{first['id']}/retry", headers=caller.headers)
    found = find(phoenix, server, server.ended(answer.json()["id"]), caller)
    key = job_of(found)

    assert found.theirs[key]["attributes"][names.JOB_RETRY_OF] == first["id"]
    (link,) = found.ours[key]["links"]
    assert link["trace_id"] == first["trace_id"]
    assert "links" not in found.theirs[key]


def test_phoenix_listens_on_loopback_alone(phoenix: Phoenix) -> None:
    assert listening(phoenix.pid) == {LOOPBACK}


def job_of(found: Found) -> str:
    """The id of the job's own span."""
    name = f"{names.SPAN_JOB} {found.record['operation']}"
    (key,) = [key for key, node in found.ours.items() if node["name"] == name]
    return key


def apart(one: str, other: str) -> float:
    """Seconds between two times."""
    return abs((datetime.fromisoformat(one) - datetime.fromisoformat(other)).total_seconds())


def listening(pid: int) -> set[str]:
    """The addresses that a process of Linux listens on, as its kernel writes them."""
    held = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {
        row[1].partition(":")[0].removeprefix(IPV4_IN_IPV6)
        for row in rows
        if row[3] == LISTENS and f"socket:[{row[9]}]" in held
    }

"""The file for Jaeger, read and written again by `jaeger-stats`, a reader in Rust of such files.

Its types are strict: a field that is missing or of another type ends it. Its numbers are not: a
fraction may come back different in its last digit. Its second tool, which counts calls, stops at
the tags of a process that OpenTelemetry's resources have.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.backend import PEERS
from tests.telemetry.outcomes import OUTCOMES
from tests.telemetry.served import Caller, Server, serving

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


def read_back(folder: Path, file: Any) -> Any:
    """What jaeger-stats makes of the only trace of `file`."""
    (folder / "trace.json").write_text(json.dumps(file))
    subprocess.run([PEERS / "show_traces", folder], check=True, capture_output=True)
    (written,) = (folder / "Jaeger").glob("*.json")
    return without_last_digits(written.read_text())


def without_last_digits(text: str) -> Any:
    """JSON with its fractions to twelve digits."""
    return json.loads(text, parse_float=lambda number: float(f"{float(number):.12g}"))


@pytest.mark.parametrize("outcome", list(OUTCOMES))
def test_the_file_is_read_whole(server: Server, tmp_path: Path, outcome: str) -> None:
    record = OUTCOMES[outcome](server, Caller.new(), tmp_path)
    file = server.trace(record["id"], format="jaeger")
    folder = tmp_path / "files"
    folder.mkdir()

    assert read_back(folder, file)["data"] == without_last_digits(json.dumps(file))["data"]


def test_a_repeated_job_follows_the_one_that_it_repeats(server: Server, tmp_path: Path) -> None:
    first = server.run("coroutine")
    again = server.client.post(f"/v1/jobs/{first['id']}/retry").json()
    file = server.trace(server.ended(again["id"])["id"], format="jaeger")
    (trace,) = read_back(tmp_path, file)["data"]

    followed = [
        reference["traceID"]
        for span in trace["spans"]
        for reference in span["references"]
        if reference["refType"] == "FOLLOWS_FROM"
    ]
    assert followed == [first["trace_id"]]

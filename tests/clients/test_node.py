"""npm's `eventsource` on Node.js, which reconnects by itself as browsers do."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.server import WAIT_S, ServerProcess, serving

HERE = Path(__file__).parent
pytestmark = pytest.mark.node

Listen = Callable[[str], Iterator[dict[str, Any]]]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts `listener.mjs` on an address and gives what it sees."""
    node = shutil.which("node")
    assert node is not None, "Node.js is not installed: on Debian, apt-get install nodejs npm"
    package = HERE / "node_modules" / "eventsource"
    assert package.is_dir(), f"eventsource is not installed: npm ci --prefix {HERE.name}"
    started: list[subprocess.Popen[str]] = []

    def run(address: str) -> Iterator[dict[str, Any]]:
        process = subprocess.Popen(
            # The bound: it kills itself where nobody else does.
            ["timeout", str(int(WAIT_S)), node, str(HERE / "listener.mjs"), address],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return (json.loads(line) for line in process.stdout)

    yield run
    for process in started:
        process.terminate()
        process.communicate()


def test_it_gets_the_story_live_and_stops_after_the_end(
    server: ServerProcess, listen: Listen, gate: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate), "after": 50})
    heard: list[dict[str, Any]] = []
    last: dict[str, Any] = {}

    for last in listen(server.url + job["links"]["stream"]):
        if "event" in last:
            heard.append(last)
            if "before 0" in last["data"]:
                gate.touch()
        if "closed" in last:
            break

    data = [json.loads(each["data"]) for each in heard]
    assert [each["seq"] for each in data] == list(range(1, len(heard) + 1))
    assert [each["id"].rpartition(".")[2] for each in heard] == [str(each["seq"]) for each in data]
    assert heard[-1]["event"] == "end"
    assert last == {"closed": 204}
    assert "error" not in {each["event"] for each in heard}


def test_it_comes_back_when_a_draining_server_closes_and_misses_nothing(
    listen: Listen, gate: Path
) -> None:
    with serving(drain_s=WAIT_S) as server:
        job = server.submit("gated", params={"gate": str(gate), "before": 3, "after": 3})
        heard: list[dict[str, Any]] = []
        opened = 0

        for seen in listen(server.url + job["links"]["stream"]):
            opened += "opened" in seen
            if opened == 2:
                gate.touch()
            if "event" in seen:
                heard.append(seen)
                if "before 2" in seen["data"]:
                    server.process.terminate()
                if seen["event"] == "end":
                    break

    numbered = [json.loads(each["data"])["seq"] for each in heard if each["event"] != "draining"]
    assert numbered == list(range(1, len(numbered) + 1))
    assert [each["event"] for each in heard].count("draining") == 1
    assert heard[-1]["event"] == "end"

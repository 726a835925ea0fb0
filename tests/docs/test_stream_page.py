"""narration/STREAM.md as a test: its commands are run, and every name in it exists."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.http.durable import LONG_POLL_S, MOST_LONG_POLL_S
from app.http.stream import StreamToken
from app.service import Narrator
from app.settings import ENVIRONMENT_PREFIX, Settings
from narration.durable import SEGMENT_BYTES, SEGMENT_EVENTS
from narration.events import (
    EndEvent,
    Event,
    NarrationEvent,
    OutputEvent,
    ProgressEvent,
    StateEvent,
)
from narration.view import Draining, Gap
from telemetry.names import GapReason, StreamEvent
from tests.clients.keyed import keyed
from tests.clients.page import PAGE, block, blocks
from tests.clients.server import WAIT_S, serving

TEXT: Final = PAGE.read_text(encoding="utf-8")
ADDRESS: Final = "http://127.0.0.1:8000"
TELLING: Final = (EndEvent, NarrationEvent, OutputEvent, ProgressEvent, StateEvent)
_NEXT: Final = "--- next block ---"


def rows(header: str) -> list[list[str]]:
    """The cells of the table under `header`."""
    _, found, rest = TEXT.partition(f"{header}\n")
    assert found, header
    lines = rest.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What each block of commands prints, run one after the other in one shell."""
    bash = shutil.which("bash")
    assert bash is not None
    with serving([]) as server:
        script = f"echo '{_NEXT}'\n".join(blocks("bash")).replace(ADDRESS, server.url)
        done = subprocess.run(
            [bash, "-euo", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            cwd=tmp_path_factory.mktemp("page"),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield done.stdout.split(f"{_NEXT}\n")


def test_the_story_is_printed_live(printed: list[str]) -> None:
    assert re.match(r"retry: \d+\nid: \w+\.1\nevent: narration\ndata: {\"seq\":1,", printed[1])
    assert "event: end" in printed[1]


def test_a_stream_goes_on_after_the_last_event_that_was_had(printed: list[str]) -> None:
    assert re.search(r"^id: \w+\.4$", printed[2], re.MULTILINE)
    assert not re.search(r"^id: \w+\.3$", printed[2], re.MULTILINE)


def test_who_has_all_of_it_is_told_to_stop(printed: list[str]) -> None:
    assert printed[3] == "204\n"


def test_a_wrong_value_is_told_with_the_legal_ones(printed: list[str]) -> None:
    assert '"status":422' in printed[4]
    assert '"legal":{"format":["json","text","ndjson"]}' in printed[4]


def test_the_other_formats_are_as_described(printed: list[str]) -> None:
    text, _, lines = printed[5].partition("data: [DONE]\n\n")

    assert "“5,” said the clock." in text
    assert re.search(r"^data: \[.{10}\] .{15}: ", text, re.MULTILINE)
    assert all(line.startswith('{"id":') for line in lines.splitlines())
    assert lines.count("\n") == 3


def test_reads_of_a_durable_stream_are_as_described(printed: list[str]) -> None:
    caught_up, head, end, events = re.split(r"(?=HTTP/1\.1 )|(?=event: data\n)", printed[6])[1:]

    assert "stream-up-to-date: true" in caught_up.lower()
    assert '{"event":"state","seq":2,' in caught_up
    assert "stream-closed: true" in head.lower()
    assert end.startswith("HTTP/1.1 204")
    assert '"streamClosed":true' in events


def test_the_story_so_far_is_printed(printed: list[str]) -> None:
    assert printed[7].startswith('{"epoch":"')
    assert '"first":1,' in printed[7]


def test_every_block_of_commands_has_its_test(printed: list[str]) -> None:
    assert len(printed) == len(blocks("bash")) == 8


def test_the_members_of_each_event_are_all_and_only_those_that_there_are() -> None:
    shown = {
        name.strip("`"): [each.strip() for each in members.strip("`").split(",")]
        for name, members, _ in rows("| event | `data` | |")
    }
    of_the_log = set(Event.__struct_fields__)
    there_are = {kind.name.value: set(kind.__struct_fields__) - of_the_log for kind in TELLING} | {
        StreamEvent.GAP.value: {"from", "to", "reason"},
        StreamEvent.DRAINING.value: set(Draining.__struct_fields__),
    }

    assert {name: {each.rstrip("?") for each in members} for name, members in shown.items()} == (
        there_are
    )
    assert set(there_are) == set(StreamEvent)
    assert len(Gap.__struct_fields__) == 3


def test_the_reasons_of_gaps_are_all_and_only_those_that_there_are() -> None:
    assert {name.strip("`") for name, _ in rows("| reason | |")} == set(GapReason)


@pytest.fixture(scope="module")
def parameters() -> Mapping[str, Any]:
    """The query of a job's stream, as our own OpenAPI document has it."""
    document: dict[str, Any] = Narrator([]).application.openapi()
    call = document["paths"]["/v1/jobs/{job_id}/stream"]["get"]
    return {each["name"]: each["schema"] for each in call["parameters"] if each["in"] == "query"}


def test_the_query_is_all_and_only_what_there_is(parameters: Mapping[str, Any]) -> None:
    shown = {
        cells[0].partition("=")[0].strip("`"): re.findall(r"`(?:\w+=)?(\w+)`", cells[0])
        for cells in rows("| query | |")
    }
    of_durable_reads = {"offset", "live", "cursor", "timeout"}

    assert set(shown) | of_durable_reads == set(parameters)
    for name, values in shown.items():
        if "enum" in parameters[name]:
            assert values == parameters[name]["enum"]
    for name in of_durable_reads:
        assert f"{name}=" in TEXT
    for mode in parameters["live"]["enum"]:
        assert f"live={mode}" in TEXT


def test_the_bounds_that_it_names_are_the_true_ones() -> None:
    assert f"{SEGMENT_EVENTS:,} events or {SEGMENT_BYTES // 1024} KiB" in TEXT
    assert f"204 after {LONG_POLL_S:g} seconds" in TEXT
    assert f"`timeout=SECONDS`, up to {MOST_LONG_POLL_S:g}" in TEXT
    assert f"after {Settings().heartbeat_s:g} seconds of silence" in TEXT


def test_a_token_is_made_by_the_command_and_opens_the_stream_it_names(tmp_path: Path) -> None:
    with keyed(tmp_path) as closed:
        job = closed.server.submit("talk")
        done = subprocess.run(
            ["bash", "-c", block("sh")],
            env={"JOB": f"{closed.server.url}/v1/jobs/{job['id']}", "KEY": closed.keys["reader"]},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        )
        told = json.loads(done.stdout)
        story = httpx.get(closed.server.url + told["stream"], timeout=WAIT_S)  # without a key

    assert set(told) == set(json.loads(block("json"))) == set(StreamToken.model_fields)
    assert told["stream"] == f"/v1/jobs/{job['id']}/stream?token={told['token']}"
    assert (story.status_code, "[DONE]" in story.text) == (200, True)


def test_a_token_lasts_as_long_as_it_says() -> None:
    assert Settings().stream_token_s == 60
    assert "for a minute (`NARRATOR_STREAM_TOKEN_S`)" in TEXT


def test_every_variable_exists() -> None:
    ours = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields}

    assert set(re.findall(r"NARRATOR_[A-Z_]+", TEXT)) <= ours


def test_its_page_in_javascript_is_as_short_as_it_says() -> None:
    (page,) = blocks("html")
    script = page.partition("<script")[2].partition("</script>")[0]

    assert len(script.strip().splitlines()) <= 21
    assert Path(PAGE).name == "STREAM.md"

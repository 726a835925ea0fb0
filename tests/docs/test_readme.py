"""The README as a test: its code is run, and every name in it exists."""

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import httpx
import opentelemetry.sdk.environment_variables as otel_variables
import pytest
from typer.main import get_command

from app.cli.main import application as command_line
from app.handlers.context import JobContext
from app.handlers.options import Options
from app.jobs.submission import RetryOptions, Submission
from app.service import Narrator
from app.settings import CLIENT_VARIABLES, ENVIRONMENT_PREFIX, Settings
from telemetry.names import Kind, Level, MetricName, StreamEvent
from tests.clients.server import WAIT_S, ServerProcess, serving, until

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS: Final = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "app/COMPARED.md",
    "app/OPERATING.md",
    "narration/STREAM.md",
    "app/handlers/README.md",
)
ADDRESS: Final = "http://127.0.0.1:8000"
INSTRUMENTATION: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
"""What the packages of instrumentation obey, and the SDK does not name."""

FILES: Final = 300
"""Enough that the first of them is no whole percent."""

_FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_DURATION: Final = re.compile(r"\b\d+(\.\d+)? (µs|ms|s)\b")
_SIZE: Final = re.compile(r"\b\d+(\.\d+)? (B|kB|MB)\b")
_NUMBER: Final = re.compile(r"\b\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a console block, and the lines that the README shows of its output."""

    command: str
    output: list[str]


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of `language`, in order."""
    return [code for name, code in _FENCE.findall(document) if name == language]


def block(language: str, containing: str) -> str:
    """The one fenced block of `language` that has `containing` in it."""
    (found,) = [code for code in blocks(README, language) if containing in code]
    return found


def steps(console: str) -> list[Step]:
    """The commands of a console block; a backslash continues one."""
    found: list[Step] = []
    for line in console.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append(Step(line.removeprefix("$ "), []))
        elif line:
            found[-1].output.append(line)
    return found


def code(text: str) -> str:
    """All that a document has in code, inline or fenced."""
    fenced = [block for _, block in _FENCE.findall(text)]
    return "\n".join([*_SPAN.findall(_FENCE.sub("", text)), *fenced])


def line_with(beginning: str) -> str:
    """The one line of the README that begins so."""
    (found,) = [line for line in README.splitlines() if line.startswith(beginning)]
    return found


def table_rows(header: str) -> list[list[str]]:
    """The cells of the table under `header`."""
    _, _, rest = README.partition(f"{header}\n")
    rows = rest.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def normal(text: str) -> str:
    """`text` without what differs from run to run."""
    for pattern, word in ((_UUID, "ID"), (_TIME, "TIME"), (_DURATION, "DURATION")):
        text = pattern.sub(word, text)
    return text


def environment(*folders: Path) -> dict[str, str]:
    """The environment of a user who has set nothing, and can import from `folders`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NARRATOR_", "OTEL_"))
    }
    return kept | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *folders)))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder, with the README's jobs.py in it."""
    (tmp_path / "jobs.py").write_text(block("python", '@operation("render"'), encoding="utf-8")
    return tmp_path


@contextmanager
def application(folder: Path, module: str) -> Iterator[httpx.Client]:
    """`module` of `folder`, served by uvicorn as anyone would."""
    said = folder / "uvicorn.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", f"{module}:application", "--port", "0"],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    running = re.compile(r"running on (http://127\.0\.0\.1:\d+)")
    try:
        until(lambda: running.search(said.read_text()), what="uvicorn", within_s=WAIT_S)
        found = running.search(said.read_text())
        assert found
        with httpx.Client(base_url=found[1], timeout=WAIT_S, trust_env=False) as client:
            yield client
        assert "Traceback" not in said.read_text()
    finally:
        process.terminate()
        process.wait(WAIT_S)


def markers(client: httpx.Client, stream: str) -> list[str]:
    """Read a stream of JSON events to its end; the texts of its messages, then its marker."""
    told: list[str] = []
    with client.stream("GET", stream) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                told += [data[key] for key in ("text", "marker") if data.get(key)]
    return told


# --- what it shows is what happens ------------------------------------------------------------


def test_the_demo_prints_what_the_readme_shows() -> None:
    shown = block("text", "narrator: a server runs on").splitlines()
    with tempfile.TemporaryDirectory() as folder:  # a short name: lines are not wrapped
        for number in range(FILES):
            Path(folder, f"{number}.txt").write_text(str(number), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "app.cli.main", "demo", folder],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
            cwd=ROOT,
            env=environment(),
        )

    expected = [_demo_line(line, "/home/ada/job-narrator") for line in shown]
    printed = [_demo_line(line, folder) for line in done.stdout.splitlines()]
    assert set(expected) <= set(printed)
    remaining = iter(printed)
    in_order = [line for line in expected if "progress" not in line]
    assert [line for line in in_order if line in remaining] == in_order


def _demo_line(line: str, folder: str) -> str:
    line = _SIZE.sub("SIZE", normal(line.replace(folder, "FOLDER")))
    return _NUMBER.sub("N", line).strip()


def test_the_first_operation_is_served_and_tells_the_story_that_the_readme_shows(
    folder: Path,
) -> None:
    serve, submit, follow = steps(block("console", "narrator serve jobs.py\n"))

    assert serve.command == ".venv/bin/narrator serve jobs.py"
    with serving(["jobs.py"], cwd=folder) as server:
        assert serve.output == [f"narrator: listening on {ADDRESS}"]
        submitted = _run(submit.command, server)
        _assert_submitted(submitted, submit.output)
        (shown_id,) = set(_UUID.findall(follow.command))
        job_id = json.loads(submitted)["id"]
        told = _run(follow.command.replace(shown_id, job_id), server)

    lines = [normal(line) for line in told.splitlines() if line.startswith("data: ")]
    assert lines == [normal(line) for line in follow.output]


def _run(command: str, server: ServerProcess) -> str:
    assert ADDRESS in command
    done = subprocess.run(
        ["bash", "-c", command.replace(ADDRESS, server.url)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
        env={**environment(), "no_proxy": "127.0.0.1"},
    )
    return done.stdout


def _assert_submitted(printed: str, shown: list[str]) -> None:
    """The parts between the dots are all there, in order."""
    rest = normal(printed)
    for part in normal("".join(shown)).split("…"):
        assert part.strip() in rest
        _, _, rest = rest.partition(part.strip() or rest[:1])


def test_the_program_prints_the_story_and_the_result(folder: Path) -> None:
    (folder / "program.py").write_text(block("python", "from app.client import"), encoding="utf-8")
    with serving([folder / "jobs.py"], cwd=folder) as server:
        ended = subprocess.run(
            [sys.executable, "program.py"],
            cwd=folder,
            env={**environment(), "NARRATOR_SERVER": server.url},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    said = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "render: Loading forest" in said
    assert said[-1] == "{'frames': 3}"
    assert "forest.mp4" in said


def test_the_commands_say_what_the_readme_shows(folder: Path) -> None:
    refused, listed = block("console", "narrator run render frames=three").split("\n\n")

    def narrator(*arguments: str, server: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli.main", *arguments],
            cwd=folder,
            env={**environment(), "NARRATOR_SERVER": server},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    with serving([folder / "jobs.py"], cwd=folder) as server:
        ran = narrator("run", "render", "scene=forest", "frames=3", server=server.url)
        wrong = narrator("run", "render", "frames=three", server=server.url)
        table = narrator("ls", server=server.url)
        command = narrator("exec", "--", "sh", "-c", "echo out; exit 3", server=server.url)

    assert (ran.returncode, "Loading forest" in ran.stdout) == (0, True)
    assert (wrong.returncode, wrong.stderr) == (2, refused.partition("\n")[2] + "\n")
    assert table.stdout.splitlines()[0].split() == listed.splitlines()[1].split()
    assert (command.returncode, command.stdout) == (3, "out\n")


def test_a_key_opens_a_closed_server_as_the_readme_shows(folder: Path) -> None:
    create, serve = steps(block("console", "narrator keys create"))
    listing, run, revoke = steps(block("console", "narrator keys list"))
    assert serve.command == "narrator serve --host 0.0.0.0 --keys keys.toml jobs.py"

    def narrator(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli.main", *shlex.split(command.partition("narrator ")[2])],
            cwd=folder,
            env={**environment(), **variables},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    key = narrator(create.command).stdout.strip()
    listed = narrator(listing.command)
    shown_id = listing.output[1].split()[0]
    key_id = key.split("_")[1]
    assert listed.stdout.replace(key_id, shown_id).splitlines() == listing.output
    with serving(["jobs.py"], cwd=folder, keys=folder / "keys.toml") as server:
        refused = narrator(run.command, NARRATOR_SERVER=server.url)
        ran = narrator(run.command, NARRATOR_SERVER=server.url, NARRATOR_KEY=key)
        revoked = narrator(revoke.command.replace(shown_id, key_id))

    assert (refused.returncode, refused.stdout) == (3, "")
    assert (ran.returncode, "Loading forest" in ran.stdout) == (0, True)
    assert revoked.stdout == f"{key_id}  revoked\n"


def test_the_first_operation_has_a_schema_another_voice_and_a_refusal_that_names_the_field(
    folder: Path,
) -> None:
    with serving(["jobs.py"], cwd=folder) as server:
        operations = server.client.get("/v1/operations").text
        refused = server.client.post(
            "/v1/jobs", json={"operation": "render", "params": {"scene": "sea", "frames": "many"}}
        )
        job = server.submit("render", params={"scene": "sea", "frames": 1})
        cute = server.client.get(f"/v1/jobs/{job['id']}/stream?format=text&mode=cute").text

    assert '"scene"' in operations
    assert refused.status_code == 422
    assert "frames" in refused.text
    assert "Waking sea up" in cute


def test_the_test_of_an_operation_passes(folder: Path) -> None:
    (folder / "test_jobs.py").write_text(block("python", "run_operation"), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_mounted_narrator_streams_what_the_application_submitted(folder: Path) -> None:
    (folder / "films.py").write_text(block("python", "application.mount"), encoding="utf-8")

    with application(folder, "films") as client:
        answer = client.post("/films", params={"scene": "forest"})
        told = markers(client, answer.json()["story"])

    assert "Loading forest" in told
    assert told[-1] == "[DONE]"


def test_narration_needs_no_job_server(tmp_path: Path) -> None:
    (tmp_path / "imports.py").write_text(block("python", "narration.respond"), encoding="utf-8")

    with application(tmp_path, "imports") as client:
        answer = client.post("/imports/barn")
        told = markers(client, answer.json()["story"])

    assert "Reading barn" in told
    assert told[-1] == "[DONE]"


# --- what it names exists ---------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_a_document_links_to_exists(name: str) -> None:
    links = set(re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")))

    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_that_a_document_names_exists(name: str) -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", code((ROOT / name).read_text(encoding="utf-8"))))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert name != "README.md" or "demo" in named


def test_every_command_exists() -> None:
    named = set(re.findall(r"\bnarrator ([a-z]+)\b", code(README)))
    commands: dict[str, Any] = vars(get_command(command_line))["commands"]

    assert "serve" in named
    assert named <= set(commands)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_variable_and_metric_that_a_document_names_exists(name: str) -> None:
    document = (ROOT / name).read_text(encoding="utf-8")
    ours = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields}
    compose = set(re.findall(r"\$\{(NARRATOR_[A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))

    assert set(re.findall(r"NARRATOR_[A-Z_]+", document)) <= ours | CLIENT_VARIABLES | compose
    assert set(re.findall(r"OTEL_[A-Z_]+", document)) <= {*vars(otel_variables), INSTRUMENTATION}
    assert set(re.findall(r"`(narrator_[a-z_]+)`", document)) <= {each.value for each in MetricName}


def test_the_kinds_of_messages_are_all_and_only_those_that_there_are() -> None:
    rows = table_rows("| source | `kind` | what reaches the stream |")

    assert {kind for row in rows for kind in _SPAN.findall(row[1])} == set(Kind)


def test_the_events_of_a_stream_are_all_and_only_those_that_there_are() -> None:
    words = re.findall(r"`([a-z]+)`", line_with("- **Events**"))

    assert set(words) - {"error"} == set(StreamEvent)
    assert "error" not in set(StreamEvent)


@pytest.fixture(scope="module")
def paths() -> Mapping[str, Any]:
    """The paths of our own OpenAPI document."""
    document: dict[str, Any] = Narrator([]).application.openapi()
    return {re.sub(r"\{\w+\}", "{id}", path): calls for path, calls in document["paths"].items()}


def _parameters(call: Mapping[str, Any]) -> dict[str, Any]:
    return {each["name"]: each["schema"] for each in call["parameters"] if each["in"] == "query"}


def test_the_query_of_a_stream_is_as_documented(paths: Mapping[str, Any]) -> None:
    documented = _parameters(paths["/v1/jobs/{id}/stream"]["get"])
    shown = dict(re.findall(r"`(\w+)=([^`]+)`", line_with("- **Query**")))

    of_durable_reads = {"offset", "live", "cursor", "timeout"}  # narration/STREAM.md has them
    assert {*shown, "last_event_id"} == set(documented) - of_durable_reads
    assert "`last_event_id`" in line_with("- **Replay")
    for name, values in shown.items():
        if "enum" in documented[name]:
            assert values.split("|") == documented[name]["enum"]
    assert shown["level"].split("|") == [level.label for level in Level]


def test_the_calls_are_all_and_only_those_that_there_are(paths: Mapping[str, Any]) -> None:
    named: set[str] = {"GET /v1/jobs/{id}/narration", "GET /v1/jobs/{id}/trace"}
    for calls, _ in table_rows("| call | answer |"):
        method, job = "GET", ""
        for call in _SPAN.findall(calls):
            if " " in call:
                method, _, path = call.partition(" ")
                job = "/v1/jobs/{id}" if path.startswith("/v1/jobs/{id}/") else ""
                named.add(call)
            else:
                named.add(f"{method} {job}{call}")

    there_are = {f"{method.upper()} {path}" for path, calls in paths.items() for method in calls}
    assert named - {"GET /docs", "GET /"} == there_are  # pages, not calls
    assert Narrator([]).application.docs_url == "/docs"


def test_the_filters_of_a_list_are_all_and_only_those_that_there_are(
    paths: Mapping[str, Any],
) -> None:
    (answer,) = [row[1] for row in table_rows("| call | answer |") if row[0] == "`GET /v1/jobs`"]

    assert set(_SPAN.findall(answer)) == set(_parameters(paths["/v1/jobs"]["get"]))


def test_other_query_values_that_it_names_are_documented(paths: Mapping[str, Any]) -> None:
    formats = _parameters(paths["/v1/jobs/{id}/trace"]["get"])["format"]

    assert "`?format=otlp` or `jaeger`" in README
    assert {"otlp", "jaeger"} <= set(re.findall(r"\w+", json.dumps(formats)))
    assert "wait" in _parameters(paths["/v1/jobs/{id}"]["get"])


def test_the_fields_of_a_submission_are_all_and_only_those_that_there_are() -> None:
    text = line_with("A submission takes").partition("Errors are")[0]
    retry = re.findall(r"`retry \{([^}]+)\}`", text)[0].split(", ")
    words = {*re.findall(r"`(\w+)`", text), "retry"} - {"on_submit", "on_stream"}

    assert words == set(Submission.model_fields)
    assert set(retry) == set(RetryOptions.model_fields)


def test_what_a_handler_has_of_its_job_exists() -> None:
    named = re.findall(r"`(\w+)(?:\(([^)`]*)\))?`", line_with("- `job: JobContext`"))

    assert "progress" in dict(named)
    slots = set(JobContext.__slots__) | set(dir(JobContext))
    for name, parameters in named:
        assert name in slots, name
        if parameters:
            signature = inspect.signature(getattr(JobContext, name))
            assert [*signature.parameters][1:] == parameters.split(", ")


def test_options_of_an_operation_that_it_names_exist() -> None:
    (options,) = re.findall(
        r"^@operation\((.*)\)$", block("python", '@operation("render"'), re.MULTILINE
    )
    named = set(re.findall(r"(\w+)=", options))

    assert "timeout_s" in named
    assert named | {"disclose", "isolation"} <= {field.name for field in fields(Options)}


# --- its picture ------------------------------------------------------------------------------


def test_the_picture_is_small_and_loads_nothing() -> None:
    picture = (ROOT / ".github" / "demo.svg").read_text(encoding="utf-8")

    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(picture) < 60_000
    assert "<image" not in picture
    assert re.findall(r"(?:href|url)\s*[=(]\s*[\"']?(?!#|[\"'])\w+:", picture) == []

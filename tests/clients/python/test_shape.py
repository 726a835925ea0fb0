"""What the client is made of: it loads no server, and has the words of the server's contract."""

import json
import os
import re
import ssl
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

import app.client
from app.client import AsyncClient, Client, JobFilter, JobOptions, JobRecord, Operation, Patience
from app.client import events as ours
from app.client.address import DEFAULT_SERVER, SERVER_VARIABLE, server_url
from app.client.connection import Setup
from app.client.records import (
    Attempt,
    AttemptError,
    Cancel,
    Failure,
    JobPage,
    Overview,
    Progress,
    Waiting,
)
from app.engine import states
from app.http import jobs as http
from app.http import overview as http_overview
from app.http.operations import OperationDescription
from app.jobs import record as theirs
from app.jobs.job import submit
from app.jobs.policy import Policy
from app.jobs.submission import Submission
from app.settings import CLIENT_VARIABLES
from narration import events as narrated
from narration.view import Draining, Gap
from telemetry.names import StreamEvent
from tests.clients.server import ROOT, ServerProcess

SERVER_CODE = (
    *("fastapi", "starlette", "uvicorn", "sse_starlette", "pydantic", "prometheus_client"),
    *("opentelemetry.sdk", "narration"),
    *("app.engine", "app.http", "app.service", "app.settings", "app.handlers"),
)
PRELUDE = "import os, sys; sys.path.insert(0, os.environ['ROOT']); "


def alone(program: str, **environment: str) -> str:
    """What `program` prints in a fresh interpreter."""
    kept = {name: value for name, value in os.environ.items() if name != SERVER_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", PRELUDE + program],
        env={**kept, "ROOT": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def names(kind: type[Any]) -> set[str]:
    """The fields of a value from the wire as JSON names them, without what is only ours."""
    encoded = {each.encode_name for each in msgspec.structs.fields(kind)}
    return {name for name in encoded if not name.startswith("#")}


def test_it_loads_no_server() -> None:
    told = alone("import json; import app.client; print(json.dumps(sorted(sys.modules)))")

    loaded = json.loads(told)
    assert "httpx" in loaded
    assert [
        name
        for name in loaded
        if any(name == each or name.startswith(f"{each}.") for each in SERVER_CODE)
    ] == []


@pytest.mark.parametrize(
    ("mine", "server"),
    [
        (JobRecord, theirs.JobRecord),
        (Attempt, theirs.AttemptForm),
        (AttemptError, theirs.ErrorForm),
        (Progress, theirs.ProgressForm),
        (Failure, theirs.FailureForm),
        (Cancel, theirs.CancelForm),
        (Operation, OperationDescription),
        (Overview, http_overview.Overview),
        (Waiting, http_overview.Waiting),
        (JobPage, http.JobPage),
    ],
)
def test_a_record_has_the_fields_of_the_servers(mine: type[Any], server: type[Any]) -> None:
    assert names(mine) == set(server.model_json_schema()["properties"])


@pytest.mark.parametrize(
    ("mine", "server"),
    [
        (ours.StateEvent, narrated.StateEvent),
        (ours.NarrationEvent, narrated.NarrationEvent),
        (ours.ProgressEvent, narrated.ProgressEvent),
        (ours.OutputEvent, narrated.OutputEvent),
        (ours.EndEvent, narrated.EndEvent),
        (ours.GapEvent, Gap),
        (ours.DrainingEvent, Draining),
    ],
)
def test_an_event_has_the_fields_of_the_servers(mine: type[Any], server: type[Any]) -> None:
    assert names(mine) == names(server)


def test_a_state_of_the_feed_has_the_fields_of_the_servers() -> None:
    job = submit(
        Submission(operation="render"), job_id="j", policy=Policy(), now_ns=0, now_mono=0.0
    )

    assert names(ours.JobStateEvent) == {*json.loads(states.in_feed(job, 1, "at"))}


def test_every_event_of_the_stream_has_a_class() -> None:
    kinds = [kind for kind in vars(ours).values() if isinstance(kind, type)]

    named = {kind.name for kind in kinds if issubclass(kind, ours.Event) and hasattr(kind, "name")}
    assert named - {""} == set(StreamEvent)


def test_a_submission_may_say_what_the_server_takes() -> None:
    assert set(get_type_hints(JobOptions)) == set(Submission.model_fields) - {"operation", "params"}
    assert set(get_type_hints(JobFilter)) == set(http.ListQuery.model_fields) - {"limit", "cursor"}


def test_both_clients_have_the_same_calls_with_the_same_arguments() -> None:
    def shape(client: type[Any]) -> dict[str, list[str]]:
        return {
            name: [each for each in call.__annotations__ if each != "return"]
            for name, call in vars(client).items()
            if callable(call) and not name.startswith("_")
        }

    assert shape(Client) == shape(AsyncClient)


def test_type_checkers_may_use_its_types() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]

    for package in packages["targets"]["wheel"]["packages"]:
        assert (ROOT / package / "py.typed").exists()


def test_all_that_is_public_is_documented() -> None:
    assert sorted(app.client.__all__) == app.client.__all__
    assert [name for name in app.client.__all__ if not getattr(app.client, name).__doc__] == []
    assert all(f"`{each.name}`" in str(Patience.__doc__) for each in fields(Patience))


# --- where the server is --------------------------------------------------------------------------


def test_the_server_is_the_one_given_else_the_variables_else_this_machine() -> None:
    program = "from app.client import Client; print(Client({}).server)"
    there = {SERVER_VARIABLE: "https://there.test/jobs/"}

    assert alone(program.format("")).strip() == DEFAULT_SERVER
    assert alone(program.format(""), **there).strip() == "https://there.test/jobs"
    assert alone(program.format("'http://here.test'"), **there).strip() == "http://here.test"
    assert SERVER_VARIABLE in CLIENT_VARIABLES


@pytest.mark.parametrize(
    "address", ["", "localhost:8000", "ftp://a", "http://", "http://a?b", "http://a:port", "/a"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=f"server must be an address like {DEFAULT_SERVER}"):
        server_url(address)


def test_certificates_are_read_only_where_they_are_asked_for() -> None:
    plain = Setup(server="http://narrator.example").options()["verify"]

    assert isinstance(plain, ssl.SSLContext)
    assert plain.cert_store_stats()["x509"] == 0
    assert (plain.verify_mode, plain.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert Setup(server="https://narrator.example").options()["verify"] is True


def test_the_example_in_its_documentation_runs(server: ServerProcess, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", str(app.client.__doc__), re.DOTALL)
    assert '"render", {"scene": "forest", "frames": 3}' in example
    known = example.replace('"render", {"scene": "forest", "frames": 3}', '"talk", {}')

    told = alone(known, **{SERVER_VARIABLE: server.url})

    assert "talk: Hello\nyou\n" in told
    assert told.splitlines()[-1] == "{'ok': 1}"

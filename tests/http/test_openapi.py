"""Our own OpenAPI document, attacked by schemathesis: nothing gives a 5xx, all answers conform."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app import operation
from app.cli.server import Server, address_of, configuration, listen
from app.service import Narrator
from app.settings import Settings
from tests.plain_http import PLAIN

WAIT_S = 30


@operation("echo")
async def echo(value: Any = None, times: int = 1) -> Any:
    """Give back what was given."""
    return [value] * max(0, min(times, 3))


class Running:
    """A server in a thread of its own, since schemathesis calls it synchronously."""

    def __init__(self) -> None:
        self.sockets = listen("127.0.0.1", 0)
        self.url = address_of(self.sockets[0])
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        """Serve, and wait until connections are accepted."""
        self._thread.start()
        assert self._ready.wait(WAIT_S)

    def stop(self) -> None:
        """Drain, and wait for the end."""
        self._loop.call_soon_threadsafe(self._server.begin_drain)
        self._thread.join(WAIT_S)

    def _serve(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        narrator = Narrator(
            operations=[echo], settings=Settings(drain_s=0, heartbeat_s=0.2, queue_limit=1_000_000)
        )
        self._server = Server(
            configuration(narrator.application),
            ready=self._ready.set,
            drain=narrator.drain,
            abort=lambda: None,
            running=narrator.running,
        )
        await self._server.serve(self.sockets)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    running = Running()
    running.start()
    yield running.url
    running.stop()


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ENDLESS = "/v1/stream"
"""The one call that ends only if it is told to; a job's stream ends with the job."""


# schemathesis draws from `random` in its own strategies
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:FutureWarning")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("real", [False, True], ids=["any ids", "real ids"])
def test_the_server_conforms_to_its_own_document(
    url: str, mode: GenerationMode, *, real: bool
) -> None:
    attacked = []
    for call in calls(url):
        attacked.append(call.label)

        @given(call.as_strategy(generation_mode=mode))
        @settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def attack(case: schemathesis.Case[Any]) -> None:
            if case.path == ENDLESS:
                case.query = {**(case.query or {}), "follow": "false"}
            if real:
                make_real(case, url)
            case.call_and_validate(checks=CHECKS, timeout=WAIT_S)

        try:
            attack()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, call.label  # it takes nothing to get wrong

    assert len(attacked) == 17


def calls(url: str) -> list[Any]:
    """Every call of the document."""
    found = schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations()
    return [result.ok() for result in found if isinstance(result, Ok)]


def make_real(case: schemathesis.Case[Any], url: str) -> None:
    """Aim `case` at a job that has just ended, and at an operation that there is."""
    if "job_id" in (case.path_parameters or {}):
        with httpx.Client(base_url=url, verify=PLAIN) as client:
            job = client.post("/v1/jobs", json={"operation": "echo"}).json()
            client.get(f"/v1/jobs/{job['id']}?wait={WAIT_S}")
        case.path_parameters["job_id"] = job["id"]
    if isinstance(case.body, dict) and isinstance(case.body.get("operation"), str):
        case.body["operation"] = "echo"

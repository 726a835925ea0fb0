"""Our own OpenAPI document, attacked by schemathesis: nothing gives a 5xx, all answers conform."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app import operation
from app.cli.server import Server, address_of, configuration, listen
from app.service import Narrator
from app.settings import Settings

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
        )
        await self._server.serve(self.sockets)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    running = Running()
    running.start()
    yield running.url
    running.stop()


@pytest.fixture
def api(url: str) -> Any:
    """The document, without the endless stream."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    return schema.exclude(path=["/v1/stream", "/v1/jobs/{job_id}/stream"])


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_the_server_conforms_to_its_own_document(case: schemathesis.Case[Any]) -> None:
    if "wait" in (case.query or {}):
        case.query.pop("wait")  # an honest server would wait
    case.call_and_validate(
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
        timeout=WAIT_S,
    )

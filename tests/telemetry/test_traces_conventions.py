"""Every attribute that leaves the process, against the installed semantic conventions, by name.

The names are read from the constants of `opentelemetry-semantic-conventions`, stable and
incubating. Ours begin with a word that the conventions leave alone.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

import pytest
from opentelemetry.semconv import attributes as stable
from opentelemetry.semconv._incubating import attributes as incubating
from opentelemetry.semconv._incubating.attributes import messaging_attributes

from telemetry import names
from telemetry.table import ATTRIBUTES, EVENTS, SPANS
from tests.telemetry.otlp_receiver import OtlpReceiver, Received
from tests.telemetry.served import Server, events_of, serving, trace_of

OURS: Final = ("job.", "narrator.", "narration.")
HANDLERS: Final = "handler."
"""What the handlers of these tests say of their own on a span of ours."""


def constants(package: ModuleType) -> Iterator[str]:
    """The attributes of all the conventions of `package`."""
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        for constant, value in vars(loaded).items():
            if constant.isupper() and isinstance(value, str):
                yield value


CONVENTIONS: Final = frozenset(
    value for package in (stable, incubating) for value in constants(package)
)


def unknown(attributes: set[str]) -> set[str]:
    """Those that are neither ours nor in the conventions."""
    return {name for name in attributes if not name.startswith(OURS)} - CONVENTIONS


@pytest.fixture(scope="module")
def arrived(tmp_path_factory: pytest.TempPathFactory) -> list[Received]:
    """The spans of jobs that end in many ways, third parties' spans among them."""
    folder = tmp_path_factory.mktemp("conventions")
    with (
        OtlpReceiver() as receiver,
        serving(folder, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as server,
    ):
        for record in run_some(server):
            trace_of(receiver, record["trace_id"])
        return list(receiver.spans)


def run_some(server: Server) -> Iterator[dict[str, Any]]:
    yield server.run("coroutine", tags={"team": "blue"}, concurrency_key="k")
    yield server.run("isolated")
    yield server.run("flaky", params={"failures": 9})
    yield server.run("endless", timeout_s=0.02)
    yield server.run("later", retry={"max_attempts": 2})
    yield server.run("closed")


def test_every_published_attribute_is_ours_or_in_the_conventions() -> None:
    published = {row.name for row in ATTRIBUTES}
    used = {name for span in SPANS for name in span.attributes}
    used |= {name for event in EVENTS for name in event.attributes}

    assert unknown(published) == set()
    assert used <= published


def test_every_attribute_of_our_spans_is_ours_or_in_the_conventions(
    arrived: list[Received],
) -> None:
    emitted: set[str] = set()
    for each in arrived:
        if each.scope == names.SCOPE:
            emitted |= set(each.attributes)
            emitted |= {key for _, attributes in events_of(each) for key in attributes}
    emitted = {name for name in emitted if not name.startswith(HANDLERS)}

    assert emitted >= {names.ERROR_TYPE, names.EXCEPTION_TYPE, names.MESSAGING_SYSTEM}
    assert unknown(emitted) == set()


def test_every_attribute_of_the_http_server_spans_is_in_the_conventions(
    arrived: list[Received],
) -> None:
    http = [each for each in arrived if each.scope == "opentelemetry.instrumentation.fastapi"]

    assert http
    assert {name for each in http for name in each.attributes} <= CONVENTIONS


def test_every_attribute_of_the_resource_is_in_the_conventions(arrived: list[Received]) -> None:
    resource = {name for each in arrived for name in each.resource}

    assert resource >= {"service.name", "telemetry.sdk.name"}
    assert resource <= CONVENTIONS


def test_no_name_of_ours_is_taken_by_the_conventions() -> None:
    assert [name for name in CONVENTIONS if name.startswith(OURS)] == []


def test_an_attempt_is_a_processing_span_of_the_messaging_conventions(
    arrived: list[Received],
) -> None:
    attempts = [each for each in arrived if each.span.name == names.SPAN_ATTEMPT]

    types = {value.value for value in messaging_attributes.MessagingOperationTypeValues}
    assert {each.attributes[names.MESSAGING_OPERATION_TYPE] for each in attempts} == {"process"}
    assert "process" in types
    for each in attempts:
        assert each.attributes[names.MESSAGING_MESSAGE_ID] == each.attributes[names.JOB_ID]
        assert each.attributes[names.MESSAGING_OPERATION_NAME]
        assert each.attributes[names.MESSAGING_SYSTEM] == names.SCOPE

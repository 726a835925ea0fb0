import subprocess
import sys
import textwrap
import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry.names import SCOPE
from telemetry.tracing import Tracing, build_tracing
from tests.telemetry.otlp_receiver import Mode, OtlpReceiver

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (
        ENDPOINT,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_TRACES_EXPORTER",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_TRACES_SAMPLER",
        "OTEL_SDK_DISABLED",
    ):
        monkeypatch.delenv(variable, raising=False)


def resource_of(tracing: Tracing) -> dict[str, object]:
    return dict(tracing.provider.resource.attributes)


def sampled(tracing: Tracing) -> bool:
    return tracing.tracer.start_span("s").get_span_context().trace_flags.sampled


# --- the environment ------------------------------------------------------------------------------


def test_the_service_is_called_job_narrator_unless_told_otherwise() -> None:
    assert resource_of(build_tracing())["service.name"] == "job-narrator"
    assert resource_of(build_tracing(service_name="shop"))["service.name"] == "shop"


def test_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "orders")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=lost,deployment.environment=test")
    resource = resource_of(build_tracing(service_name="shop"))

    assert resource["service.name"] == "orders"
    assert resource["deployment.environment"] == "test"


@pytest.mark.parametrize(
    ("sampler", "argument", "expected"),
    [
        ("always_on", "", True),
        ("always_off", "", False),
        ("traceidratio", "0", False),
        ("traceidratio", "1", True),
        ("unheard_of", "", True),
    ],
)
def test_the_environment_names_the_sampler(
    monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str, *, expected: bool
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)

    assert sampled(build_tracing()) is expected


def test_a_provider_of_ours_exports_again_once_its_owner_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.endpoint)
        first = build_tracing()
        beside = build_tracing(provider=first.provider)
        assert (beside.exports, beside.shutdown()) == (False, True)  # the first still owns it
        first.tracer.start_span("first").end()
        first.shutdown()
        second = build_tracing(provider=first.provider)
        second.tracer.start_span("second").end()
        second.shutdown()
        first.tracer.start_span("late").end()

    assert [each.span.name for each in receiver.spans] == ["first", "second"]


def test_without_an_endpoint_nothing_is_exported_and_nothing_fails() -> None:
    tracing = build_tracing()
    tracing.tracer.start_span("job").end()

    assert not tracing.exports
    assert tracing.shutdown(30)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({ENDPOINT: ""}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": ""}, True),
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_whether_spans_leave_is_the_environments_to_say(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, expected: bool
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    tracing = build_tracing()
    tracing.shutdown(30)

    assert tracing.exports is expected


# --- a user's own provider ------------------------------------------------------------------------


def test_a_users_provider_is_used_and_left_alone() -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracing = build_tracing(provider=provider)

    assert tracing.provider is provider
    assert tracing.shutdown(30)

    tracing.tracer.start_span("after our end").end()

    assert [span.name for span in memory.get_finished_spans()] == ["after our end"]


def test_our_spans_carry_our_scope() -> None:
    memory = InMemorySpanExporter()
    tracing = build_tracing()
    tracing.provider.add_span_processor(SimpleSpanProcessor(memory))
    tracing.tracer.start_span("job").end()
    scope = memory.get_finished_spans()[0].instrumentation_scope

    assert scope is not None
    assert scope.name == SCOPE


# --- spans of child processes ---------------------------------------------------------------------


class _Raising(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError(span.name)


def child_span() -> ReadableSpan:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("child").start_span("in the child").end()
    return memory.get_finished_spans()[0]


def test_a_span_of_a_child_process_goes_to_every_processor_though_one_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = InMemorySpanExporter()
    tracing = build_tracing()
    for processor in (_Raising(), SimpleSpanProcessor(memory)):
        tracing.provider.add_span_processor(processor)
    tracing.export(child_span())

    assert [span.name for span in memory.get_finished_spans()] == ["in the child"]
    assert "a span processor raised" in caplog.text


def test_a_span_of_a_child_process_arrives_at_the_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.endpoint)
        tracing = build_tracing()
        tracing.export(child_span())

        assert tracing.shutdown(30)
    assert [received.span.name for received in receiver.spans] == ["in the child"]


# --- the end --------------------------------------------------------------------------------------


def test_the_end_sends_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.endpoint)
        tracing = build_tracing()
        for number in range(5):
            tracing.tracer.start_span("job", attributes={"number": number}).end()

        assert tracing.shutdown(30)
    assert [received.attributes["number"] for received in receiver.spans] == list(range(5))
    assert {received.scope for received in receiver.spans} == {SCOPE}
    assert {received.resource["service.name"] for received in receiver.spans} == {"job-narrator"}


def test_the_first_spans_arrive_while_the_server_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with OtlpReceiver() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.endpoint)
        tracing = build_tracing()
        tracing.tracer.start_span("job").end()

        assert receiver.wait_for(1)
        tracing.shutdown(30)


class _Endless(SpanProcessor):
    def shutdown(self) -> None:
        time.sleep(20)


def test_a_processor_that_never_ends_does_not_hold_up_the_end() -> None:
    tracing = build_tracing()
    tracing.provider.add_span_processor(_Endless())

    assert not tracing.shutdown(0.05)


def test_a_processor_that_raises_at_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SpanProcessor):
        def shutdown(self) -> None:
            raise RuntimeError("no")

    tracing = build_tracing()
    tracing.provider.add_span_processor(Broken())

    assert not tracing.shutdown(30)
    assert "tracing could not be shut down" in caplog.text


SERVER = textwrap.dedent(
    """
    import logging, sys, time
    from telemetry.tracing import build_tracing

    logging.basicConfig(stream=sys.stderr)
    tracing = build_tracing(bound_s=1.0)
    slowest = 0.0
    for number in range(3000):
        started = time.perf_counter()
        tracing.tracer.start_span("job").end()
        slowest = max(slowest, time.perf_counter() - started)
    started = time.perf_counter()
    complete = tracing.shutdown(1.0)
    print(complete, slowest < 5, time.perf_counter() - started < 10)
    """
)


@pytest.mark.parametrize("mode", [Mode.HANG, Mode.ERROR, Mode.REFUSE])
def test_no_collector_holds_up_the_end_of_a_process(
    monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """The bound is 1 s; the SDK's own queue took 12 s to exit and 49 s to flush."""
    with OtlpReceiver(mode) as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.endpoint)
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", SERVER], capture_output=True, text=True, timeout=60, check=True
        )
        took = time.monotonic() - started

    assert done.stdout.split()[1:] == ["True", "True"]
    assert took < 20
    kinds = [line.partition(":")[0] for line in done.stderr.splitlines()]
    assert len(kinds) < 10, done.stderr


def test_a_process_that_never_shuts_down_ends_at_once_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with OtlpReceiver(Mode.HANG) as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.endpoint)
        script = SERVER.replace("tracing.shutdown(1.0)", "None")
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True
        )

    assert done.stdout.startswith("None")


def test_only_the_first_provider_becomes_the_global_one() -> None:
    script = textwrap.dedent(
        """
        from telemetry.tracing import build_tracing, make_global

        first, second = build_tracing(), build_tracing()
        print(make_global(first.provider), make_global(second.provider))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout == "True False\n"


def test_building_sets_nothing_global() -> None:
    before = trace.get_tracer_provider()
    build_tracing()

    assert trace.get_tracer_provider() is before


def test_a_resource_of_a_users_provider_is_kept() -> None:
    provider = TracerProvider(resource=Resource({"service.name": "theirs"}), shutdown_on_exit=False)

    assert resource_of(build_tracing(provider=provider))["service.name"] == "theirs"

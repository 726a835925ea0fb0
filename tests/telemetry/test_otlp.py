"""Whether a signal is exported is the environment's to say, for each in its own variables."""

import pytest

from telemetry.names import Signal
from telemetry.otlp import exports

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
ANY = {ENDPOINT: "http://127.0.0.1:1"}


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({ENDPOINT: " "}, False),
        (ANY, True),
        ({"OTEL_EXPORTER_OTLP_{}_ENDPOINT": "http://127.0.0.1:1/x"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1/x"}, False),
        ({**ANY, "OTEL_{}_EXPORTER": "none"}, False),
        ({**ANY, "OTEL_{}_EXPORTER": "otlp"}, True),
        ({**ANY, "OTEL_{}_EXPORTER": "console,otlp"}, True),
        ({**ANY, "OTEL_METRICS_EXPORTER": "none"}, True),
        ({**ANY, "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_whether_a_signal_is_exported(
    monkeypatch: pytest.MonkeyPatch, signal: Signal, variables: dict[str, str], *, expected: bool
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name.format(signal.upper()), text)

    assert exports(signal) is expected


@pytest.mark.parametrize("signal", Signal)
def test_the_variables_of_the_other_signal_change_nothing(
    monkeypatch: pytest.MonkeyPatch, signal: Signal
) -> None:
    (other,) = set(Signal) - {signal}
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{other.upper()}_ENDPOINT", "http://127.0.0.1:1/x")
    assert not exports(signal)

    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv(f"OTEL_{other.upper()}_EXPORTER", "none")
    assert exports(signal)


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("OTEL_{}_EXPORTER=console", "no exporter console here"),
        ("OTEL_EXPORTER_OTLP_{}_PROTOCOL=grpc", "OTLP over grpc is not supported"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTLP over grpc is not supported"),
    ],
)
def test_what_is_asked_for_and_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    signal: Signal,
    variable: str,
    told: str,
) -> None:
    name, _, text = variable.format(signal.upper()).partition("=")
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv(name, text)
    exports(signal)

    assert told in caplog.text

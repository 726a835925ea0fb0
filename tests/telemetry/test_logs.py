"""The logger provider is global: each case in a process of its own."""

import subprocess
import sys

import pytest

MAKE = """
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from telemetry.logs import logger_provider
{before}
made = logger_provider(Resource.get_empty())
print(made is _logs.get_logger_provider(), made is None, {after})
"""


def said(before: str = "", after: str = "True") -> str:
    code = MAKE.format(before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_provider_is_made_and_is_global_where_there_is_none() -> None:
    assert said(after="logger_provider(Resource.get_empty()) is made") == "True False True"


def test_the_applications_own_provider_is_kept() -> None:
    before = "own = LoggerProvider(shutdown_on_exit=False); _logs.set_logger_provider(own)"

    assert said(before, "made is own") == "True False True"


def test_a_provider_that_is_not_the_sdks_is_left_alone() -> None:
    assert said("_logs.set_logger_provider(_logs.NoOpLoggerProvider())") == "False True True"


EVENTS = """
import os
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from telemetry.logs import build_event_logger, logger_provider
{before}
built = build_event_logger(Resource.get_empty(), bound_s=0.1)
print({after})
if built:
    built.shutdown(0.1)
"""


def built(before: str, after: str) -> str:
    code = EVENTS.format(before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://127.0.0.1:1/v1/logs"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("before", ["", "logger_provider(Resource.get_empty())"])
def test_events_go_to_the_collector_by_a_provider_that_nobody_else_has(before: str) -> None:
    after = "built.provider is _logs.get_logger_provider(), built.export_state() is None"

    assert built(before, after) == "False False"


def test_events_go_to_the_applications_own_provider_and_it_is_not_ended() -> None:
    before = "own = LoggerProvider(shutdown_on_exit=False); _logs.set_logger_provider(own)"

    assert built(before, "built.provider is own, built.export_state()") == "True None"


def test_without_an_endpoint_there_is_nobody_to_take_events() -> None:
    assert built("os.environ.clear()", "built") == "None"

"""The logger provider is global: each case in a process of its own."""

import subprocess
import sys

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

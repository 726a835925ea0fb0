"""The table of limits in OPERATING.md: every setting, constant, metric and test in it exists."""

import ast
import importlib
import re
from pathlib import Path
from typing import Final

import opentelemetry.sdk.environment_variables as otel_variables
import pytest

from app.settings import ENVIRONMENT_PREFIX, Settings
from telemetry.names import MetricName

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "app/OPERATING.md").read_text(encoding="utf-8")
HEADER: Final = "| limit | set by | default | beyond it | counted in | test |"
NO_METRIC: Final = "—"
UNITS: Final = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
NO_LIMITS: Final = {
    "port",
    "roots",
    "host",
    "allowed_hosts",
    "secrets",
    "narration",
    "metrics",
    "trace_url",
    "dashboard_url",
    "trace_parent",
    "fast_events",
    "log_events",
    "blocked_loop_s",
    "unwatched_grace_s",
    "drain_s",
    "heartbeat_s",
    "progress_interval_s",
    "retry_later_limit",
    "store",
    "store_sync",
    "keys",
    "allow_anonymous",
    "stream_token_s",
    "cors_origins",
    "metrics_access",
    "docs_access",
}
"""Settings that bound nothing that grows; what they do is said where they are described."""

_CODE: Final = re.compile(r"`([^`]+)`")


def rows() -> list[list[str]]:
    """The cells of each row."""
    lines = TEXT.partition(f"{HEADER}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ROWS: Final = rows()
NAMES: Final = [row[0] for row in ROWS]


def value_of(name: str) -> float | None:
    """The default of a setting, or a constant's value; None for a variable of OpenTelemetry's."""
    if name.startswith(ENVIRONMENT_PREFIX):
        field = Settings.model_fields[name.removeprefix(ENVIRONMENT_PREFIX).lower()]
        return float(field.default)
    if name.startswith("OTEL_"):
        assert hasattr(otel_variables, name)
        return None
    module, _, constant = name.rpartition(".")
    return float(getattr(importlib.import_module(module), constant))


def test_the_table_is_there() -> None:
    assert len(ROWS) > 30
    assert {len(row) for row in ROWS} == {6}


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_what_sets_a_limit_exists_and_has_the_value_that_is_said(row: list[str]) -> None:
    (name,) = _CODE.findall(row[1])
    number, _, unit = row[2].replace(",", "").partition(" ")
    value = value_of(name)

    assert value is None or value == float(number) * UNITS[unit]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_limit_is_counted_in_a_metric_that_exists_or_in_none(row: list[str]) -> None:
    named = _CODE.findall(row[4])

    assert named or row[4] == NO_METRIC
    assert {*named} <= {str(name) for name in MetricName}


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_limit_has_a_test(row: list[str]) -> None:
    (found,) = _CODE.findall(row[5])
    path, _, name = found.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))

    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_setting_that_bounds_something_is_in_the_table() -> None:
    named = {name for row in ROWS for name in _CODE.findall(row[1])}
    missing = {
        name
        for name in Settings.model_fields
        if name not in NO_LIMITS and f"{ENVIRONMENT_PREFIX}{name.upper()}" not in named
    }
    assert missing == set()

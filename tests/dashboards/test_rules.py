"""The alerts: what promtool says of them, and that each tells what to do and where to look."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from dashboards.__main__ import FOLDER
from telemetry.names import MetricName
from tests.dashboards.generated import RULES, panels

CASES = Path(__file__).with_name("rules_test.yml")
README = FOLDER / "README.md"


def rules() -> list[dict[str, Any]]:
    """The alerts, as Prometheus reads them."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


EVERY_RULE = pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))


def promtool(*arguments: str) -> str:
    tool = shutil.which("promtool")
    assert tool, "promtool is not installed: on Debian, apt-get install prometheus"
    done = subprocess.run(
        [tool, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_finds_no_fault_with_them() -> None:
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", str(RULES))


def test_each_fires_and_stays_silent_where_its_case_says_so() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(CASES))


@EVERY_RULE
def test_an_alert_has_a_case_where_it_fires_and_one_where_it_does_not(
    rule: dict[str, Any],
) -> None:
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    asked = [
        (number, bool(each["exp_samples"]))
        for number, case in enumerate(cases)
        for each in case["promql_expr_test"]
        if f'alertname="{rule["alert"]}"' in each["expr"]
    ]
    firing = {number for number, fires in asked if fires}

    assert firing
    assert {number for number, fires in asked if not fires} - firing


def test_the_cases_bite(tmp_path: Path) -> None:
    never = re.sub(
        r"^( +)expr: .*?\n( +)(for|labels):",
        r"\1expr: vector(1) > 2\n\2\3:",
        RULES.read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    (tmp_path / "rules.yml").write_text(never, encoding="utf-8")
    cases = CASES.read_text(encoding="utf-8").replace("../../dashboards/", "")
    (tmp_path / "cases.yml").write_text(cases, encoding="utf-8")

    with pytest.raises(AssertionError) as failed:
        promtool("test", "rules", str(tmp_path / "cases.yml"))
    assert set(re.findall(r'alertname=\\"(\w+)\\"', str(failed.value))) == {
        rule["alert"] for rule in rules()
    }


@EVERY_RULE
def test_an_alert_says_how_bad_it_is_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    told = rule["annotations"]

    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(told) == {"summary", "description", "runbook", "dashboard"}
    assert all(part in told["runbook"] for part in ("What it means", "Look at:", "Do:"))


@EVERY_RULE
def test_an_alert_leads_to_the_panel_that_shows_it(rule: dict[str, Any]) -> None:
    address = urlsplit(rule["annotations"]["dashboard"])
    uid, number = address.path.removeprefix("/d/"), int(parse_qs(address.query)["viewPanel"][0])
    (shown,) = [each for each in panels() if (each.uid, each.panel["id"]) == (uid, number)]

    assert f"**Alert:** {rule['alert']}" in shown.panel["description"]


def test_a_panel_names_no_alert_that_is_not_there() -> None:
    named = {
        name for each in panels() for name in re.findall(r"Narrator\w+", each.panel["description"])
    }

    assert named == {rule["alert"] for rule in rules()}


@EVERY_RULE
def test_an_alert_looks_at_metrics_that_there_are(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"narrator_\w+", rule["expr"]))
    known = {f"{name}{part}" for name in MetricName for part in ("", "_bucket", "_count")}

    assert named <= known


@EVERY_RULE
def test_the_readme_has_every_alert(rule: dict[str, Any]) -> None:
    assert f"| `{rule['alert']}` | {rule['labels']['severity']} |" in README.read_text()

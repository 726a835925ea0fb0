"""OPERATING.md says what each alert means, and of no other; its commands are there."""

import re
from pathlib import Path
from typing import Final

import yaml
from typer.main import get_command

from app.cli.keys_command import keys
from app.cli.store_command import store

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "app/OPERATING.md").read_text(encoding="utf-8")
HEADER: Final = "| alert | it means | do first |"
GROUPS: Final = {"keys": keys, "store": store}


def test_each_alert_is_told_with_what_it_means_and_what_to_do_first() -> None:
    rules = yaml.safe_load((ROOT / "dashboards/rules.yml").read_text(encoding="utf-8"))
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    lines = TEXT.partition(f"{HEADER}\n")[2].partition("\n\n")[0].splitlines()[1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    assert [name for name, _, _ in rows] == [f"`{name}`" for name in alerts]
    assert all(means and first for _, means, first in rows)


def test_every_command_and_flag_of_it_exists() -> None:
    named = re.findall(r"\bnarrator (keys|store) ([a-z]+)([^`]*)", TEXT)

    assert {name for name, _, _ in named} == set(GROUPS)
    for name, verb, rest in named:
        command = vars(get_command(GROUPS[name]))["commands"][verb]
        options = {option for each in command.params for option in each.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options


def test_every_section_that_it_leads_to_is_there() -> None:
    titles = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    }

    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= titles
    assert "who-may-reach-it" in titles  # SECURITY.md leads there

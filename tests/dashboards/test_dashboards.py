"""The JSON is what the Python makes, and each panel tells its reader what to do."""

import re
from collections import Counter
from pathlib import Path

import pytest

from dashboards.__main__ import FOLDER, documents, main
from dashboards.links import NARRATOR
from dashboards.queries import VARIABLES
from telemetry.names import MetricName
from tests.dashboards.generated import FILES, Shown, expressions, panels, read

EVERY_PANEL = pytest.mark.parametrize("shown", panels(), ids=lambda shown: str(shown.name))

UNSHOWN = {MetricName.PROCESS_VIRTUAL}
"""It says nothing of what is used."""


def test_the_files_are_what_the_python_makes() -> None:
    there_are = {
        path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("narrator-*.json")
    }

    assert there_are == documents(), "make dashboards"


def test_making_them_again_gives_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(tmp_path)
    told = capsys.readouterr().out

    for path in FILES.values():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
        assert f"{path.name}: {path.stat().st_size} bytes\n" in told


def test_their_uids_are_those_that_links_rely_on() -> None:
    assert {uid: read(uid)["uid"] for uid in FILES} == {
        uid: uid for uid in ("narrator-jobs", "narrator-narration", "narrator-service")
    }


@pytest.mark.parametrize("uid", FILES)
def test_ids_and_titles_are_given_once(uid: str) -> None:
    shown = read(uid)["panels"]

    assert [n for n, times in Counter(each["id"] for each in shown).items() if times > 1] == []
    assert [t for t, times in Counter(each["title"] for each in shown).items() if times > 1] == []


@pytest.mark.parametrize("uid", FILES)
def test_no_panel_lies_on_another(uid: str) -> None:
    taken = Counter(
        (x, y)
        for each in read(uid)["panels"]
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    )

    assert max(taken.values()) == 1
    assert {x for x, _ in taken} == set(range(24))


@EVERY_PANEL
def test_a_panel_says_what_it_means_what_is_bad_and_what_to_do(shown: Shown) -> None:
    meaning, bad, then, *alert = shown.panel["description"].split("\n\n")

    assert meaning.endswith(".")
    assert re.fullmatch(r"\*\*Bad:\*\* .{20,}[.]", bad)
    assert re.fullmatch(r"\*\*Then:\*\* .{10,}[.]", then)
    assert len(alert) <= 1


@EVERY_PANEL
def test_a_panel_names_only_panels_that_there_are(shown: Shown) -> None:
    named = re.findall(r"(?<![*])\*([A-Z][^*]+)\*(?![*])", shown.panel["description"])
    there_are = {each.panel["title"] for each in panels()}

    assert set(named) <= there_are


@EVERY_PANEL
def test_a_panel_leads_somewhere(shown: Shown) -> None:
    assert shown.panel["links"]
    assert all(link["url"].startswith((f"${{{NARRATOR}}}/", "/explore?")) for link in shown.links)


@EVERY_PANEL
def test_links_of_series_use_a_label_that_every_series_has(shown: Shown) -> None:
    for link in shown.panel["fieldConfig"]["defaults"]["links"]:
        for label in re.findall(r"\$\{__field\.labels\.(\w+)\}", link["url"]):
            assert all(f"by ({label})" in each["expr"] for each in shown.panel["targets"])


@pytest.mark.parametrize("uid", FILES)
def test_a_dashboard_has_the_variables_that_its_queries_use_and_no_others(uid: str) -> None:
    document = read(uid)
    known = {each["name"] for each in document["templating"]["list"]}
    used = {
        name
        for shown, target in expressions()
        if shown.uid == uid
        for name in re.findall(r"\$(\w+)", target["expr"])
    }

    assert used - {"__rate_interval"} | {NARRATOR} == known
    assert known - {NARRATOR} <= set(VARIABLES)


def test_jobs_are_chosen_by_operation_and_priority() -> None:
    assert [each["name"] for each in read("narrator-jobs")["templating"]["list"]] == [
        "operation",
        "priority",
        "narrator",
    ]


def test_every_metric_that_is_published_is_shown() -> None:
    asked = " ".join(target["expr"] for _, target in expressions())
    shown = {name for name in MetricName if re.search(rf"\b{name}(_bucket|_count)?\b", asked)}

    assert set(MetricName) - shown == UNSHOWN

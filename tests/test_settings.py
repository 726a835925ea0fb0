"""Settings: one name each, flags over environment over file over default."""

import json
import os
from pathlib import Path

import pytest

from app.settings import (
    MASK,
    Origin,
    Settings,
    SettingsError,
    load,
    unknown_variables,
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable and no file of the machine's; gives the working directory."""
    for name in os.environ:
        if name.startswith("NARRATOR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def origin(settings: Settings, name: str) -> Origin:
    return next(source.origin for source in settings.sources() if source.name == name)


def test_without_anything_every_setting_is_its_default() -> None:
    settings = load()

    assert {source.origin for source in settings.sources()} == {Origin.DEFAULT}
    assert settings.concurrency == 32


def test_a_file_goes_over_the_default(clean: Path) -> None:
    (clean / "narrator.toml").write_text("port = 9001\n")

    settings = load()

    assert (settings.port, origin(settings, "port")) == (9001, Origin.FILE)


def test_the_environment_goes_over_the_file(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clean / "narrator.toml").write_text("port = 9001\n")
    monkeypatch.setenv("NARRATOR_PORT", "9002")

    settings = load()

    assert (settings.port, origin(settings, "port")) == (9002, Origin.ENVIRONMENT)


def test_a_flag_goes_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATOR_PORT", "9002")

    settings = load({"port": 9003, "host": None})

    assert (settings.port, origin(settings, "port")) == (9003, Origin.FLAG)
    assert origin(settings, "host") is Origin.DEFAULT


def test_an_empty_variable_is_not_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATOR_PORT", "")

    assert load().port == 8000


def test_the_file_may_be_named_by_a_variable(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clean / "other.toml").write_text("heartbeat_s = 3\n")
    monkeypatch.setenv("NARRATOR_CONFIG", str(clean / "other.toml"))

    assert load().heartbeat_s == 3.0


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATOR_CONFIG", "nowhere.toml")

    with pytest.raises(SettingsError, match=r"nowhere\.toml: cannot be read"):
        load()


def test_a_file_that_is_not_toml_says_where_it_is_not(clean: Path) -> None:
    (clean / "narrator.toml").write_text("port = \n")

    with pytest.raises(SettingsError, match=r"narrator\.toml: is not TOML: .*line 1"):
        load()


def test_an_unknown_key_in_the_file_names_the_nearest(clean: Path) -> None:
    (clean / "narrator.toml").write_text("queue_limt = 5\n")

    with pytest.raises(SettingsError, match="'queue_limt'; did you mean 'queue_limit'"):
        load()


def test_an_unknown_variable_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATOR_HEARTBEATS", "5")
    monkeypatch.setenv("NARRATOR_SERVER", "http://127.0.0.1:8000")

    assert unknown_variables() == [
        "NARRATOR_HEARTBEATS is not a setting; did you mean 'NARRATOR_HEARTBEAT_S'?"
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", 65_536, "--port: input should be less than or equal to 65535, not 65536"),
        ("concurrency", 0, "--concurrency: input should be greater than or equal to 1, not 0"),
        ("drain_s", "nan", "--drain-s: input should be a finite number, not 'nan'"),
        ("heartbeat_s", "inf", "--heartbeat-s: input should be a finite number, not 'inf'"),
        ("trace_url", "http://x/", "--trace-url: must have {trace_id} in it, not 'http://x/'"),
        ("trace_url", "x/{trace_id}", "--trace-url: must be an address that begins with http://"),
        ("trace_url", "https:///{trace_id}", "--trace-url: must be an address that begins with"),
        (
            "trace_url",
            "http://x/{trace_id}/{span}",
            "--trace-url: must have no placeholder but {trace_id}, and has {span} (write other",
        ),
        ("dashboard_url", "http://x/{trace_id}", "--dashboard-url: must have {operation} in it"),
        (
            "dashboard_url",
            "http://x/{operation}?a={",
            "--dashboard-url: must have no placeholder but {operation}, and has { (write other",
        ),
        ("trace_parent", "child", "--trace-parent: input should be 'parent' or 'link'"),
    ],
)
def test_a_value_out_of_range_says_which_and_what_is_legal(
    name: str, value: object, message: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        load({name: value})

    assert str(raised.value).startswith(message)


def test_every_wrong_value_is_named_with_its_place(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean / "narrator.toml").write_text("retention_jobs = -1\n")
    monkeypatch.setenv("NARRATOR_CONCURRENCY", "many")

    with pytest.raises(SettingsError) as raised:
        load()

    assert [problem.partition(":")[0] for problem in raised.value.problems] == [
        "NARRATOR_CONCURRENCY",
        "retention_jobs in narrator.toml",
    ]


def test_a_list_is_written_with_separators_or_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATOR_ALLOWED_HOSTS", "one.example, two.example")
    monkeypatch.setenv("NARRATOR_ROOTS", os.pathsep.join(["/srv/a", "/srv/b"]))
    monkeypatch.setenv("NARRATOR_SECRETS", json.dumps(["with,comma"]))

    settings = load()

    assert settings.allowed_hosts == ("one.example", "two.example")
    assert settings.roots == (Path("/srv/a"), Path("/srv/b"))
    assert [each.get_secret_value() for each in settings.secrets] == ["with,comma"]


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATOR_SECRETS", "hunter2hunter2")

    settings = load()
    shown = next(source.value for source in settings.sources() if source.name == "secrets")

    assert shown == [MASK]
    assert "hunter2" not in repr(settings)


def test_a_wrong_secret_is_not_repeated_in_its_error() -> None:
    with pytest.raises(SettingsError) as raised:
        load({"secrets": "abc"})

    assert str(raised.value) == "--secrets: each must have at least 4 characters"


def test_every_setting_has_a_unit_and_a_description() -> None:
    assert [each.name for each in load().sources() if not (each.unit and each.description)] == []


def test_settings_cannot_be_changed() -> None:
    settings = load()

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # that is the test


def test_a_trace_has_an_address_where_a_viewer_is_configured() -> None:
    settings = load({"trace_url": "http://viewer/trace/{trace_id}"})

    assert settings.trace_address("abc") == "http://viewer/trace/abc"
    assert load().trace_address("abc") is None


def test_an_operations_metrics_have_an_address_where_a_viewer_is_configured() -> None:
    settings = load({"dashboard_url": "http://viewer/d/jobs?var-operation={operation}"})

    assert settings.dashboard_address("a&b") == "http://viewer/d/jobs?var-operation=a%26b"
    assert load().dashboard_address("a&b") is None

"""The command line: help, exit codes, and errors without tracebacks."""

import json
from pathlib import Path

import pytest

from app.cli.main import main
from app.cli.reload import watched
from app.cli.server import listen


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory and terminal of a fixed width."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    return tmp_path


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("narrator ")


@pytest.mark.parametrize("command", [["--help"], ["serve", "-h"], ["settings", "--help"]])
def test_help_is_no_error(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    assert "Usage: narrator" in capsys.readouterr().out


def test_the_help_of_serve_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    main(["serve", "--help"])

    assert "narrator serve jobs.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [["nothing"], ["serve", "--nothing"], ["serve", "--port", "many"]]
)
def test_a_wrong_command_line_is_a_2(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_wrong_setting_is_a_2_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "70000"]) == 2

    told = capsys.readouterr().err
    assert told == "narrator: --port: input should be less than or equal to 65535, not 70000\n"


def test_a_wrong_target_is_a_2_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "nowhere.py"]) == 2
    assert capsys.readouterr().err.startswith("narrator: nowhere.py: there is no such file")


def test_an_address_in_use_is_a_3(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "some_jobs.py").write_text(
        "from app import operation\n\n@operation\ndef nothing() -> None:\n    pass\n"
    )
    (taken,) = listen("127.0.0.1", 0)
    with taken:
        taken.listen()
        port = taken.getsockname()[1]

        assert main(["serve", "some_jobs.py", "--port", str(port)]) == 3
    assert f"narrator: cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


def test_settings_are_listed_with_their_origin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NARRATOR_QUEUE_LIMIT", "7")

    assert main(["settings"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert ["queue_limit", "7", "jobs", "environment"] in [line.split() for line in lines]


def test_settings_are_listed_as_json_with_secrets_masked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NARRATOR_SECRETS", "hunter2hunter2")

    assert main(["settings", "--json"]) == 0
    told = capsys.readouterr().out

    assert "hunter2" not in told
    assert json.loads(told)["secrets"]["origin"] == "environment"


def test_an_unknown_key_in_the_file_is_a_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "narrator.toml").write_text("prot = 1\n")

    assert main(["settings"]) == 2
    assert "unknown setting 'prot'; did you mean 'port'?" in capsys.readouterr().err


def test_a_variable_that_is_no_setting_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NARRATOR_PROT", "1")

    assert main(["settings"]) == 0
    assert "warning: NARRATOR_PROT is not a setting" in capsys.readouterr().err


def test_reload_watches_the_working_directory_and_targets_elsewhere(
    here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "jobs.py").touch()
    (here / "jobs.py").touch()

    assert watched(["jobs.py", "package.jobs", f"{elsewhere}/jobs.py:render"]) == sorted(
        [here, elsewhere]
    )

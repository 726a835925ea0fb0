"""The table of sub-commands says what they say themselves."""

import pytest

from app.cli.commands import COMMANDS, Lazy
from app.cli.main import main


@pytest.mark.parametrize("command", COMMANDS, ids=[each.name for each in COMMANDS])
def test_the_line_in_the_list_is_the_first_of_the_commands_own_help(command: Lazy) -> None:
    text: str = command.load().help

    assert command.summary == text.partition("\n\n")[0].replace("\n", " ")


@pytest.mark.parametrize("command", COMMANDS, ids=[each.name for each in COMMANDS])
def test_each_has_help_with_an_example(
    command: Lazy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")

    assert main([command.name, "--help"]) == 0
    assert "For example:" in capsys.readouterr().out


def test_a_command_that_is_not_there_is_a_2_that_names_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["wacth", "x"]) == 2
    assert "Did you mean 'watch'?" in capsys.readouterr().err

"""Client commands load no server code: they answer at once."""

import subprocess
import sys
from typing import Final

import pytest

from app.cli.commands import CLIENT, COMMANDS
from tests.cli.terminal import ROOT, environment_of

HEAVY: Final = (
    "fastapi",
    "starlette",
    "uvicorn",
    "pydantic",
    "prometheus_client",
    "opentelemetry.sdk",
    "narration",
    "app.settings",
    "app.handlers",
    "app.engine",
    "app.service",
)
LOADS: Final = """
import sys
from app.cli import commands, main
[each.load() for each in commands.COMMANDS if each.name == {name!r}]
print(*(name for name in {heavy!r} if name in sys.modules))
"""


@pytest.mark.parametrize("name", [each.name for each in COMMANDS if each.panel == CLIENT])
def test_a_client_command_loads_no_server(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOADS.format(name=name, heavy=HEAVY)],
        capture_output=True,
        text=True,
        check=True,
        env=environment_of(),
        cwd=ROOT,
        timeout=60,
    )

    assert done.stdout.strip() == ""

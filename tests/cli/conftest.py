"""A real server for the tests of client commands, and the command run in this process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.cli.main import main
from tests.clients.server import ServerProcess, serving

OPERATIONS = Path(__file__).with_name("operations.py")


@pytest.fixture(scope="module")  # no child of ours is left for tests that count them
def studio() -> Iterator[ServerProcess]:
    """A server with the operations of `operations.py`."""
    with serving([OPERATIONS], concurrency=8) as started:
        yield started


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.out.splitlines()


Narrator = Callable[..., Done]


@pytest.fixture
def narrator(
    studio: ServerProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Narrator:
    """Run `narrator …` against the server, without a terminal."""
    monkeypatch.setenv("NARRATOR_SERVER", studio.url)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str) -> Done:
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return run

"""Client commands and a server that asks for keys: what opens it, and what is said else."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.access.keys_file import Scope
from app.cli.main import main
from tests.cli.conftest import OPERATIONS, Done, Narrator
from tests.cli.terminal import Terminal, environment_of
from tests.cli.terminal import narrator as command
from tests.clients.keyed import Keyed, keyed
from tests.clients.server import until


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A server with the operations of `operations.py` that asks for keys."""
    with keyed(tmp_path_factory.mktemp("keys"), [OPERATIONS], heartbeat_s=0.2) as started:
        yield started


@pytest.fixture
def narrator(
    closed: Keyed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Narrator:
    """Run `narrator …` against the server, without a key but what the words say."""
    monkeypatch.setenv("NARRATOR_SERVER", closed.server.url)
    monkeypatch.delenv("NARRATOR_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str) -> Done:
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return run


def file_of(closed: Keyed, kind: str, folder: Path) -> str:
    """A file with one of the keys, as `narrator keys create > key` leaves it."""
    path = folder / f"{kind}.key"
    path.write_text(closed.keys[kind] + "\n")
    return str(path)


COMMANDS = [
    ("ls",),
    ("operations",),
    ("operations", "render"),
    ("top",),
    ("top", "--json"),
    ("run", "render", "scene=a"),
    ("run", "render", "scene=a", "--json"),
    ("submit", "render", "scene=a"),
    ("watch", "JOB"),
    ("show", "JOB"),
    ("retry", "JOB"),
    ("retry", "JOB", "scene=b", "--follow"),
]
SHOWN = [" ".join(each) for each in COMMANDS]


@pytest.mark.parametrize("words", COMMANDS, ids=SHOWN)
def test_every_command_is_let_in_by_a_key_in_a_file_or_in_the_variable(
    narrator: Narrator,
    closed: Keyed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    job = closed.server.submit("render", params={"scene": "a"})["id"]
    closed.server.ended(job)
    words = tuple(job if word == "JOB" else word for word in words)

    by_file = narrator(*words, "--key-file", file_of(closed, "worker", tmp_path))
    monkeypatch.setenv("NARRATOR_KEY", closed.keys["worker"])
    by_variable = narrator(*words)

    assert (by_file.code, by_file.err) == (by_variable.code, by_variable.err) == (0, "")
    assert by_file.out != ""


@pytest.mark.parametrize("words", COMMANDS, ids=SHOWN)
def test_without_a_key_each_is_a_3_that_says_where_one_goes(
    narrator: Narrator, words: tuple[str, ...]
) -> None:
    done = narrator(*words)

    assert (done.code, done.out) == (3, "")
    assert "a key goes in key=… or NARRATOR_KEY\nnarrator: --key-file FILE" in done.err


def test_a_job_is_cancelled_by_a_key_that_may(
    narrator: Narrator, closed: Keyed, tmp_path: Path
) -> None:
    job = closed.server.submit("sleeps")["id"]
    refused = narrator("cancel", job, "--key-file", file_of(closed, "worker", tmp_path))
    done = narrator("cancel", job, "--wait", "--key-file", file_of(closed, "admin", tmp_path))

    assert (refused.code, "'cancel'" in refused.err) == (3, True)
    assert (done.code, done.out) == (0, f"{job}  cancelled\n")


def test_a_key_that_may_not_submit_is_a_3_that_names_the_scope(
    narrator: Narrator, closed: Keyed, tmp_path: Path
) -> None:
    done = narrator("run", "render", "scene=a", "--key-file", file_of(closed, "reader", tmp_path))

    assert (done.code, done.out) == (3, "")
    assert "needs a key with the scope 'submit'" in done.err


def test_a_key_that_may_only_submit_submits_and_the_server_checks_the_params(
    narrator: Narrator, closed: Keyed, tmp_path: Path
) -> None:
    key = ("--key-file", file_of(closed, "submitter", tmp_path))
    done = narrator("submit", "render", "scene=a", "frames:=3", *key)
    detached = narrator("run", "--detach", "render", "scene=a", *key)
    wrong = narrator("submit", "render", "frames=many", *key)
    followed = narrator("run", "render", "scene=a", *key)

    assert closed.server.ended(done.out.strip())["params"]["frames"] == 3
    assert closed.server.ended(detached.out.strip())["state"] == "completed"
    assert (wrong.code, "scene: " in wrong.err, "frames: " in wrong.err) == (2, True, True)
    assert (followed.code, followed.out, "'read'" in followed.err) == (3, "", True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is no text"),
        (b"one\ntwo\n", "key is no key"),
    ],
)
def test_a_file_that_has_no_key_is_a_2(
    narrator: Narrator, tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    done = narrator("ls", "--key-file", str(path))

    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert "two" not in done.err


def test_a_variable_that_is_no_key_is_a_2(
    narrator: Narrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NARRATOR_KEY", "not a key")

    done = narrator("ls")

    assert done.code == 2
    assert done.err.startswith("narrator: NARRATOR_KEY is no key")
    assert "not a key" not in done.err


def test_no_option_takes_the_key_itself(narrator: Narrator) -> None:
    """All users of a machine can see the words of a command."""
    assert narrator("ls", "--key", "nk_x").code == 2


def test_a_shell_completes_with_a_key(closed: Keyed, tmp_path: Path) -> None:
    file = file_of(closed, "reader", tmp_path)
    line = f"narrator run --key-file {file} re"
    done = subprocess.run(
        command(),
        capture_output=True,
        text=True,
        check=True,
        env=environment_of(
            NARRATOR_SERVER=closed.server.url,
            COMP_WORDS=line,
            COMP_CWORD="4",
            _NARRATOR_COMPLETE="complete_bash",
        ),
    )

    assert ("render" in done.stdout.split(), done.stderr) == (True, "")


def test_who_leaves_is_told_how_to_come_back_with_the_key(closed: Keyed, tmp_path: Path) -> None:
    file = file_of(closed, "worker", tmp_path)
    terminal = Terminal(
        command("run", "studio", f"folder={tmp_path}", "--key-file", file),
        columns=400,
        environment={"NARRATOR_SERVER": closed.server.url},
    )
    try:
        terminal.until("Beginning 0")
        terminal.type("q")

        assert terminal.finish() == 130
        assert f" --server {closed.server.url} --key-file {file}\n" in terminal.shown
    finally:
        (tmp_path / "end").touch()
        terminal.close()


def test_top_ends_when_its_key_is_revoked(closed: Keyed) -> None:
    key = closed.new_key(Scope.READ)
    environment = {"NARRATOR_SERVER": closed.server.url, "NARRATOR_KEY": key}
    terminal = Terminal(command("top"), environment=environment)
    try:
        terminal.until("slots")
        closed.revoke(key)

        assert terminal.finish() == 3
        assert "was answered 401" in terminal.shown
        assert terminal.restored
    finally:
        terminal.close()


def test_keys_made_by_the_command_open_a_server_that_runs(
    closed: Keyed, narrator: Narrator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = narrator("keys", "create", "--keys", str(closed.file), "--scope", "read")
    file = tmp_path / "key"
    file.write_text(made.out)
    listed = narrator("keys", "list", "--keys", str(closed.file), "--json")
    key_id = json.loads(listed.lines[-1])["id"]

    def code() -> int:
        return narrator("ls", "--key-file", str(file)).code

    until(lambda: code() == 0, what="the key")  # the server looks at the file once a second
    assert narrator("keys", "revoke", key_id, "--keys", str(closed.file)).code == 0
    until(lambda: code() == 3, what="the end of the key")

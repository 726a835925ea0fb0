"""`narrator keys`: what it prints, what it leaves in the file, and what it says when it can't."""

import json
from pathlib import Path

import pytest

from app.access.key_text import hash_of
from app.access.keys_file import Scope, read
from app.cli.main import main


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where NARRATOR_KEYS says that the file is; it is not there yet."""
    found = tmp_path / "keys.toml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NARRATOR_KEYS", str(found))
    monkeypatch.setenv("COLUMNS", "120")
    return found


def created(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The key that `narrator keys create` prints."""
    capsys.readouterr()
    assert main(["keys", "create", *words]) == 0
    return capsys.readouterr().out.removesuffix("\n")


def test_a_key_is_alone_on_stdout_and_the_file_has_its_hash(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--tenant",
        "acme",
        "--scope",
        "submit",
        "--scope",
        "read",
        "--expires",
        "90d",
        "--note",
    ]

    assert main(["keys", "create", *words, "the nightly import"]) == 0

    told = capsys.readouterr()
    (entry,) = read(path)
    assert (entry.tenant, entry.note) == ("acme", "the nightly import")
    assert entry.scopes == {Scope.SUBMIT, Scope.READ}
    assert entry.hash == hash_of(told.out.removesuffix("\n"))
    assert f"key {entry.id} of tenant acme: submit, read; until 20" in told.err
    assert f"it is shown this once; {path} has its hash" in told.err
    assert told.out.strip() not in told.err


def test_a_key_that_is_not_told_otherwise_is_of_the_default_tenant_and_never_ends(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    created(capsys, "--scope", "admin")

    (entry,) = read(path)
    assert (entry.tenant, entry.expires_at, entry.note) == ("default", None, "")


def test_keys_are_listed_with_what_they_allow_and_until_when(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    created(capsys, "--scope", "read", "--expires", "90d", "--note", "for us")
    created(capsys, "--scope", "admin", "--tenant", "acme")
    path.write_text(path.read_text().replace("expires_at = 20", "expires_at = 19"))

    assert main(["keys", "list"]) == 0

    heading, first, second = capsys.readouterr().out.splitlines()
    ids = [each.id for each in read(path)]
    assert heading.split() == ["ID", "TENANT", "SCOPES", "EXPIRES", "NOTE"]
    assert first.startswith(f"{ids[0]}  default  read    expired ")
    assert first.endswith(" ago  for us")
    assert second.split() == [ids[1], "acme", "admin", "never"]


def test_keys_are_listed_as_json_a_line_each_without_their_hashes(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    created(capsys, "--scope", "read", "--scope", "cancel", "--expires", "90d", "--note", "ü")
    created(capsys, "--scope", "admin")
    path.write_text(path.read_text().replace("expires_at = 20", "expires_at = 19"))

    assert main(["keys", "list", "--json"]) == 0

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    (entry, _) = read(path)
    assert first == {
        "id": entry.id,
        "tenant": "default",
        "scopes": ["read", "cancel"],
        "expires_at": first["expires_at"],
        "expired": True,
        "note": "ü",
    }
    assert first["expires_at"].startswith("19")
    assert (second["expires_at"], second["expired"]) == (None, False)


def test_a_file_without_keys_is_listed_as_what_it_means(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.touch()

    assert main(["keys", "list"]) == 0
    assert capsys.readouterr().out == "no keys: nobody may use the server\n"


def test_keys_are_revoked_by_id_or_by_the_whole_of_them(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [created(capsys, "--scope", "read") for _ in range(3)]
    ids = [each.id for each in read(path)]

    assert main(["keys", "revoke", ids[0], keys[2]]) == 0

    assert capsys.readouterr().out.splitlines() == [f"{ids[0]}  revoked", f"{ids[2]}  revoked"]
    assert [each.id for each in read(path)] == [ids[1]]


def test_a_key_that_is_not_there_is_a_3_and_keeps_no_other_from_going(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    created(capsys, "--scope", "read")
    (entry,) = read(path)

    assert main(["keys", "revoke", "nowhere", entry.id]) == 3

    told = capsys.readouterr()
    assert told.err == f"narrator: {path} has no key 'nowhere': narrator keys list\n"
    assert read(path) == ()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scope", "write"], "'write' is not one of"),
        ([], "Missing option '--scope'"),
        (["--scope", "read", "--tenant", "Acme"], "--tenant: tenant must be 1 to 63 characters"),
        (["--scope", "read", "--note", "n" * 201], "--note: note must be at most 200"),
        (["--scope", "read", "--note", "a\nb"], "--note: note must be at most 200"),
        (["--scope", "read", "--expires", "soon"], "'soon' is no duration"),
        (["--scope", "read", "--expires", "0"], "--expires: a key that has ended"),
        (["--scope", "read", "--expires", "9e9d"], "no duration"),
        (["--scope", "read", "--expires", "9999999d"], "--expires: that is past the end"),
    ],
)
def test_a_wrong_word_is_a_2_that_says_so_and_makes_nothing(
    path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["keys", "create", *words]) == 2

    said = capsys.readouterr()
    assert (said.out, told in said.err) == ("", True), said.err
    assert not path.exists()


@pytest.mark.parametrize("command", ["list", "revoke"])
def test_a_file_that_is_not_there_is_a_2(
    path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main(["keys", command, *(["x"] if command == "revoke" else [])]) == 2
    assert f"narrator: {path} is not there" in capsys.readouterr().err


def test_no_file_named_at_all_is_a_2(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NARRATOR_KEYS")

    assert main(["keys", "list"]) == 2
    assert "--keys FILE, or NARRATOR_KEYS, names it" in capsys.readouterr().err


def test_the_flag_goes_before_the_variable(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    created(capsys, "--scope", "read", "--keys", str(other))

    assert len(read(other)) == 1
    assert not path.exists()


def test_what_is_no_keys_file_is_a_2_that_says_where(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text("[[key]]\nid = 1\n")

    assert main(["keys", "list"]) == 2
    assert f"narrator: {path}: key 1 has no tenant" in capsys.readouterr().err


def test_a_file_that_can_not_be_read_is_a_1(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.mkdir()

    assert main(["keys", "list"]) == 1
    assert capsys.readouterr().err == f"narrator: {path}: Is a directory\n"

import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from app.access.key_text import hash_of, id_of
from app.access.keys_edit import create, revoke
from app.access.keys_file import KeyEntry, KeysFileError, Scope, read

END: Final = datetime(2027, 2, 22, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a keys file is to be."""
    return tmp_path / "keys.toml"


def made(path: Path) -> tuple[str, KeyEntry]:
    """A new key in the file at `path`, with its entry."""
    return create(path, tenant="acme", scopes=[Scope.READ], random=os.urandom)


def test_the_file_has_the_hash_of_a_new_key_and_not_the_key(path: Path) -> None:
    key, entry = create(
        path, tenant="acme", scopes=[Scope.READ], expires_at=END, note="n", random=os.urandom
    )

    assert read(path) == (entry,)
    assert entry == KeyEntry(
        id=id_of(key) or "",
        tenant="acme",
        scopes=frozenset({Scope.READ}),
        hash=hash_of(key),
        expires_at=END,
        note="n",
    )
    assert key not in path.read_text()
    assert key.split("_", 2)[2] not in path.read_text()


def test_the_file_is_its_owners_alone_whatever_it_was(path: Path) -> None:
    made(path)
    assert path.stat().st_mode & 0o777 == 0o600

    path.chmod(0o644)
    made(path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_the_file_stays_its_owners_when_another_user_edits_it(path: Path) -> None:
    made(path)
    os.chown(path, 1234, 1235)
    made(path)

    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)


def test_keys_are_added_at_the_end_and_revoked_by_id(path: Path) -> None:
    first, second, third = (made(path)[1] for _ in range(3))

    assert revoke(path, second.id) == second
    assert read(path) == (first, third)
    assert revoke(path, second.id) is None
    assert [revoke(path, each.id) for each in (first, third)] == [first, third]
    assert read(path) == ()


def test_an_id_in_use_is_not_given_again(path: Path) -> None:
    random = iter([b"\0" * 8, b"\1" * 32, b"\0" * 8, b"\2" * 32, b"\3" * 8, b"\4" * 32])
    ids = [
        create(path, tenant="a", scopes=[Scope.READ], random=lambda _: next(random))[1].id
        for _ in range(2)
    ]

    assert ids[0] != ids[1]


def test_many_who_edit_at_once_lose_nothing(path: Path) -> None:
    entries: list[KeyEntry] = []
    threads = [
        threading.Thread(target=lambda: entries.extend(made(path)[1] for _ in range(5)))
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(entries) == 20
    assert {each.id for each in read(path)} == {each.id for each in entries}


def test_a_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.toml"
    link.parent.mkdir()
    link.symlink_to(path)

    _, entry = made(link)

    assert link.is_symlink()
    assert read(path) == (entry,)


def test_what_is_no_keys_file_is_left_as_it_is(path: Path) -> None:
    path.write_text("[[key")
    for edit in (lambda: made(path), lambda: revoke(path, "k" * 12)):
        with pytest.raises(KeysFileError):
            edit()

    assert path.read_text() == "[[key"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(path)
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="no space left"):
        made(path)

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_where_there_is_no_folder_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made(tmp_path / "nowhere" / "keys.toml")

    assert list(tmp_path.iterdir()) == []

import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.access.key_ring import KeyRing
from app.access.keys_edit import create, revoke
from app.access.keys_file import KeysFileError, Scope

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def wall_ns() -> int:
    return int(NOW.timestamp()) * 1_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.touch(mode=0o600)
    return path


def made(path: Path, expires_at: datetime | None = None) -> str:
    key, _ = create(
        path, tenant="acme", scopes=[Scope.READ], expires_at=expires_at, random=os.urandom
    )
    return key


def test_a_key_of_the_file_is_admitted_for_its_tenant_and_scopes(path: Path) -> None:
    key = made(path)
    caller = KeyRing(path, wall_ns=wall_ns).admitted(key)

    assert caller is not None
    assert (caller.tenant, caller.scopes, caller.key_id) == (
        "acme",
        frozenset({Scope.READ}),
        key[3:15],
    )
    assert caller.may(Scope.READ)
    assert not caller.may(Scope.SUBMIT)


def test_a_key_that_is_new_revoked_or_expired_is_so_at_the_next_look(path: Path) -> None:
    ring = KeyRing(path, wall_ns=wall_ns)
    key = made(path)
    assert ring.admitted(key) is None
    ring.look()
    assert ring.admitted(key) is not None
    revoke(path, key[3:15])
    ring.look()

    assert ring.admitted(key) is None
    assert ring.holder(key[3:15]) is None


def test_a_key_ends_at_its_time_without_a_look(path: Path) -> None:
    keys = [made(path, NOW), made(path, NOW + timedelta(seconds=1))]
    ring = KeyRing(path, wall_ns=wall_ns)

    assert [ring.admitted(each) is not None for each in keys] == [False, True]


def test_a_file_that_is_wrong_or_gone_leaves_the_keys_as_they_were_and_says_so_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = made(path)
    ring = KeyRing(path, wall_ns=wall_ns)
    good = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        for content in (b"[[key", None):
            path.write_bytes(content) if content else path.unlink()
            for _ in range(3):
                ring.look()
                assert ring.admitted(key) is not None
                (warning,) = ring.warnings()
                assert warning.startswith("the keys stay as they were: ")
    path.write_bytes(good)
    path.chmod(0o600)
    ring.look()

    assert ring.warnings() == []
    assert len(caplog.records) == 2
    assert key not in caplog.text


def test_a_file_that_others_may_read_is_told(path: Path) -> None:
    path.chmod(0o644)

    assert "chmod 600" in KeyRing(path, wall_ns=wall_ns).warnings()[0]


def test_a_server_does_not_start_with_a_file_that_is_wrong_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    with pytest.raises(FileNotFoundError):
        KeyRing(path, wall_ns=wall_ns)
    path.write_text("x = 1")
    with pytest.raises(KeysFileError):
        KeyRing(path, wall_ns=wall_ns)

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.keys_file import (
    TENANT,
    KeyEntry,
    KeysFileError,
    Scope,
    entries_of,
    read,
    text_of,
)

HASH: Final = "0123456789abcdef" * 4
ENTRY: Final = f"""\
[[key]]
id = "k7f3q2m4x5ab"
tenant = "acme"
scopes = ["submit", "read"]
hash = "{HASH}"
"""

entries = st.builds(
    KeyEntry,
    id=st.text("az09", min_size=12, max_size=12),
    tenant=st.from_regex(TENANT, fullmatch=True),
    scopes=st.frozensets(st.sampled_from(Scope), min_size=1),
    hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
    expires_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    note=st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=200),
)


@given(st.lists(entries, max_size=4, unique_by=lambda each: each.id))
def test_what_is_written_is_read_back(kept: list[KeyEntry]) -> None:
    assert entries_of(text_of(kept)) == tuple(kept)


def test_an_entry_is_read() -> None:
    (entry,) = entries_of(ENTRY + 'expires_at = 2027-02-22T19:00:00+01:00\nnote = "nightly"\n')

    assert entry == KeyEntry(
        id="k7f3q2m4x5ab",
        tenant="acme",
        scopes=frozenset({Scope.SUBMIT, Scope.READ}),
        hash=HASH,
        expires_at=datetime(2027, 2, 22, 18, tzinfo=UTC),
        note="nightly",
    )


def test_an_empty_file_has_no_keys() -> None:
    assert entries_of("") == entries_of("# nobody yet\n") == ()


def test_admin_has_every_scope_and_another_only_its_own() -> None:
    (entry,) = entries_of(ENTRY)
    (admin,) = entries_of(ENTRY.replace('"submit", "read"', '"admin"'))

    assert [scope for scope in Scope if entry.allows(scope)] == [Scope.SUBMIT, Scope.READ]
    assert all(admin.allows(scope) for scope in Scope)


def test_a_key_ends_at_its_time_and_one_without_never_does() -> None:
    (without,) = entries_of(ENTRY)
    (entry,) = entries_of(ENTRY + "expires_at = 2027-02-22T18:00:00Z\n")
    end = datetime(2027, 2, 22, 18, tzinfo=UTC)

    assert not entry.expired(end - timedelta(microseconds=1))
    assert entry.expired(end)
    assert not without.expired(datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[[key", "not TOML"),
        ("a = " + "9" * 5_000, "not TOML"),
        ("a = " + "[" * 5_000, "not TOML"),
        ("x = 1", "'x'; all that it may have"),
        ("key = 1", "list of tables"),
        ("key = [1]", "list of tables"),
        ("[[key]]", "key 1 has no id, no tenant, no scopes, no hash"),
        (ENTRY + "expires = 2027-02-22T18:00:00Z", "'expires'; it may have id, tenant"),
        (ENTRY.replace("k7f3q2m4x5ab", "K7"), "12 characters"),
        (ENTRY.replace("acme", "-acme"), "tenant must be 1 to 63 .* not '-acme'"),
        (ENTRY.replace("acme", "a" * 64), "tenant"),
        (ENTRY.replace("acme", "acme\\n"), "tenant"),
        (ENTRY.replace('"acme"', "1"), "tenant"),
        (ENTRY.replace('"submit", "read"', ""), "one or more of submit, read, cancel, admin"),
        (ENTRY.replace('"submit"', '"write"'), "not .'write', 'read'"),
        (ENTRY.replace('"submit"', "[1]"), "scopes"),
        (ENTRY.replace(HASH, HASH.upper()), "64 digits"),
        (ENTRY + 'expires_at = "2027-02-22T18:00:00Z"', "without quotes"),
        (ENTRY + "expires_at = 2027-02-22T18:00:00", "zone"),
        (ENTRY + "expires_at = 2027-02-22", "zone"),
        (ENTRY + "expires_at = 0001-01-01T00:00:00+01:00", "calendar"),
        (ENTRY + f'note = "{"n" * 201}"', "200 characters"),
        (ENTRY + 'note = "two\\nlines"', "one line"),
        (ENTRY + ENTRY, "'k7f3q2m4x5ab' stands there twice"),
    ],
)
def test_what_is_wrong_is_said(text: str, wrong: str) -> None:
    with pytest.raises(KeysFileError, match=wrong):
        entries_of(text)


def test_an_error_repeats_no_hash_since_it_may_be_a_key_by_mistake() -> None:
    for right in (HASH, "k7f3q2m4x5ab"):
        with pytest.raises(KeysFileError) as caught:
            entries_of(ENTRY.replace(right, "nk_k7f3q2m4x5ab_the-secret"))

        assert "the-secret" not in str(caught.value)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    for content in (b"[[key", b"\xff"):
        path.write_bytes(content)

        with pytest.raises(KeysFileError, match=r"keys\.toml: it is not"):
            read(path)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(ENTRY)

    assert read(path) == entries_of(ENTRY)

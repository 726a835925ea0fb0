import hashlib
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.operations import folder
from app.operations.folder import (
    AllowedRoots,
    Digest,
    File,
    OutsideError,
    Stopped,
    digest_of,
    files_of,
    shown,
)

Skipped = list[tuple[bytes, OSError]]


def found(path: Path, *exclude: str, skipped: Skipped | None = None) -> list[File]:
    into: Skipped = [] if skipped is None else skipped
    return list(
        files_of(path, exclude=exclude, skip=lambda path, error: into.append((path, error)))
    )


def never() -> bool:
    return False


def test_files_are_found_in_every_folder_below_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("z", "a", "b/2", "b/c/3", "b/1"):
        (tmp_path / name).write_text(name)

    assert [file.path for file in found(tmp_path)] == [b"a", b"z", b"b/1", b"b/2", b"b/c/3"]
    assert found(tmp_path)[0] == File(b"a", 1)


def test_git_and_what_matches_a_pattern_are_left_out(tmp_path: Path) -> None:
    for name in (".git", "keep", ".ruff_cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()

    assert [file.path for file in found(tmp_path, ".*_cache")] == [b"keep/file"]


def test_links_and_special_files_are_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "folder").symlink_to(outside)
    (inside / "file").symlink_to(outside / "secret")
    (inside / "loop").symlink_to(inside / "loop")
    os.mkfifo(inside / "pipe")

    assert found(inside) == []


def test_a_folder_that_is_gone_is_skipped_and_told(tmp_path: Path) -> None:
    skipped: Skipped = []

    assert found(tmp_path / "gone", skipped=skipped) == []
    assert [(path, type(error)) for path, error in skipped] == [(b"", FileNotFoundError)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_text_are_found_read_and_shown(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9"), "wb") as file:  # noqa: PTH118, PTH123 - bytes
        file.write(b"x")

    (only,) = found(tmp_path)

    assert only.path == b"caf\xe9"
    assert digest_of(tmp_path, only.path, stopped=never).size == 1
    assert shown(only.path) == "caf\\xe9"


@given(st.binary(max_size=2000))
def test_any_path_is_shown_as_text_of_bounded_length(path: bytes) -> None:
    text = shown(path)

    assert 0 < len(text) <= folder.SHOWN + 1
    assert text.encode()


@pytest.mark.parametrize("size", [0, 1, folder.CHUNK_BYTES, folder.CHUNK_BYTES + 1])
def test_the_digest_is_the_sha256_of_all_bytes(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)

    digest = digest_of(tmp_path, b"file", stopped=never)

    assert digest == Digest(hashlib.sha256(content).hexdigest(), size)


def test_reading_stops_between_two_chunks(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * folder.CHUNK_BYTES))
    answers = iter([False, True])

    with pytest.raises(Stopped):
        digest_of(tmp_path, b"file", stopped=lambda: next(answers))

    assert list(answers) == []


def test_what_became_a_link_or_a_pipe_since_it_was_found_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("x")
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "pipe")

    for name in (b"link", b"pipe"):
        with pytest.raises(OSError, match=r"no regular file|symbolic links"):
            digest_of(tmp_path, name, stopped=never)


def test_without_a_path_the_first_root_is_meant_and_relative_paths_begin_there(
    tmp_path: Path,
) -> None:
    roots = AllowedRoots((tmp_path / "a", tmp_path / "b"))

    assert roots.resolve(None) == tmp_path / "a"
    assert roots.resolve(Path("x")) == tmp_path / "a" / "x"
    assert roots.resolve(tmp_path / "b" / "y") == tmp_path / "b" / "y"


def test_a_path_out_of_every_root_is_refused_whichever_way_it_leads_out(tmp_path: Path) -> None:
    root = tmp_path / "base"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    roots = AllowedRoots((root,))

    for path in ("/", "..", "link", "link/base/../x", "/etc/passwd", str(root) + "2"):
        with pytest.raises(OutsideError, match="outside of the allowed roots"):
            roots.resolve(Path(path))
    for path in ("loop", "a\0b"):
        with pytest.raises(OutsideError, match="no usable path"):
            roots.resolve(Path(path))

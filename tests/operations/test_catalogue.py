import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from app.handlers.context import JobCancelled, Reject
from app.operations import catalogue as module
from app.operations import folder as folder_module
from app.operations.catalogue import catalogue, size_text
from app.operations.folder import AllowedRoots
from narration.capture import Captured, capture
from tests.operations.conftest import Said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of one content, one of its own, and one in `.git`."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("a", "sub/b", "c", ".git/d"):
        (folder / name).write_text("the same")
    (folder / "e").write_text("alone")
    return folder


def run(said: Said, folder: Path, **params: Any) -> dict[str, Any]:
    return catalogue(job=said.job(), roots=AllowedRoots((folder,)), **params)


def test_the_result_counts_files_and_bytes_and_lists_duplicates(said: Said, folder: Path) -> None:
    assert run(said, folder) == {
        "path": str(folder),
        "files": 4,
        "bytes": 29,
        "skipped": 0,
        "duplicate_groups": 1,
        "wasted_bytes": 16,
        "duplicates": [
            {
                "sha256": hashlib.sha256(b"the same").hexdigest(),
                "size": 8,
                "copies": 3,
                "paths": ["a", "c", "sub/b"],
            }
        ],
    }


def test_progress_counts_every_file(said: Said, folder: Path) -> None:
    run(said, folder)

    assert [step[:2] for step in said.steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_empty_folder_is_catalogued_too(said: Said, tmp_path: Path) -> None:
    result = run(said, tmp_path)

    assert (result["files"], result["duplicates"], said.steps) == (0, [], [])


def test_each_step_is_narrated_with_its_spans_and_those_of_the_database(
    said: Said, folder: Path, provider: TracerProvider
) -> None:
    with capture(provider=provider, first_party=["app"]) as captured:
        run(said, folder)

    narrated = [m.action for m in captured.messages if m.kind == "narrate"]
    assert narrated == ["find", "hash", "compare", "duplicate", "done"]
    names = [span.name for span in captured.spans]
    ours = [name for name in names if name.startswith("catalogue.")]
    assert ours == ["catalogue.find", "catalogue.hash", "catalogue.compare"]
    assert {"CREATE", "INSERT", "SELECT", "UPDATE", "WITH"} <= set(names)
    assert parent_of(captured, "UPDATE") == "catalogue.hash"
    assert captured.drops == {}


def test_every_message_has_three_voices(said: Said, folder: Path) -> None:
    with capture() as captured:
        run(said, folder)

    told = [m for m in captured.messages if m.kind == "narrate"]
    assert all(isinstance(m.cute, str) and isinstance(m.story, str) for m in told)
    assert not [m for m in told if "{" in f"{m.text}{m.cute}{m.story}"]


def test_what_a_thread_of_the_pool_narrates_belongs_to_the_job(
    said: Said, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGE_BYTES", 8)

    with capture() as captured:
        run(said, folder)

    read = captured.find(action="read")
    assert sorted(m.fields["path"] for m in read) == ["a", "c", "sub/b"]


def test_a_file_that_cannot_be_read_is_skipped_counted_and_told(
    said: Said, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = folder_module.digest_of

    def refuse(folder: Path, path: bytes, **options: Any) -> Any:
        if path == b"c":
            raise PermissionError(13, "Permission denied")
        return read(folder, path, **options)

    monkeypatch.setattr(module, "digest_of", refuse)  # root reads every file: no real one will do

    with capture() as captured:
        result = run(said, folder)

    assert (result["files"], result["bytes"], result["skipped"]) == (3, 21, 1)
    captured.assert_said("Skipping c: Permission denied", level="warn")
    assert said.steps[-1][:2] == (4, 4)


def test_many_skipped_files_do_not_flood_the_story(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, path: bytes, **options: Any) -> Any:
        raise OSError("no")

    for number in range(30):
        (tmp_path / str(number)).touch()
    monkeypatch.setattr(module, "digest_of", refuse)

    with capture() as captured:
        result = run(said, tmp_path)

    assert result["skipped"] == 30
    assert len(captured.find(action="skip")) == module.TOLD_SKIPS + 1


def test_more_files_than_a_batch_are_all_hashed(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    for number in range(10):
        (tmp_path / str(number)).write_text(str(number // 2))

    result = run(said, tmp_path)

    assert (result["files"], result["duplicate_groups"]) == (10, 5)


def test_a_cancel_stops_the_work_between_two_files(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    for number in range(20):
        (tmp_path / str(number)).touch()
    said.stop_after = 5

    with pytest.raises(JobCancelled, match="enough"):
        run(said, tmp_path)

    assert len(said.steps) < 20


def test_a_cancel_stops_a_thread_within_one_file(said: Said, folder: Path) -> None:
    said.token.set("enough")

    with pytest.raises(JobCancelled):
        module._read(folder, b"e", said.job())


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"path": Path("/")}, "outside of the allowed roots"),
        ({"path": Path("gone")}, "is no folder"),
        ({"path": Path("e")}, "is no folder"),
        ({"database": Path("/tmp/other.sqlite")}, "outside of the allowed roots"),
        ({"database": Path("gone/other.sqlite")}, "is no folder"),
        ({"database": Path("e")}, "is no catalogue"),
    ],
)
def test_a_wrong_path_is_rejected_for_good(
    said: Said, folder: Path, params: dict[str, Path], reason: str
) -> None:
    with pytest.raises(Reject, match=reason):
        run(said, folder, **params)

    assert (folder / "e").read_text() == "alone"


def test_a_database_within_the_roots_is_kept(said: Said, folder: Path, tmp_path: Path) -> None:
    roots = AllowedRoots((folder, tmp_path))
    database = tmp_path / "kept.sqlite"

    catalogue(job=said.job(), roots=roots, database=database)

    assert database.read_bytes().startswith(b"SQLite format 3")


def test_the_result_fits_however_long_the_names_are(said: Said, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 200) / ("y" * 200) / ("z" * 200)
    deep.mkdir(parents=True)
    for number in range(200):
        (deep / str(number)).write_text(str(number // 2))

    result = run(said, tmp_path)

    assert len(json.dumps(result)) < 1 << 17
    assert (len(result["duplicates"]), result["duplicate_groups"]) == (module.MAX_GROUPS, 100)


@pytest.mark.parametrize(
    ("size", "text"),
    [(999, "999 B"), (1000, "1.0 kB"), (10**9, "1.0 GB"), (5 * 10**15, "5000.0 TB")],
)
def test_sizes_are_told_in_powers_of_1000(size: int, text: str) -> None:
    assert size_text(size) == text


def parent_of(captured: Captured, name: str) -> str:
    spans = {span.context.span_id: span for span in captured.spans if span.context}
    child = next(span for span in captured.spans if span.name == name)
    assert child.parent is not None
    return spans[child.parent.span_id].name

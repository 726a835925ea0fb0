import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.operations.folder import Digest, File
from app.operations.records import Duplicates, ForeignFileError, Group, open_records


def test_paths_are_read_in_order_and_in_steps() -> None:
    with open_records(None) as records:
        records.add([File(b"b", 1), File(b"c", 1), File(b"a", 1)])

        assert records.after(b"", 2) == [b"a", b"b"]
        assert records.after(b"b", 2) == [b"c"]
        assert records.after(b"c", 2) == []


def test_duplicates_are_files_of_one_content_the_most_wasteful_first() -> None:
    with open_records(None) as records:
        records.add([File(name, 0) for name in (b"a", b"b", b"c", b"d", b"e", b"f", b"g")])
        records.complete(
            [
                (b"a", Digest("small", 1)),
                (b"b", Digest("small", 1)),
                (b"c", Digest("small", 1)),
                (b"d", Digest("large", 10)),
                (b"e", Digest("large", 10)),
                (b"f", Digest("alone", 99)),
            ]
        )

        assert records.duplicates(groups=9, paths=2) == Duplicates(
            [Group("large", 10, 2, ["d", "e"]), Group("small", 1, 3, ["a", "b"])], 2, 12
        )
        assert records.duplicates(groups=1, paths=1) == Duplicates(
            [Group("large", 10, 2, ["d"])], 2, 12
        )


def test_empty_files_are_no_duplicates_of_each_other() -> None:
    with open_records(None) as records:
        records.add([File(b"a", 0), File(b"b", 0)])
        records.complete([(b"a", Digest("empty", 0)), (b"b", Digest("empty", 0))])

        assert records.duplicates(groups=9, paths=9) == Duplicates([], 0, 0)


def test_a_named_database_is_kept_and_filled_anew_each_time(tmp_path: Path) -> None:
    database = tmp_path / "catalogue.sqlite"
    for name in (b"old", b"new"):
        with open_records(database) as records:
            records.add([File(name, 3)])

    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT path, size FROM file").fetchall() == [(b"new", 3)]


@pytest.mark.parametrize("content", [b"", b"not a database, and longer than a header is" * 9])
def test_a_file_of_something_else_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    other = tmp_path / "other"
    other.write_bytes(content)

    with pytest.raises(ForeignFileError, match="no catalogue"), open_records(other):
        pass

    assert other.read_bytes() == content


def test_another_application_s_database_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE file (mine TEXT)")

    with pytest.raises(ForeignFileError), open_records(other):
        pass


def test_a_place_that_cannot_be_written_is_an_error_of_the_database(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError), open_records(tmp_path / "no" / "folder"):
        pass


def test_a_folder_in_its_place_is_an_error_of_the_database(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError), open_records(tmp_path):
        pass

"""`narrator store`, on real files."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from app.cli.client.reach import BROKEN_PIPE
from app.cli.main import main
from app.jobs.model import AttemptRecord, Failure
from app.store.protocol import Batch, Told
from app.store.sqlite import SqliteStore
from narration.log import Entry
from telemetry.names import Level, Outcome, Reason, State
from tests.store.values import making, plain_job, saying

ROOT: Final = Path(__file__).parents[2]
NARRATOR: Final = (sys.executable, "-m", "app.cli.main", "store")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine's."""
    for name in os.environ:
        if name.startswith("NARRATOR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def filled(path: Path) -> Path:
    """A job that completed, one that failed, and one that waits; nothing is wrong."""
    ended = AttemptRecord(
        number=1, started_ns=1, finished_ns=2, outcome=Outcome.COMPLETED, span_id="s"
    )
    done = plain_job(
        1,
        state=State.COMPLETED,
        finished_ns=2,
        attempt=1,
        attempts=(ended,),
        result=b'{"n":123456789012345678901234567890}',
    )
    failed = replace(
        done,
        id="job-2",
        number=2,
        state=State.FAILED,
        result=None,
        attempts=(replace(ended, outcome=Outcome.ERROR),),
        failure=Failure(reason=Reason.ERROR, type="E", message="no"),
    )
    batch = making(done, failed, plain_job(3))
    end = Entry("end", Level.FATAL, b'{"seq":3}')
    batch.told = {
        "job-1": Told(start=1, first=1, entries=[*saying(1, '{"seq":1}').entries]),
        "job-2": Told(start=3, first=3, entries=[end]),
    }
    with closing(SqliteStore(path)) as store:
        store.write(batch)
        store.write(Batch(told={"job-1": Told(start=2, first=1, entries=[end])}))
    return path


def edit(path: Path, *statements: str) -> None:
    """Change the file by hand, past all that guards it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """The exit code of `narrator store …`, and what it printed."""
    code = main(["store", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_nothing_is_wrong_with_a_store_that_nobody_touched(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "check", "--store", filled)

    assert (code, out.splitlines()[-1].split(": ")[-1]) == (0, "nothing is wrong")
    assert "3 jobs" in out
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize(
    ("statements", "lines"),
    [
        (
            ["DELETE FROM narration WHERE start = 1"],
            ["job job-1: events 1 to 1 are missing"],
        ),
        (
            ["UPDATE narration SET start = 5, next = 6 WHERE start = 2"],
            ["job job-1: events 2 to 4 are missing"],
        ),
        (
            ["UPDATE narration SET next = 9 WHERE start = 2"],
            ["job job-1: the run of events 2 to 8 has 1 of them"],
        ),
        (
            ["DELETE FROM narration WHERE start = 2"],
            ["job job-1: is completed, and its story has no end"],
        ),
        (
            ["UPDATE narration SET job = 3 WHERE job = 2"],
            [
                "job job-2: is failed, and its story has no end",
                "job job-3: is queued, and its story has ended",
            ],
        ),
        (
            ["UPDATE narration SET events = x'c1' WHERE start = 3"],
            ["job job-2: events from 3 on cannot be read: "],
        ),
        (
            ["UPDATE attempt SET number = 2 WHERE job = 1"],
            ["job job-1: is at attempt 1, and has the attempts [2]"],
        ),
        (
            ["UPDATE attempt SET outcome = NULL WHERE job = 1"],
            ["job job-1: is completed, and the attempts [1] have not ended"],
        ),
        (
            ["UPDATE job SET state = 'asleep' WHERE number = 3"],
            ["job job-3: holds what this version cannot read: 'asleep' is not a valid State"],
        ),
        (["DELETE FROM submission WHERE job = 1"], ["job job-1: has no submission"]),
        (["DELETE FROM submission WHERE job = 3"], ["job job-3: has no submission"]),
        (
            ["DELETE FROM job WHERE number = 3"],
            ["table submission: a row belongs to no row of job"],
        ),
        (
            ["UPDATE job SET idempotency_key = 'k' WHERE number < 3"],
            ["tenant default: 2 jobs have the idempotency key 'k'"],
        ),
        (
            ["UPDATE job SET finished_ns = NULL WHERE number = 1"],
            ["job job-1: is completed, and has no time of its end"],
        ),
        (
            ["UPDATE job SET failure = NULL, reason = NULL WHERE number = 2"],
            ["job job-2: is failed, and has no failure"],
        ),
        (
            ["UPDATE job SET result = '1' WHERE number = 3"],
            ["job job-3: is queued, and has a result"],
        ),
    ],
)
def test_what_is_damaged_is_said_in_a_line_and_the_exit_code(
    filled: Path,
    capsys: pytest.CaptureFixture[str],
    statements: Sequence[str],
    lines: Sequence[str],
) -> None:
    edit(filled, *statements)

    code, out, _ = run(capsys, "check", "--store", filled)

    assert code == 1
    found = out.splitlines()[:-1]
    assert [line[: len(begins)] for line, begins in zip(found, lines, strict=True)] == [*lines]
    assert out.splitlines()[-1].endswith(f"{len(lines)} find{'s' if len(lines) > 1 else ''}")


def test_damaged_pages_are_found(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with filled.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\x55" * 4096)

    code, out, _ = run(capsys, "check", "--store", filled, "--json")
    told = json.loads(out)

    assert (code, told["jobs"]) == (1, None)
    assert {each["where"] for each in told["findings"]} == {"file"}


def test_a_store_is_checked_and_exported_while_a_server_has_it_and_not_made_small(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(SqliteStore(filled)) as store:
        store.write(making(plain_job(4)))

        assert run(capsys, "check", "--store", filled)[0] == 0
        assert len(run(capsys, "export", "--store", filled)[1].splitlines()) == 4
        code, _, said = run(capsys, "vacuum", "--store", filled)

    assert code == 3
    assert f"process {os.getpid()} has it; stop that one first" in said


def test_each_job_is_a_line_with_its_story(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "export", "--store", filled)
    jobs = [json.loads(line) for line in out.splitlines()]

    assert (code, err) == (0, "")
    assert [(job["id"], job["state"]) for job in jobs] == [
        ("job-1", "completed"),
        ("job-2", "failed"),
        ("job-3", "queued"),
    ]
    assert jobs[0]["result"] == {"n": 123456789012345678901234567890}
    assert jobs[0]["attempts"][0]["outcome"] == "completed"
    assert jobs[0]["events"] == [
        {"event": "narration", "data": {"seq": 1}},
        {"event": "end", "data": {"seq": 3}},
    ]
    assert (jobs[1]["first"], jobs[1]["next"], jobs[1]["failure"]["message"]) == (3, 4, "no")
    assert "links" not in jobs[0]


@pytest.fixture
def long(path: Path) -> Path:
    """More than fits into a pipe."""
    with closing(SqliteStore(path)) as store:
        batch = making(*(plain_job(number) for number in range(1, 251)))
        batch.told = {job_id: saying(1, '"' + "x" * 2000 + '"') for job_id in batch.jobs}
        store.write(batch)
    return path


def test_who_waits_at_a_terminal_sees_how_far_it_is(long: Path) -> None:
    end, other = pty.openpty()
    try:
        done = subprocess.run(
            [*NARRATOR, "export", "--store", str(long)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=other,
            check=True,
        )
        shown = os.read(end, 4096).decode()
    finally:
        os.close(end)
        os.close(other)

    assert shown.split("\r\x1b[2K") == ["", "100 of 250 jobs", "200 of 250 jobs", ""]
    assert done.stdout.count(b"\n") == 250


def test_nobody_is_told_off_who_reads_no_further(long: Path) -> None:
    with subprocess.Popen(
        [*NARRATOR, "export", "--store", str(long)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert process.stderr.read() == b""
        assert process.wait() == BROKEN_PIPE


def test_an_export_ends_at_what_cannot_be_read(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(filled, "UPDATE job SET state = 'asleep' WHERE number = 2")

    code, out, said = run(capsys, "export", "--store", filled)

    assert (code, len(out.splitlines())) == (1, 1)
    assert "cannot read: 'asleep' is not a valid State" in said


def test_room_that_nobody_uses_is_given_back(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(SqliteStore(path)) as store:
        store.write(making(*(plain_job(number) for number in range(1, 500))))
        store.write(Batch(forgotten={f"job-{number}" for number in range(1, 499)}))
    before = path.stat().st_size

    code, out, _ = run(capsys, "vacuum", "--store", path)

    assert code == 0
    assert f"{path}: " in out
    assert path.stat().st_size < before / 2
    assert "1 job," in run(capsys, "check", "--store", path)[1]


def test_the_store_is_the_setting_where_no_flag_names_one(
    filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NARRATOR_STORE", str(filled))

    assert run(capsys, "check")[0] == 0


@pytest.mark.parametrize("command", ["check", "vacuum", "export"])
def test_without_a_store_it_is_a_2_and_nothing_is_made(
    command: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = run(capsys, command)
    assert (code, said) == (
        2,
        "narrator: which store? Name it with --store FILE, or set NARRATOR_STORE\n",
    )

    code, _, said = run(capsys, command, "--store", path)
    assert code == 2
    assert "there is no such file" in said
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("command", ["check", "vacuum", "export"])
def test_what_is_no_store_is_a_1(
    command: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text("milk, bread, eggs\n" * 1000)

    code, _, said = run(capsys, command, "--store", path)

    assert code == 1
    assert "it is no SQLite database" in said


@pytest.mark.parametrize("command", ["check", "vacuum", "export"])
def test_each_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")

    code, out, _ = run(capsys, command, "--help")

    assert code == 0
    assert "For example:" in out

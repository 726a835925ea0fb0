"""A disk with no room left, or that may not be written, for real: a file system of its own."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.inspection import StoreFile
from tests.kill.calls import Calls, numbers, reading, until
from tests.kill.conftest import Fragile

DISK_BYTES = 16 << 20
BLOCK = b"\0" * 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of sixteen megabytes."""
    directory = tmp_path / "disk"
    directory.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("needs to mount a file system: root, with that right")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(file: Path) -> None:
    """Write until there is no room left."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(BLOCK)


def test_a_full_disk_refuses_what_is_new_and_with_room_again_it_goes_on_by_itself(
    fragile: Fragile, disk: Path
) -> None:
    server = fragile(store=disk / "jobs.db")
    asyncio.run(server.start())
    calls, told = Calls(server), set[str]()
    running = calls.submit("slow", params={"beats": 1000})
    with reading(server, running) as reader:
        filler = disk / "filler"
        fill(filler)
        refused = calls.post("quick", params={"number": 1})
        while refused.status_code == 202:  # the write-ahead log has some room left
            told.add(refused.json()["id"])
            refused = calls.post("quick", params={"number": 1})
        assert refused.status_code == 503, refused.text
        assert refused.json()["type"].endswith(":store-unavailable")
        assert "no room" in refused.json()["detail"]
        assert "retry-after" in refused.headers
        until(lambda: calls.ready() == (503, False), "a server that is not ready")
        reader.beats()  # what was sent before it has come
        seen, worked = len(reader.frames), server.ledger.stat().st_size
        reader.beats()
        assert len(reader.frames) == seen  # nothing is told that is not kept
        assert server.ledger.stat().st_size > worked  # what runs goes on

        filler.unlink()
        until(lambda: calls.ready() == (200, True), "a server that is ready")
        told.add(calls.submit("quick", params={"number": 2}))
        until(lambda: len(reader.frames) > seen + 20, "what was held")
        assert numbers(reader.frames) == list(range(1, len(reader.frames) + 1))

    server.kill()
    asyncio.run(server.start())
    assert {calls.ended(each)["state"] for each in told} == {"completed"}
    again = calls.frames(running)
    assert again[: len(reader.frames)] == reader.frames
    calls.http.post(f"/v1/jobs/{running}/cancel")
    with StoreFile(server.store) as file:
        assert list(file.findings()) == []


def test_killed_on_a_full_disk_it_comes_back_with_all_that_it_had_told(
    fragile: Fragile, disk: Path
) -> None:
    server = fragile(store=disk / "jobs.db")
    asyncio.run(server.start())
    calls = Calls(server)
    done = calls.ended(calls.submit("quick", params={"number": 1}))
    running = calls.submit("slow", params={"beats": 50})
    calls.reaches(running, "running")
    fill(disk / "filler")
    until(lambda: calls.post("quick", params={"number": 2}).status_code == 503, "a refusal")
    server.kill()
    asyncio.run(server.start())

    assert calls.record(done["id"]) == done
    (disk / "filler").unlink()
    until(lambda: calls.ready() == (200, True), "a server that is ready")
    outcomes = [each["outcome"] for each in calls.ended(running)["attempts"]]
    assert outcomes[-1] == "completed"
    assert set(outcomes[:-1]) <= {"lost"}


def test_a_server_on_a_full_disk_does_not_start_and_says_why(fragile: Fragile, disk: Path) -> None:
    fill(disk / "filler")
    server = fragile(store=disk / "jobs.db")
    server.spawn()

    assert asyncio.run(server.ends()) == 3
    assert "there is no room" in server.complaints


def test_a_server_on_a_disk_that_may_not_be_written_says_so(fragile: Fragile, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    server = fragile(store=disk / "jobs.db")
    server.spawn()

    assert asyncio.run(server.ends()) == 3
    assert "must be allowed to read and write the file" in server.complaints

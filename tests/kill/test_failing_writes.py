"""A store's file that can't be written while the server runs, or when it starts."""

import asyncio
import errno
import signal
from pathlib import Path

import pytest

from app.store.inspection import StoreFile
from tests.kill.calls import Calls, numbers, reading, until
from tests.kill.conftest import Fragile
from tests.kill.faults import Faults


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_fails_costs_no_job_and_is_used_again_once_it_works(
    fragile: Fragile, tmp_path: Path, error: int
) -> None:
    faults = Faults(tmp_path, on=tmp_path / "jobs.db")
    server = fragile(environment=faults.environment)
    asyncio.run(server.start())
    calls = Calls(server)
    running = calls.submit("slow", params={"beats": 1000})
    done = calls.ended(calls.submit("quick", params={"number": 1}))
    with reading(server, running) as reader:
        faults.fail(error)
        refused = calls.post("quick", params={"number": 2})
        assert refused.status_code == 503, refused.text
        assert refused.json()["type"].endswith(":store-unavailable")
        assert calls.ready() == (503, False)
        seen, worked = len(reader.frames), server.ledger.stat().st_size
        until(lambda: server.ledger.stat().st_size > worked, "work")
        assert calls.record(done["id"]) == done  # what is kept is told

        faults.fail(0)
        until(lambda: calls.ready() == (200, True), "a server that is ready")
        until(lambda: len(reader.frames) > seen, "what was held")
        again = calls.submit("quick", params={"number": 3})

    server.kill()
    asyncio.run(server.start())
    assert calls.ended(again)["result"] == 3
    assert calls.record(done["id"]) == done
    assert calls.frames(running)[: len(reader.frames)] == reader.frames
    assert numbers(reader.frames) == list(range(1, len(reader.frames) + 1))
    calls.http.post(f"/v1/jobs/{running}/cancel")
    with StoreFile(server.store) as file:
        assert list(file.findings()) == []


def test_killed_while_the_disk_fails_nothing_told_is_lost(fragile: Fragile, tmp_path: Path) -> None:
    faults = Faults(tmp_path, on=tmp_path / "jobs.db")
    server = fragile(environment=faults.environment)
    asyncio.run(server.start())
    calls = Calls(server)
    running = calls.submit("counting", params={"to": 1000})
    told = calls.submit("quick", params={"number": 1})
    with reading(server, running) as reader:
        faults.fail(errno.EIO)
        assert calls.post("quick", params={"number": 2}).status_code == 503
        server.kill()
        reader.join()

    faults.fail(0)
    asyncio.run(server.start())
    assert calls.ended(told)["result"] == 1
    assert calls.frames(running)[: len(reader.frames)] == reader.frames
    calls.http.post(f"/v1/jobs/{running}/cancel")


def test_a_drain_ends_though_nothing_can_be_written_and_says_what_is_lost(
    fragile: Fragile, tmp_path: Path
) -> None:
    faults = Faults(tmp_path, on=tmp_path / "jobs.db")
    server = fragile(environment=faults.environment, concurrency=2, drain_s=0.2)
    asyncio.run(server.start())
    calls = Calls(server)
    running = calls.submit("slow", params={"beats": 20})
    calls.reaches(running, "running")
    faults.fail(errno.EIO)
    assert calls.post("slow", params={"beats": 20}).status_code == 503  # it waits to be kept
    with reading(server, running) as reader:
        assert asyncio.run(server.ends(signal.SIGTERM)) == 0
        reader.join()

    assert reader.frames[-1].event == "draining"
    assert "the store could not be written before the end" in server.complaints
    faults.fail(0)
    asyncio.run(server.start())
    assert [each["outcome"] for each in calls.ended(running)["attempts"]] == ["lost", "completed"]
    told = [frame for frame in reader.frames if frame.id]
    assert calls.frames(running)[: len(told)] == told


def test_an_end_that_is_not_kept_is_told_by_no_answer_not_even_a_refusal(
    fragile: Fragile, tmp_path: Path
) -> None:
    faults = Faults(tmp_path, on=tmp_path / "jobs.db")
    server = fragile(environment=faults.environment)
    asyncio.run(server.start())
    calls = Calls(server)
    job_id = calls.submit("once", params={"beats": 30})
    calls.reaches(job_id, "running")
    faults.fail(errno.EIO)
    until(lambda: " end " in server.ledger.read_text(), "the end of the work")
    job = f"/v1/jobs/{job_id}"
    until(lambda: calls.http.post(f"{job}/cancel").status_code == 503, "a refusal")
    until(lambda: not calls.ready()[1], "a batch that fails")
    asked = [
        calls.http.get(job),
        calls.http.post(f"{job}/cancel"),
        calls.http.post(f"{job}/retry"),
        calls.http.delete(job),
        calls.http.get(f"{job}/trace"),
    ]

    assert [each.status_code for each in asked] == [503] * 5
    server.kill()
    faults.fail(0)
    asyncio.run(server.start())
    ended = calls.ended(job_id)
    assert (ended["state"], ended["reason"]) == ("failed", "lost")


def test_a_file_that_was_moved_away_is_missed_and_found_again_where_it_was(
    fragile: Fragile,
) -> None:
    server = fragile()
    asyncio.run(server.start())
    calls = Calls(server)
    away = server.store.with_name("away.db")
    server.store.rename(away)
    refused = calls.post("quick", params={"number": 1})

    assert refused.status_code == 503
    assert "removed or replaced" in refused.json()["detail"]
    assert calls.ready() == (503, False)

    away.rename(server.store)
    until(lambda: calls.ready() == (200, True), "a server that is ready")
    told = calls.submit("quick", params={"number": 2})
    server.kill()
    asyncio.run(server.start())
    assert calls.ended(told)["result"] == 2

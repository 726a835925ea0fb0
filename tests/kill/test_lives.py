"""The first start, the last moments and a rival: one server, few kills, each at a chosen time."""

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from app.store.inspection import StoreFile
from tests.kill import ledger
from tests.kill.calls import Calls, numbers, reading, until
from tests.kill.conftest import Fragile
from tests.kill.server import FragileServer


def test_a_second_server_on_the_same_file_is_refused_and_the_first_goes_on(
    fragile: Fragile,
) -> None:
    first = fragile()
    asyncio.run(first.start())
    rival = fragile()
    rival.spawn()

    assert asyncio.run(rival.ends()) == 3
    assert first.process is not None
    assert f"process {first.process.pid} has it; stop that one first" in rival.complaints
    calls = Calls(first)
    assert calls.ended(calls.submit("quick", params={"number": 1}))["result"] == 1


def test_killed_during_its_very_first_start_it_starts_the_next_time(tmp_path: Path) -> None:
    chosen = random.Random(6)
    for number in range(3):
        directory = tmp_path / str(number)
        directory.mkdir()
        server = FragileServer(directory)
        try:
            server.spawn()
            until(server.store.exists, "the store's file")
            time.sleep(chosen.uniform(0, 0.02))
            server.kill()
            asyncio.run(server.start())
            calls = Calls(server)
            assert calls.ended(calls.submit("quick", params={"number": 1}))["result"] == 1
            server.kill()
            with StoreFile(server.store) as file:
                assert list(file.findings()) == []
        finally:
            server.close()


def test_a_drain_hands_back_what_waits_and_what_runs_and_streams_go_on_with_their_ids(
    fragile: Fragile,
) -> None:
    server = fragile(concurrency=2, drain_s=0.3)
    asyncio.run(server.start())
    calls = Calls(server)
    running = calls.submit("slow", params={"beats": 100})
    once = calls.submit("once", params={"beats": 2000})
    waiting = calls.submit("quick", params={"number": 1})
    deferred = calls.submit("quick", params={"number": 2}, start="on_stream")
    calls.reaches(once, "running")
    with reading(server, running) as reader:
        assert asyncio.run(server.ends(signal.SIGTERM)) == 0
        reader.join()

    assert reader.frames[-1].event == "draining"
    assert not server.strays()
    last = reader.last
    asyncio.run(server.start())
    assert calls.record(deferred)["state"] == "queued"
    with reading(server, running, last) as resumed:
        assert numbers(resumed.frames)[0] == int(last.partition(".")[2]) + 1
    ended = calls.ended(running)
    assert [each["outcome"] for each in ended["attempts"]] == ["lost", "completed"]
    assert ended["attempts"][0]["error"]["message"].startswith("the server shut down")
    assert calls.ended(once)["reason"] == "lost"
    assert len(calls.ended(waiting)["attempts"]) == 1
    resumed.join()
    told = [frame for frame in reader.frames if frame.id] + resumed.frames
    assert told == calls.frames(running)


def test_killed_during_a_drain_nothing_is_lost(fragile: Fragile) -> None:
    server = fragile(concurrency=1, drain_s=30)
    asyncio.run(server.start())
    calls = Calls(server)
    running = calls.submit("slow", params={"beats": 100})
    waiting = calls.submit("quick", params={"number": 1})
    calls.reaches(running, "running")
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    until(lambda: calls.post("quick", params={"number": 2}).status_code == 503, "a refusal")
    server.kill()
    asyncio.run(server.start())

    assert calls.ended(waiting)["result"] == 1
    assert [each["outcome"] for each in calls.ended(running)["attempts"]] == ["lost", "completed"]


def test_a_second_signal_is_a_kill_that_loses_nothing(fragile: Fragile) -> None:
    server = fragile(concurrency=2, drain_s=30)
    asyncio.run(server.start())
    calls = Calls(server)
    child = calls.submit("child", params={"beats": 100})
    waiting = calls.submit("quick", params={"number": 1}, start="on_stream")
    until(lambda: server.ledger.exists() and server.ledger.read_text(), "the child's work")
    code = asyncio.run(server.ends(signal.SIGTERM, signal.SIGTERM))

    assert code == 128 + signal.SIGTERM
    assert not server.strays()
    asyncio.run(server.start())
    assert calls.record(waiting)["state"] == "queued"
    ended = calls.ended(child)
    assert [each["outcome"] for each in ended["attempts"]] == ["lost", "completed"]
    spans = ledger.read(server.ledger)
    assert list(ledger.problems(spans, {child: ended}, set())) == []


@pytest.mark.parametrize("operation", ["deaf", "leaving"])
def test_no_process_of_a_killed_server_works_beside_the_next_attempt(
    fragile: Fragile, operation: str
) -> None:
    server = fragile()
    asyncio.run(server.start())
    calls = Calls(server)
    job_id = calls.submit(operation, params={"seconds": 20})
    until(lambda: server.ledger.exists() and server.ledger.read_text(), "the work of a process")
    server.kill()
    asyncio.run(server.start())
    until(lambda: calls.record(job_id)["attempt"] == 2, "the next attempt")

    [first] = [each for each in ledger.read(server.ledger) if each.attempt == 1]
    assert first.pid not in server.strays()
    calls.http.post(f"/v1/jobs/{job_id}/cancel")

"""Who tells, keeps or reads badly gets no more than his bound, and what he took comes back.

A real server with little room, looked at through its own metrics, once all garbage is gone. Memory
is compared with itself: how much a process holds says more about its allocator than about us. In
each run a little of everything; `make test-bounds` has what is promised.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bounds.scale import Scale
from tests.bounds.server import (
    OPERATIONS,
    Held,
    blocks,
    counted,
    crowd,
    held,
    submit_many,
    tidied,
    warmed,
)
from tests.clients.server import ServerProcess, serving, until

LOG_LIMIT = 1000
MESSAGE_BYTES = 65_536
MIB = 1 << 20
SIZE = 10_000_000
LONG_S = 900.0
"""Bound of what takes long at full size."""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server that keeps little of one job."""
    with serving(
        (OPERATIONS,),
        log_limit=LOG_LIMIT,
        max_message_bytes=MESSAGE_BYTES,
        heartbeat_s=0.1,
        retention_jobs=20,
    ) as running:
        warmed(running)
        yield running


def report(what: str, *later: Held) -> None:
    """Resident memory, in MB; shown with -rP."""
    print(what, *(f"{each.resident / 1e6:.1f} MB" for each in later), sep=", ")  # noqa: T201


# --- one job that says too much --------------------------------------------------------------


@pytest.mark.parametrize("operation", ["tells", "tells-in-a-thread"])
def test_a_job_that_tells_more_than_anybody_keeps_costs_what_is_kept(
    server: ServerProcess, scale: Scale, operation: str
) -> None:
    before = tidied(server)
    job = server.submit(operation, params={"count": scale.messages})
    path = f"/v1/jobs/{job['id']}"
    ended = server.client.get(f"{path}?wait={LONG_S:g}", timeout=LONG_S).json()
    told = server.client.get(f"{path}/narration").json()["events"]
    after = tidied(server)

    report(f"{scale.messages} messages, {operation}", before, after)
    assert ended["state"] == "completed"
    assert len(told) <= LOG_LIMIT + 1  # and the gap that says what is gone
    assert told[-1]["event"] == "end"
    assert after.resident < 1.2 * before.resident
    assert after.descriptors == before.descriptors


@pytest.mark.parametrize(
    "operation",
    ["narrates-much", "narrates-much-in-a-child", "logs-much", "prints-much", "fails-much"],
)
def test_a_text_of_ten_megabytes_is_cut_and_leaves_nothing(
    server: ServerProcess, scale: Scale, operation: str
) -> None:
    def told() -> list[dict[str, Any]]:
        job_id = server.submit(operation, params={"size": SIZE})["id"]
        server.ended(job_id)
        answer = server.client.get(f"/v1/jobs/{job_id}/narration").json()
        events: list[dict[str, Any]] = answer["events"]
        return events

    told()
    before = tidied(server)
    stories = [told() for _ in range(scale.texts)]

    assert max(len(str(each["data"])) for told in stories for each in told) < 4 * MESSAGE_BYTES
    until(lambda: held(server).descriptors <= before.descriptors, what="their descriptors")
    until(lambda: tidied(server).resident < before.resident + SIZE, what="the memory")


def test_texts_of_ten_megabytes_are_not_kept_on_the_span_that_said_them(
    server: ServerProcess, tmp_path: Path
) -> None:
    """A span keeps its events until it has been exported: 15 of them would be 300 MB."""
    gate = tmp_path / "gate"
    before = tidied(server)
    params = {"size": SIZE, "count": 15, "gate": str(gate)}
    job = server.submit("narrates-much-often", params=params)
    until(lambda: server.record(job["id"])["attempts"], what="the start")

    def told() -> list[dict[str, Any]]:
        answer = server.client.get(f"/v1/jobs/{job['id']}/narration").json()
        events: list[dict[str, Any]] = answer["events"]
        return [each["data"] for each in events if each["event"] == "narration"]

    until(lambda: sum(each["action"] == "much" for each in told()) == 15, what="all of it")
    much = tidied(server)
    gate.touch()
    server.ended(job["id"])

    assert told()[-2]["truncated"] == {"bytes": SIZE + 2}
    assert much.resident < before.resident + 3 * SIZE


@pytest.mark.parametrize("operation", ["gives-much", "puts-out-much"])
def test_data_of_ten_megabytes_is_refused_or_kept_within_the_bound_of_what_is_kept(
    scale: Scale, operation: str
) -> None:
    with serving((OPERATIONS,), retention_bytes=4 * MIB, max_result_bytes=MIB) as server:

        def done() -> None:
            server.ended(server.submit(operation, params={"size": SIZE})["id"])

        done()
        before = tidied(server)
        for _ in range(scale.texts):
            done()

        until(lambda: held(server).retained_bytes <= 4 * MIB, what="the bound")
        until(lambda: tidied(server).resident < before.resident + SIZE, what="the memory")


def test_a_job_that_says_large_things_is_kept_within_its_bytes() -> None:
    """500 messages of 60 KB would be 30 MB, and as many as are kept by number 600 MB."""
    with serving((OPERATIONS,), log_bytes=4 * MIB, max_message_bytes=MESSAGE_BYTES) as server:
        server.ended(server.submit("tells", params={"count": 100, "size": 60_000})["id"])
        before = tidied(server)
        job = server.submit("tells", params={"count": 500, "size": 60_000})
        server.ended(job["id"])
        told = server.client.get(f"/v1/jobs/{job['id']}/narration").json()["events"]

        assert int(told[0]["data"]["seq"]) > 1
        assert tidied(server).resident < before.resident + 4 * 4 * MIB


# --- many jobs -------------------------------------------------------------------------------


def test_jobs_that_are_kept_make_room_for_others(scale: Scale) -> None:
    with serving((OPERATIONS,), retention_jobs=scale.retained) as server:

        def replaced() -> Held:
            ids = [
                server.submit("tells", params={"count": 20, "size": 500})["id"]
                for _ in range(scale.retained)
            ]
            for each in ids:
                server.ended(each)
            until(lambda: held(server).retained_jobs == scale.retained, what="the bound")
            return tidied(server)

        first = replaced()
        later = [replaced() for _ in range(2)]
        report(f"{scale.retained} jobs, replaced twice", first, *later)

        assert {each.retained_jobs for each in later} == {scale.retained}
        assert {each.descriptors for each in later} == {first.descriptors}
        assert later[-1].resident < 1.15 * first.resident


def test_a_full_queue_refuses_and_an_empty_one_has_given_all_back(
    scale: Scale, tmp_path: Path
) -> None:
    with serving(
        (OPERATIONS,), concurrency=1, queue_limit=scale.queued, retention_jobs=10
    ) as server:

        def filled(count: int) -> tuple[Held, int]:
            gate = tmp_path / "gate"
            gate.unlink(missing_ok=True)
            holder = server.submit("holds", params={"gate": str(gate)})
            server.reaches(holder["id"], "running")
            submit_many(server, "nothing", count)
            answer = server.client.post("/v1/jobs", json={"operation": "nothing"})
            assert (answer.status_code == 429) is (count == scale.queued)
            full = held(server)
            gate.touch()
            until(
                lambda: not counted(server, 'narrator_queue_depth{priority="normal"}'),
                what="the end of the queue",
                within_s=LONG_S,
            )
            return full, blocks(server)

        before = warmed(server)
        filled(scale.queued // 20)
        kept = blocks(server)
        first, second = filled(scale.queued), filled(scale.queued)

        each_bytes = (first[0].resident - before.resident) / scale.queued
        report(f"a waiting job: {each_bytes:.0f} bytes", before, first[0], second[0])
        print(f"blocks: {kept}, {first[1]}, {second[1]}")  # noqa: T201 - as in `report`
        assert counted(server, 'narrator_submissions_refused_total{reason="queue-full"}') == 2
        assert second[0].resident < 1.05 * first[0].resident
        assert second[1] < 1.15 * kept
        assert tidied(server).descriptors == before.descriptors


# --- readers ---------------------------------------------------------------------------------


def test_idle_streams_leave_nothing(server: ServerProcess, scale: Scale, tmp_path: Path) -> None:
    def watched(number: int) -> tuple[Held, Held]:
        gate = tmp_path / f"gate{number}"
        job = server.submit("holds", params={"gate": str(gate)})
        with crowd(server, "idle", job["links"]["stream"], scale.streams):
            full = held(server)
            assert full.streams == scale.streams
        until(lambda: held(server).streams == 0, what="the end of the streams")
        until(lambda: held(server).descriptors <= before.descriptors, what="their descriptors")
        gate.touch()
        server.ended(job["id"])
        return full, tidied(server)

    before = tidied(server)
    first, second = watched(1), watched(2)

    each_bytes = (first[0].resident - before.resident) / scale.streams
    report(f"an idle stream: {each_bytes:.0f} bytes", before, *first, *second)
    assert second[0].resident < 1.15 * first[0].resident
    assert second[1].resident < 1.15 * first[1].resident


@pytest.mark.parametrize("mode", ["deaf", "drip", "storm"])
def test_readers_that_read_badly_hold_up_nobody_and_leave_nothing(
    server: ServerProcess, scale: Scale, tmp_path: Path, mode: str
) -> None:
    def crowded(number: int) -> Held:
        gate = tmp_path / f"gate{number}"
        job = server.submit("waits", params={"gate": str(gate)})
        with crowd(server, mode, job["links"]["stream"], readers):
            others = [
                server.ended(server.submit("tells", params={"count": LOG_LIMIT})["id"])
                for _ in range(5)
            ]
            with contextlib.suppress(subprocess.TimeoutExpired):  # for so long they go on
                server.process.wait(scale.watch_s)
            assert {each["state"] for each in others} == {"completed"}
            gate.touch()
            assert server.ended(job["id"])["state"] == "completed"
        until(lambda: held(server).streams == 0, what="the end of the streams")
        until(lambda: held(server).descriptors <= before.descriptors, what="their descriptors")
        return tidied(server)

    readers = min(scale.readers, 50) if mode == "storm" else scale.readers
    before = tidied(server)
    first, second = crowded(1), crowded(2)

    report(f"{readers} readers, {mode}", before, first, second)
    assert second.resident < 1.15 * first.resident


def test_readers_that_read_nothing_at_all_are_cut_off_and_counted(
    tmp_path: Path,
) -> None:
    gate, readers = tmp_path / "gate", 5
    unread = 'narrator_connections_cut_total{reason="unread"}'
    with serving((OPERATIONS,), unread_s=0.5, log_limit=LOG_LIMIT) as server:
        before = warmed(server)
        job = server.submit("waits", params={"gate": str(gate)})
        with crowd(server, "deaf", job["links"]["stream"], readers):
            until(lambda: counted(server, unread) == readers, what="the cut")
            until(lambda: held(server).streams == 0, what="the end of the streams")
            until(lambda: held(server).descriptors <= before.descriptors, what="descriptors")
        gate.touch()
        assert server.ended(job["id"])["state"] == "completed"

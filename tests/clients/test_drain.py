"""What each signal does to a real server under load, as its clients and its processes see it."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.server import WAIT_S, ServerProcess, serving, until
from tests.clients.wire import Frame, sequences, stream
from tests.plain_http import PLAIN

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def draining(gate: Path) -> Iterator[tuple[ServerProcess, str]]:
    """A server that was sent SIGTERM while a job runs that waits for the gate; the job's stream."""
    with serving(drain_s=WAIT_S) as server:
        job = server.submit("gated", params={"gate": str(gate)})
        server.reaches(job["id"], "running")
        server.process.terminate()
        until(lambda: server.client.get("/readyz").status_code == 503, what="the drain")
        yield server, job["links"]["stream"]
        gate.touch()


def alive(pid: int) -> bool:
    """Whether there is a process `pid` that is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("number", SIGNALS)
def test_under_load_each_stream_is_told_what_runs_finishes_and_the_exit_code_is_0(
    gate: Path, number: signal.Signals
) -> None:
    readers = 12
    heard: list[tuple[list[Frame], int]] = []
    attached = threading.Barrier(readers + 1, timeout=WAIT_S)

    def follow(server: ServerProcess, path: str) -> None:
        with (
            httpx.Client(base_url=server.url, timeout=WAIT_S, verify=PLAIN) as client,
            stream(client, path) as one,
        ):
            before = one.until("before 0")
            attached.wait()
            rest = one.rest()
            heard.append((before + rest, one.parser.retries[-1]))

    with serving(drain_s=WAIT_S, concurrency=4) as server:
        jobs = [server.submit("gated", params={"gate": str(gate)}) for _ in range(4)]
        waiting = [server.submit("gated", params={"gate": str(gate)}) for _ in range(8)]
        threads = [
            threading.Thread(target=follow, args=(server, jobs[each % 4]["links"]["stream"]))
            for each in range(readers)
        ]
        for each in threads:
            each.start()
        attached.wait()
        server.process.send_signal(number)
        for each in threads:
            each.join(WAIT_S)
        still = {server.record(job["id"])["state"] for job in jobs}
        dropped = [server.record(job["id"]) for job in waiting]
        with contextlib.ExitStack() as open_streams:
            late = [
                open_streams.enter_context(stream(server.client, job["links"]["stream"]))
                for job in jobs
            ]
            gate.touch()
            ends = [each.rest()[-1] for each in late]
        code = server.process.wait(timeout=WAIT_S)

    assert still == {"running"}
    assert {record["state"] for record in dropped} == {"cancelled"}
    assert {record["cancel"]["origin"] for record in dropped} == {"shutdown"}
    assert len(heard) == readers
    for frames, retry_ms in heard:
        assert (frames[-1].event, frames[-1].id) == ("draining", None)
        assert frames[-1].body == {"reason": "shutdown", "retry_ms": retry_ms}
    assert {end.body["state"] for end in ends} == {"completed"}
    assert code == 0


def test_a_draining_server_is_not_ready_and_says_when_to_come_back(
    draining: tuple[ServerProcess, str],
) -> None:
    server, _ = draining

    ready = server.client.get("/readyz")
    posted = server.client.post("/v1/jobs", json={"operation": "talk"})

    for answer in (ready, posted):
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
    assert server.client.get("/livez").status_code == 200


def test_a_stream_that_attaches_during_the_drain_follows_to_the_end(
    draining: tuple[ServerProcess, str], gate: Path
) -> None:
    server, path = draining

    with stream(server.client, path) as heard:
        heard.until("before 0")
        gate.touch()
        rest = heard.rest()

    assert rest[-1].event == "end"
    assert "draining" not in {frame.event for frame in rest}
    assert server.process.wait(timeout=WAIT_S) == 0


def test_a_resumed_stream_loses_nothing_across_the_drain(gate: Path) -> None:
    with serving(drain_s=WAIT_S) as server:
        job = server.submit("gated", params={"gate": str(gate), "before": 3})
        with stream(server.client, job["links"]["stream"]) as heard:
            told = heard.until("before 2")
            server.process.terminate()
            *more, draining = heard.rest()
        told += more
        last = {"Last-Event-ID": str(told[-1].id)}
        with stream(server.client, job["links"]["stream"], headers=last) as heard:
            gate.touch()
            told += heard.rest()

    assert draining.event == "draining"
    assert sequences(told) == list(range(1, len(told) + 1))
    assert told[-1].event == "end"


def test_what_does_not_finish_within_the_drain_is_cancelled_and_the_exit_code_is_0(
    gate: Path,
) -> None:
    with serving(drain_s=0.5) as server:
        job = server.submit("gated", params={"gate": str(gate)})
        server.reaches(job["id"], "running")
        server.process.terminate()
        until(lambda: server.client.get("/readyz").status_code == 503, what="the drain")
        with stream(server.client, job["links"]["stream"]) as heard:
            end = heard.rest()[-1]
        code = server.process.wait(timeout=WAIT_S)

    assert (end.event, end.body["marker"]) == ("end", "[CANCELLED]")
    assert code == 0


def test_the_stream_of_all_jobs_is_told_of_the_drain_too(gate: Path) -> None:
    with serving() as server:
        with stream(server.client, "/v1/stream") as heard:
            until(lambda: server.streams() == 1, what="the stream")
            server.process.terminate()
            frames = heard.rest()
        code = server.process.wait(timeout=WAIT_S)

    assert [frame.event for frame in frames] == ["draining"]
    assert code == 0


def test_a_client_that_does_not_read_does_not_hold_up_the_exit(gate: Path) -> None:
    with serving(heartbeat_s=0.2) as server:
        job = server.submit("flood", params={"chunks": 4000, "size": 3000})
        with stream(server.client, job["links"]["stream"]) as heard:
            heard.next()
            code = server.ends()

    assert code == 0


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once_and_leaves_no_process_behind(
    tmp_path: Path, second: signal.Signals, code: int
) -> None:
    told = tmp_path / "pids"
    with serving(drain_s=WAIT_S, cancel_grace_s=WAIT_S) as server:
        server.submit("family", params={"pids": str(told)})
        until(told.exists, what="the child process")
        pids = [int(pid) for pid in told.read_text().split()]
        assert all(alive(pid) for pid in pids)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.client.get("/readyz").status_code == 503, what="the drain")

        ended = server.ends(second)

    assert ended == code
    until(lambda: not any(alive(pid) for pid in pids), what="the end of the child processes")


def test_the_end_of_the_drain_kills_the_processes_of_a_job_that_ignores_its_signal(
    tmp_path: Path,
) -> None:
    told = tmp_path / "pids"
    with serving(drain_s=0, cancel_grace_s=0.3) as server:
        server.submit("family", params={"pids": str(told)})
        until(told.exists, what="the child process")
        pids = [int(pid) for pid in told.read_text().split()]

        code = server.ends()

    assert code == 0
    assert not any(alive(pid) for pid in pids)


def test_a_server_that_is_killed_takes_the_processes_of_its_jobs_with_it(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    with serving() as server:
        server.submit("patient", params={"pids": str(told)})
        until(told.exists, what="the child process")
        pid = int(told.read_text())

        server.process.kill()
        server.process.wait()

    until(lambda: not alive(pid), what="the end of the child process")


def test_nothing_of_a_drain_is_left_to_the_process_group(gate: Path) -> None:
    """Ctrl-C in a terminal reaches every process of the group: the children must not care."""
    with serving(drain_s=WAIT_S) as server:
        job = server.submit("isolated", params={"gate": str(gate)})
        with stream(server.client, job["links"]["stream"]) as heard:
            heard.until('"text":"waiting"')  # the handler itself, and not "after waiting 1 ms"
        os.killpg(server.process.pid, signal.SIGINT)
        until(lambda: server.client.get("/readyz").status_code == 503, what="the drain")
        with stream(server.client, job["links"]["stream"]) as heard:
            gate.touch()
            end = heard.rest()[-1]
        code = server.process.wait(timeout=WAIT_S)

    assert (end.body["failure"], end.body["state"]) == (None, "completed")
    assert code == 0

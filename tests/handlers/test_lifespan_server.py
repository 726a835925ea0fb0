"""`@lifespan` resources under a real server: opened once, for every kind, closed at the end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.server import ROOT, WAIT_S, serving, until

JOBS = '''
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from app import lifespan, operation

DIARY = Path(__file__).with_name("diary")


def note(what: str) -> None:
    with DIARY.open("a") as diary:
        diary.write(f"{what} {os.getpid()}\\n")


class Pool:
    def __init__(self) -> None:
        self.open = True
        self.uses = 0

    def use(self) -> dict[str, int | bool]:
        self.uses += 1
        return {"pid": os.getpid(), "open": self.open, "uses": self.uses}


@lifespan
async def pool() -> AsyncIterator[Pool]:
    note("open")
    opened = Pool()
    yield opened
    opened.open = False
    note("close")


@operation
async def coroutine(pool: Pool) -> dict[str, int | bool]:
    """Use the pool on the loop."""
    return pool.use()


@operation
def thread(pool: Pool) -> dict[str, int | bool]:
    """Use the pool in a thread."""
    return pool.use()


@operation
def generator(pool: Pool) -> Iterator[dict[str, int | bool]]:
    """Use the pool piece by piece."""
    yield pool.use()


@operation(isolation="process")
def process(pool: Pool) -> dict[str, int | bool]:
    """Use a pool of the child's own."""
    return pool.use()


@operation
async def slow(gate: str, pool: Pool) -> dict[str, int | bool]:
    """Use the pool after a while."""
    import asyncio

    while not Path(gate).exists():
        await asyncio.sleep(0.01)
    return pool.use()
'''


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """The module above; what its resource does is in `diary` beside it."""
    module = tmp_path / "jobs.py"
    module.write_text(JOBS)
    return module


def diary(jobs: Path) -> list[tuple[str, int]]:
    """What the resources did: (open or close, pid)."""
    lines = jobs.with_name("diary").read_text().splitlines()
    return [(what, int(pid)) for what, pid in (line.split() for line in lines)]


def test_it_is_opened_once_for_all_that_run_in_the_server_and_closed_at_its_end(
    jobs: Path,
) -> None:
    with serving([jobs], cwd=jobs.parent) as server:
        pid = server.process.pid
        assert diary(jobs) == [("open", pid)]  # before the first connection
        for number, name in enumerate(("coroutine", "thread", "coroutine", "thread"), 1):
            ended = server.ended(server.submit(name)["id"])
            assert ended["result"] == {"pid": pid, "open": True, "uses": number}
        generated = server.ended(server.submit("generator")["id"])
        assert generated["state"] == "completed"
        assert server.ends() == 0

    assert diary(jobs) == [("open", pid), ("close", pid)]


def test_a_child_process_has_one_of_its_own_and_closes_it(jobs: Path) -> None:
    with serving([jobs], cwd=jobs.parent) as server:
        used = server.ended(server.submit("process")["id"])["result"]

        assert used["pid"] != server.process.pid
        assert diary(jobs)[1:] == [("open", used["pid"]), ("close", used["pid"])]


def test_it_stays_open_until_what_runs_has_finished(jobs: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with serving([jobs], cwd=jobs.parent, drain_s=WAIT_S) as server:
        job = server.submit("slow", params={"gate": str(gate)})
        server.reaches(job["id"], "running")
        server.process.terminate()
        until(lambda: server.client.get("/readyz").status_code == 503, what="the drain")
        with server.client.stream("GET", job["links"]["stream"]) as response:
            gate.touch()
            told = response.read().decode()
        assert server.process.wait(timeout=WAIT_S) == 0

    assert '"open":true' in told
    assert [what for what, _ in diary(jobs)] == ["open", "close"]


def test_one_that_fails_to_open_is_told_and_the_server_does_not_start(jobs: Path) -> None:
    jobs.write_text(JOBS.replace('    note("open")', '    raise OSError("no database here")'))

    ended = subprocess.run(
        [sys.executable, "-P", "-m", "app.cli.main", "serve", "jobs.py", "--port", "0"],
        cwd=jobs.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (3, "")
    told = "(pool) failed while opening: OSError: no database here"
    assert told in ended.stderr

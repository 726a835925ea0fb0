"""The `EventSource` of a real browser."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.clients.proxy import bounded, proxying
from tests.clients.server import WAIT_S, ServerProcess

PAGE = Path(__file__).with_name("page.html")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--remote-debugging-port=0",  # without it, or something to print, it ends at once
)
pytestmark = pytest.mark.browser


@contextlib.asynccontextmanager
async def browsing(address: str, profile: Path) -> AsyncIterator[None]:
    """A browser with `address` open; it and all its processes are killed at the end."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    assert program is not None, "Chromium is not installed: on Debian, apt-get install chromium"
    process = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        f"--user-data-dir={profile}",
        address,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def test_it_follows_a_story_across_a_cut_connection_and_stops_at_its_end(
    server: ServerProcess, gate: Path, tmp_path: Path
) -> None:
    job = server.submit("gated", params={"gate": str(gate), "before": 100, "after": 100})
    heard: list[dict[str, Any]] = []

    async def run() -> None:
        async with proxying(
            server.port,
            cut=lambda number: 20_000 if number == 0 else None,
            page=PAGE.read_text(),
        ) as proxy:
            address = f"{proxy.url}/page?stream={quote(job['links']['stream'])}"
            async with browsing(address, tmp_path / "profile"):
                while "closed" not in (seen := await proxy.reports.get()):
                    heard.append(seen)
                    if "before 99" in seen.get("data", ""):
                        gate.touch()  # noqa: ASYNC240 — a small file

        events = [each for each in heard if "event" in each]
        told = [json.loads(each["data"])["seq"] for each in events]
        assert told == list(range(1, len(told) + 1))
        assert [each["id"].rpartition(".")[2] for each in events] == [str(each) for each in told]
        assert events[-1]["event"] == "end"
        assert "error" not in {each["event"] for each in events}
        assert [answer.split()[1] for answer in proxy.answers] == ["200", "200", "204"]
        assert proxy.resumed[0] is None
        assert proxy.resumed[1] in [each["id"] for each in events]
        assert proxy.resumed[2] == events[-1]["id"]

    bounded(run())


def test_it_gets_what_is_told_before_the_job_goes_on(server: ServerProcess, tmp_path: Path) -> None:
    """Nothing waits in a buffer: the job's next step is let go by what the page has seen."""
    folder = tmp_path / "steps"
    folder.mkdir()
    job = server.submit("steps", params={"folder": str(folder), "count": 5})

    async def run() -> None:
        async with proxying(server.port, page=PAGE.read_text()) as proxy:
            address = f"{proxy.url}/page?stream={quote(job['links']['stream'])}"
            async with browsing(address, tmp_path / "profile"), asyncio.timeout(WAIT_S):
                step = 0
                (folder / "0").touch()
                while step < 5:
                    seen = await proxy.reports.get()
                    if f"step {step}" in seen.get("data", ""):
                        step += 1
                        (folder / str(step)).touch()

    bounded(run())

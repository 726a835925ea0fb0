"""A real Chromium with the console of a real server open in it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.clients.server import WAIT_S, ServerProcess, serving

OPERATIONS = Path(__file__).with_name("operations.py")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")

Look = Callable[..., Page]


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A real server with the operations of `operations.py`; four slots."""
    with serving([OPERATIONS], concurrency=4, heartbeat_s=0.5, retention_jobs=5_000) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless.

    One for each module: while it is there its driver's event loop counts as running, and tests of
    other modules in this process run loops of their own.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    assert program is not None, "Chromium is not installed: on Debian, apt-get install chromium"
    expect.set_options(timeout=WAIT_S * 1_000)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=[*FLAGS])
        yield started
        started.close()


@pytest.fixture
def look(browser: Browser, server: ServerProcess) -> Iterator[Look]:
    """Opens a page of the console; at the end no page may have thrown or been refused a file."""
    contexts = []
    faults: list[str] = []

    def opened(path: str = "/", *, base: str | None = None, **options: Any) -> Page:
        context = browser.new_context(base_url=base or server.url, **options)
        context.set_default_timeout(WAIT_S * 1_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda said: (
                faults.append(said.text)
                if said.type == "error" and "Content Security Policy" in said.text
                else None
            ),
        )
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet: what waits for it goes on when the test touches it."""
    return tmp_path / "gate"

"""The page of STREAM.md in a real Chromium: directly, and through nginx and Caddy."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.clients.page import block
from tests.clients.proxies import RunningProxy, caddy, nginx
from tests.clients.server import WAIT_S, ServerProcess

Through = Callable[[int, Path], AbstractContextManager[RunningProxy]]

FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
TABS: Final = 9
"""More than the six connections that a browser has to one origin over HTTP/1.1."""

PROXIES: Final = [pytest.param(nginx, id="nginx"), pytest.param(caddy, id="caddy")]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless; one for the module, as in tests/console."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    assert program is not None, "Chromium is not installed: on Debian, apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=[*FLAGS])
        yield started
        started.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A profile of its own; any address called /example is the page of STREAM.md."""
    opened = browser.new_context(ignore_https_errors=True)
    opened.set_default_timeout(WAIT_S * 1_000)
    expect.set_options(timeout=WAIT_S * 1_000)
    opened.route(
        "**/example?*",
        lambda route: route.fulfill(body=block("html"), content_type="text/html"),
    )
    yield opened
    opened.close()


@contextlib.contextmanager
def directly(port: int, _folder: Path) -> Iterator[str]:
    """No proxy."""
    yield f"http://127.0.0.1:{port}"


def follow(context: BrowserContext, url: str, job_id: str) -> Page:
    """The page of STREAM.md, on a job."""
    page = context.new_page()
    page.goto(f"{url}/example?job={job_id}")
    return page


def steps(server: ServerProcess, folder: Path, count: int) -> str:
    """A job that takes a step each time that there is a file for it in `folder`."""
    folder.mkdir()
    job = server.submit("steps", params={"folder": str(folder), "count": count})
    return str(job["id"])


def shown(page: Page) -> list[str]:
    """The steps on the page, in order."""
    text = page.locator("#story").inner_text()
    return [line.partition("step: ")[2] for line in text.splitlines() if "] step: " in line]


def test_it_follows_a_story_directly(
    server: ServerProcess, context: BrowserContext, tmp_path: Path
) -> None:
    folder = tmp_path / "steps"
    page = follow(context, server.url, steps(server, folder, 3))

    _step_by_step(page, folder, 3)


@pytest.mark.parametrize("through", PROXIES)
def test_no_proxy_holds_an_event_back(
    server: ServerProcess, context: BrowserContext, tmp_path: Path, through: Through
) -> None:
    """The job's next step is let go by what the page has seen."""
    folder = tmp_path / "steps"
    with through(server.port, tmp_path) as proxy:
        page = follow(context, proxy.url, steps(server, folder, 5))

        _step_by_step(page, folder, 5)


@pytest.mark.parametrize("through", PROXIES)
def test_it_goes_on_when_the_proxy_is_killed_and_comes_back(
    server: ServerProcess, context: BrowserContext, tmp_path: Path, through: Through
) -> None:
    folder = tmp_path / "steps"
    with through(server.port, tmp_path) as proxy:
        job_id = steps(server, folder, 4)
        page = follow(context, proxy.url, job_id)
        (folder / "0").touch()
        expect(page.locator("#story")).to_contain_text("step 0")
        proxy.stop()
        (folder / "1").touch()
        (folder / "2").touch()
        proxy.start()
        expect(page.locator("#story")).to_contain_text("step 2")
        (folder / "3").touch()
        expect(page.locator("#story")).to_contain_text("[DONE]")

        assert shown(page) == [f"step {number}" for number in range(4)]


def test_nine_tabs_follow_at_once_over_http_2(
    server: ServerProcess, context: BrowserContext, tmp_path: Path
) -> None:
    folder = tmp_path / "steps"
    with caddy(server.port, tmp_path) as proxy:
        job_id = steps(server, folder, 2)
        pages = [follow(context, proxy.url, job_id) for _ in range(TABS)]
        (folder / "0").touch()
        for page in pages:
            expect(page.locator("#story")).to_contain_text("step 0")
        (folder / "1").touch()
        for page in pages:
            expect(page.locator("#story")).to_contain_text("[DONE]")


def test_the_console_is_live_in_nine_tabs_over_http_2(
    server: ServerProcess, context: BrowserContext, tmp_path: Path
) -> None:
    folder = tmp_path / "steps"
    with caddy(server.port, tmp_path) as proxy:
        job_id = steps(server, folder, 2)
        pages = [context.new_page() for _ in range(TABS)]
        for page in pages:
            page.goto(f"{proxy.url}/jobs/{job_id}")
        spoken = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
        assert {page.evaluate(spoken) for page in pages} == {"h2"}
        (folder / "0").touch()
        for page in pages:
            expect(page.get_by_text("step 0").first).to_be_attached()
        (folder / "1").touch()
        for page in pages:
            expect(page.get_by_text("step 1").first).to_be_attached()


def _step_by_step(page: Page, folder: Path, count: int) -> None:
    for number in range(count):
        (folder / str(number)).touch()
        expect(page.locator("#story")).to_contain_text(f"step {number}")
    expect(page.locator("#story")).to_contain_text("[DONE]")
    assert shown(page) == [f"step {number}" for number in range(count)]

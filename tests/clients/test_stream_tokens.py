"""The page of STREAM.md for a closed server, in a real Chromium: `EventSource` with tokens."""

import re
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from tests.clients.keyed import Keyed, keyed
from tests.clients.page import block
from tests.clients.proxies import nginx
from tests.clients.server import WAIT_S

FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
TOKEN_S: Final = 1
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


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A server that asks for keys; its tokens end soon."""
    folder = tmp_path_factory.mktemp("keys")
    with keyed(folder, heartbeat_s=0.2, stream_token_s=TOKEN_S) as started:
        yield started


class Shop:
    """The page and, as the reader's own server would, the address of a stream with a token."""

    def __init__(self, browser: Browser, closed: Keyed, url: str) -> None:
        self.tokens: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self._closed = closed
        self._url = url
        self.context = browser.new_context()
        self.context.set_default_timeout(WAIT_S * 1_000)
        expect.set_options(timeout=WAIT_S * 1_000)
        self.context.route("**/example?*", self._page)
        self.context.route("**/stream-address?*", self._address)
        self.context.on("request", self._note)

    def open(self, job_id: str) -> Page:
        """The page, on a job."""
        page = self.context.new_page()
        page.goto(f"{self._url}/example?job={job_id}")
        return page

    def _page(self, route: Route) -> None:
        script = f'<pre id="story"></pre><script type="module">{block("javascript")}</script>'
        route.fulfill(body=f"<!doctype html>{script}", content_type="text/html")

    def _address(self, route: Route) -> None:
        job_id = route.request.url.partition("job=")[2]
        answer = self._closed.server.client.post(f"/v1/jobs/{job_id}/stream-token")
        assert answer.status_code == 201, answer.text
        self.tokens.append(answer.json())
        route.fulfill(json=answer.json())

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)


def steps(closed: Keyed, folder: Path, count: int) -> str:
    """A job that takes a step each time that there is a file for it in `folder`."""
    folder.mkdir()
    params = {"folder": str(folder), "count": count}
    return str(closed.server.submit("steps", params=params)["id"])


def shown(page: Page) -> list[str]:
    """The steps on the page, in order."""
    return re.findall(r"step (\d+)", page.locator("#story").inner_text())


def test_a_page_without_a_key_follows_a_story_by_a_token(
    browser: Browser, closed: Keyed, tmp_path: Path
) -> None:
    folder = tmp_path / "steps"
    job_id = steps(closed, folder, 2)
    shop = Shop(browser, closed, closed.server.url)
    page = shop.open(job_id)
    (folder / "0").touch()
    expect(page.locator("#story")).to_contain_text("step 0")
    (folder / "1").touch()
    expect(page.locator("#story")).to_contain_text("[DONE]")

    assert shown(page) == ["0", "1"]
    assert len(shop.tokens) == 1
    assert not any(key in url for url in shop.asked for key in closed.keys.values())
    shop.context.close()


def test_a_page_whose_token_has_ended_takes_another_and_goes_on_where_it_was(
    browser: Browser, closed: Keyed, tmp_path: Path
) -> None:
    folder = tmp_path / "steps"
    job_id = steps(closed, folder, 3)
    with nginx(closed.server.port, tmp_path) as proxy:
        shop = Shop(browser, closed, proxy.url)
        page = shop.open(job_id)
        (folder / "0").touch()
        expect(page.locator("#story")).to_contain_text("step 0")
        proxy.stop()
        (folder / "1").touch()
        end = datetime.fromisoformat(shop.tokens[0]["expires_at"]).timestamp()
        time.sleep(max(0.0, end - time.time()) + 0.1)
        proxy.start()
        expect(page.locator("#story")).to_contain_text("step 1")
        (folder / "2").touch()
        expect(page.locator("#story")).to_contain_text("[DONE]")

        assert shown(page) == ["0", "1", "2"]
        assert len(shop.tokens) == 2
        shop.context.close()

"""Makes `.github/console.png`: a job's page while the job runs.

    python -m tests.console.picture

Needs Chromium (on Debian, `apt-get install chromium`).
"""

import shutil
import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import expect, sync_playwright

from tests.clients.server import serving
from tests.console.conftest import FLAGS

PICTURE: Final = Path(__file__).parents[2] / ".github" / "console.png"
OPERATIONS: Final = Path(__file__).with_name("shop.py")


def main() -> None:
    """Run the job, look at its page and keep what is seen."""
    browser = shutil.which("chromium")
    if browser is None:
        raise SystemExit("Chromium is not installed: on Debian, apt-get install chromium")
    with serving([OPERATIONS]) as server, sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=[*FLAGS])
        page = started.new_page(
            viewport={"width": 1180, "height": 800}, color_scheme="light", base_url=server.url
        )
        job = server.submit("pack_order", params={"order": 4711}, tags={"shop": "north"})
        page.goto(f"/jobs/{job['id']}")
        expect(page.get_by_text("Packing the atlas")).to_be_visible()
        page.get_by_text("Packing the kettle").hover()
        page.wait_for_timeout(500)
        page.screenshot(path=PICTURE)
        started.close()
    sys.stdout.write(f"{PICTURE.name}: {PICTURE.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()

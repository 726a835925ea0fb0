"""Makes `.github/prometheus.png`: a panel's query on Prometheus's own page, under the tests' load.

    python -m tests.dashboards.picture

Needs Chromium and Prometheus (on Debian, `apt-get install chromium prometheus`). The server, its
load and the query are those of the tests; nothing is drawn by us.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from tests.dashboards.generated import expressions, filled_in
from tests.dashboards.load import run, scraped

PICTURE: Final = Path(__file__).parents[2] / ".github" / "prometheus.png"
PANEL: Final = "Jobs by how they ended"
SIZE: Final = "1000,910"
SHOWN_S: Final = 16
SCRAPE_S: Final = 0.5
WAIT_S: Final = 60.0
DRAWN_MS: Final = 6000
"""The page's own time, which Chromium lets pass at once where nothing is awaited."""


def main() -> None:
    """Run the load, open the page and keep what is seen."""
    (query,) = (each["expr"] for shown, each in expressions() if shown.panel["title"] == PANEL)
    with (
        tempfile.TemporaryDirectory() as folder,
        scraped(Path(folder), interval_s=SCRAPE_S) as (server, receiver, address),
    ):
        run(server, receiver, Path(folder))
        graph = {
            "g0.expr": filled_in(query, {}),
            "g0.tab": "0",
            "g0.stacked": "1",
            "g0.range_input": f"{SHOWN_S}s",
            "g0.step_input": "1",
        }
        photograph(f"{address}/graph?{urlencode(graph)}", Path(folder))
    sys.stdout.write(f"{PICTURE.name}: {PICTURE.stat().st_size} bytes\n")


def photograph(address: str, folder: Path) -> None:
    """What Chromium shows of a page, as PNG."""
    browser = shutil.which("chromium")
    if browser is None:
        raise SystemExit("Chromium is not installed: on Debian, apt-get install chromium")
    subprocess.run(
        [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={SIZE}",
            f"--virtual-time-budget={DRAWN_MS}",
            f"--screenshot={PICTURE}",
            address,
        ],
        check=True,
        timeout=WAIT_S,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()

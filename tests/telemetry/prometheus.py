"""A real Prometheus on a free port, and its HTTP API."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is not installed here",
)


@contextmanager
def prometheus(
    target_port: int, folder: Path, *, interval: str = "1s", rules: Path | None = None
) -> Iterator[str]:
    """A Prometheus that scrapes the port, and evaluates `rules`, so often; gives its address."""
    config = folder / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: {interval}, evaluation_interval: {interval}}}\n"
        "scrape_configs:\n"
        "- job_name: narrator\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{target_port}']}}]\n"
        f"rule_files: [{json.dumps(str(rules)) if rules else ''}]\n"
    )
    log = folder / "prometheus.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
                "--enable-feature=exemplar-storage",
            ],
            stdout=written,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://{_listening(process, log)}"
        finally:
            process.terminate()
            process.wait(30)


def _listening(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that Prometheus says it listens on, once it does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if "Listening on" in line and "address=127.0.0.1:" in line:
                return line.partition("address=")[2].split()[0]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def asked(address: str, path: str, **query: str) -> Any:
    """The data of an answer."""
    url = f"{address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]


def polled(address: str, path: str, **query: str) -> Any:
    """The first answer that is not empty."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            found = asked(address, path, **query)
        except urllib.error.HTTPError:  # it listens before it is ready
            time.sleep(0.1)
            continue
        if found["result"] if isinstance(found, dict) else found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} {query} stayed empty: {asked(address, 'targets')}")

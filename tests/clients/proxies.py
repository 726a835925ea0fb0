"""nginx and Caddy as STREAM.md sets them up, each on a port and in a folder of its own.

What the page leaves to a machine (port, user, log, certificate) is put around it here.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.clients.page import block
from tests.clients.server import WAIT_S, until

UPSTREAM: Final = "127.0.0.1:8000"
_NGINX: Final = """
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  log_format asked '$request_method $request_uri $upstream_status';
  access_log {folder}/access.log asked;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {site}
}}
"""
_CADDY: Final = """
{{
  admin off
  skip_install_trust
  grace_period 100ms
  auto_https disable_redirects
  storage file_system {folder}/storage
}}
{site}
"""


@dataclass(slots=True, kw_only=True)
class RunningProxy:
    """A proxy that is running; it can be killed and started again at the same address."""

    url: str
    folder: Path
    port: int
    command: tuple[str, ...]
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "said").open("ab") as said:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.folder
            )
        until(self._listens, what=f"{self.command[0]} at {self.url}")

    def stop(self) -> None:
        """End it with all its connections."""
        self.process.terminate()
        self.process.wait(WAIT_S)

    def asked(self) -> list[tuple[str, bool]]:
        """Each request that nginx has answered: its target, and whether it asked the server."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return [(line.split()[1], line.split()[2] != "-") for line in lines]

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.folder / "said").read_text()
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.port), WAIT_S).close()
            return True
        return False


@contextlib.contextmanager
def nginx(upstream: int, folder: Path) -> Iterator[RunningProxy]:
    """Debian's nginx before the local port `upstream`."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program is not None, "nginx is not installed: on Debian, apt-get install nginx"
    port = _free_port()
    site = (
        block("nginx")
        .replace("/var/cache/nginx/stories", f"{folder}/cache")
        .replace("listen 8080", f"listen 127.0.0.1:{port} backlog=4096")
        .replace(UPSTREAM, f"127.0.0.1:{upstream}")
    )
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, site=site))
    command = (program, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf")
    with _running(f"http://127.0.0.1:{port}", folder, port, command) as started:
        yield started


@contextlib.contextmanager
def caddy(upstream: int, folder: Path) -> Iterator[RunningProxy]:
    """PyPI's Caddy before the local port `upstream`, with a certificate that it signed itself."""
    program = str(Path(sys.executable).with_name("caddy"))
    port = _free_port()
    site = (
        block("caddyfile")
        .replace("narrator.example.com {", f"https://localhost:{port} {{\n  tls internal")
        .replace(UPSTREAM, f"127.0.0.1:{upstream}")
    )
    (folder / "Caddyfile").write_text(_CADDY.format(folder=folder, site=site))
    command = (program, "run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile")
    with _running(f"https://localhost:{port}", folder, port, command) as started:
        yield started


@contextlib.contextmanager
def _running(url: str, folder: Path, port: int, command: tuple[str, ...]) -> Iterator[RunningProxy]:
    proxy = RunningProxy(url=url, folder=folder, port=port, command=command)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port

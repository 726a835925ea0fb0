"""The reference of streams: nginx with nchan, a C server, in a folder and on a port of its own."""

import functools
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Self

from tests.benchmarks.servers import HOST, WAIT_S, cpu_s

MISSING: Final = "none"
"""The version of an nginx that is not installed, or has no nchan."""

_MODULES: Final = (Path("/usr/lib/nginx/modules"), Path("/usr/share/nginx/modules"))
_NGINX: Final = """
load_module {module};
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 10000000;
  keepalive_timeout 1h;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/pub/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; }}
    location ~ ^/sub/(\\w+)$ {{
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


class Nchan:
    """nginx with nchan: its own folder, one worker, everything else as it comes."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="narrator-bench-nginx-")
        self.port = _free_port()
        config = Path(self.folder.name, "nginx.conf")
        config.write_text(
            _NGINX.format(module=_nchan_module(), folder=self.folder.name, port=self.port)
        )
        self._process = subprocess.Popen(
            ["nginx", "-e", f"{self.folder.name}/error.log", "-c", str(config)],
            stdin=subprocess.DEVNULL,
        )
        self._publisher = self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop it."""
        self._publisher.close()
        self._process.terminate()
        self._process.wait(WAIT_S)
        self.folder.cleanup()

    def cpu_s(self) -> float:
        """CPU seconds that its processes have used."""
        return sum(cpu_s(each) for each in (self._process.pid, *_children(self._process.pid)))

    def publish(self, channels: list[str], message: bytes) -> None:
        """Publish `message` on each of `channels`, all of it in one write; wait for the answers."""
        head = b"Host: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(message)
        requests = (b"POST /pub/%b HTTP/1.1\r\n" % each.encode() for each in channels)
        self._publisher.sendall(b"".join(each + head + message for each in requests))
        answers, answered = b"", 0
        while answered < len(channels):
            answers += self._publisher.recv(65_536)
            while (end := _answer_end(answers)) is not None:
                assert answers.startswith(b"HTTP/1.1 20"), answers[:200]
                answers, answered = answers[end:], answered + 1

    def _connect(self) -> socket.socket:
        end = time.monotonic() + WAIT_S
        while True:
            try:
                connected = socket.create_connection((HOST, self.port), WAIT_S)
            except ConnectionRefusedError:
                assert time.monotonic() < end, "nginx does not listen"
                time.sleep(0.02)
            else:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connected


@functools.cache
def nginx_version() -> str:
    """The installed nginx's version; `MISSING` without it or its nchan module."""
    if shutil.which("nginx") is None or _nchan_module() is None:
        return MISSING
    told = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return told.strip().rpartition("/")[2]


def _nchan_module() -> Path | None:
    files = (folder / "ngx_nchan_module.so" for folder in _MODULES)
    return next((file for file in files if file.exists()), None)


def _answer_end(data: bytes) -> int | None:
    """Where the first answer in `data` ends; None if not all of it is there."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = data[:head].lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    end = head + 4 + int(length)
    return end if end <= len(data) else None


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port

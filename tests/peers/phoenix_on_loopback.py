"""Runs Phoenix with its gRPC port on loopback, too: it has a setting for its HTTP host alone.

Run by the interpreter of the peers, which has Phoenix; nothing of this project is imported there.
"""

import sys
from typing import Any

import grpc.aio
from phoenix.server.main import main

_make_server = grpc.aio.server


def _server_on_loopback(*args: Any, **options: Any) -> Any:
    server = _make_server(*args, **options)
    listen = server.add_insecure_port
    server.add_insecure_port = lambda address: listen(f"127.0.0.1:{address.rpartition(':')[2]}")
    return server


if __name__ == "__main__":
    grpc.aio.server = _server_on_loopback
    sys.argv = ["phoenix", "serve"]
    main()

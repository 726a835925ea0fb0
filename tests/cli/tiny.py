"""A server of ours around the smallest application, for tests of signals; run with a mode.

It prints what happens to it, a line each. `quick` drains at once, `slow` waits for /release,
`broken` raises in its drain.
"""

import asyncio
import os
import sys

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.cli.server import Server, address_of, configuration, listen


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 — its output is what the tests read


def main(mode: str) -> None:
    released = asyncio.Event()

    async def release(request: Request) -> Response:
        released.set()
        return PlainTextResponse("released")

    async def drain() -> None:
        say("drain began")
        if mode == "broken":
            raise RuntimeError("a defect")
        if mode == "slow":
            await released.wait()
        say("drain ended")

    def abort() -> None:
        os.write(1, b"aborted\n")  # print may have been interrupted by the signal

    sockets = listen("127.0.0.1", 0)
    server = Server(
        configuration(Starlette(routes=[Route("/", release), Route("/release", release)])),
        ready=lambda: say(f"listening on {address_of(sockets[0])}"),
        drain=drain,
        abort=abort,
    )
    server.run(sockets=sockets)
    say("ended")


if __name__ == "__main__":
    main(sys.argv[1])

"""A real uvicorn on a free port of this machine, in the test's own loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import uvicorn


@contextlib.asynccontextmanager
async def serving(
    app: Any, *, http: type[asyncio.Protocol] | Literal["auto"] = "auto"
) -> AsyncIterator[str]:
    """Serve `app`; gives its address. Whatever is still open at the end is cut off.

    `http` is the server's protocol: uvicorn's own, or one that offers its connections.
    """
    config = uvicorn.Config(
        app,
        http=http,
        host="127.0.0.1",
        port=0,
        log_config=None,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or task.done())
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def until(holds: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Wait until `holds`; fails after `within_s` seconds, which no healthy run comes near."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


def bounded(test: Awaitable[None], *, within_s: float = 60.0) -> None:
    """Run an asynchronous test, for `within_s` seconds at most."""

    async def main() -> None:
        async with asyncio.timeout(within_s):
            await test

    asyncio.run(main())

"""Both clients with one face, so that a test of what they do is written once."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from app.client import AsyncClient, AsyncStream, Client, Event

Open = Callable[..., contextlib.AbstractContextManager[Any]]
"""Makes a client from the arguments of `Client`; it is a `Client`, or looks like one."""


class Blocking:
    """An `AsyncClient` whose calls wait, on a loop of their own."""

    def __init__(self, client: AsyncClient, portal: BlockingPortal) -> None:
        self._client = client
        self._portal = portal

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            if iscoroutinefunction(found):
                return self._portal.call(partial(found, *arguments, **options))
            items = found(*arguments, **options)  # a stream, or the jobs of a list
            return BlockingItems(items, self._portal)

        return call


class BlockingItems:
    """What is iterated with `async for`, for `for`."""

    def __init__(self, items: Any, portal: BlockingPortal) -> None:
        self._items = items
        self._portal = portal

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        async def following() -> Any:
            return await anext(self._items, self)

        item = self._portal.call(following)
        if item is self:
            raise StopIteration
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def last_event_id(self) -> str:
        """That of the stream."""
        assert isinstance(self._items, AsyncStream)
        return self._items.last_event_id

    def close(self) -> None:
        """Close the stream."""
        self._portal.call(self._items.close)


@contextlib.contextmanager
def waiting(*arguments: Any, **options: Any) -> Iterator[Client]:
    """The client for code that waits."""
    with Client(*arguments, **options) as client:
        yield client


@contextlib.contextmanager
def awaiting(*arguments: Any, **options: Any) -> Iterator[Blocking]:
    """The client for coroutines."""
    with start_blocking_portal() as portal:

        async def start() -> AsyncClient:
            return AsyncClient(*arguments, **options)

        client = portal.call(start)
        try:
            yield Blocking(client, portal)
        finally:
            portal.call(client.close)


BOTH: dict[str, Open] = {"sync": waiting, "async": awaiting}


def sequence(events: list[Event]) -> list[int]:
    """The sequences of those that have one."""
    return [each.seq for each in events if hasattr(each, "seq")]

"""Items in compressed blocks: what is kept of a story that has ended, in little room.

A block is MessagePack, then zlib at its fastest level: of a story's entries a fifth is left, at
100 MB/s; better levels take two to five times as long for a tenth less. Reading one block unpacks
no other. It does not know what the items are, nor when it is worth the time.
"""

import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

_Item = TypeVar("_Item")

BLOCK_ITEMS: Final = 256
"""Items in one block at most."""

BLOCK_BYTES: Final = 64 * 1024
"""Bytes of items in one block, before they are compressed, unless one item alone is larger."""

_OVERHEAD: Final = 41  # a block's header as bytes, and its slot
_LEVEL: Final = 1


class Block(NamedTuple):
    """Some items; `stop` is the place after the last of them."""

    stop: int
    data: bytes


def packed(items: Sequence[_Item], weigh: Callable[[_Item], int]) -> Iterator[Block]:
    """`items` in blocks, each made when it is asked for, in a millisecond at most.

    `weigh` gives the bytes of an item.
    """
    start = total = 0
    for stop, item in enumerate(items, 1):
        total += weigh(item)
        if total >= BLOCK_BYTES or stop - start == BLOCK_ITEMS or stop == len(items):
            yield Block(stop, zlib.compress(_encode(items[start:stop]), _LEVEL))
            start, total = stop, 0


class Blocks:
    """Packed items, read by their place; never changed."""

    __slots__ = ("_data", "_stops", "size")

    def __init__(self, blocks: Iterable[Block]) -> None:
        found = tuple(blocks)
        self._stops = tuple(block.stop for block in found)
        self._data = tuple(block.data for block in found)
        self.size: Final = sum(len(data) + _OVERHEAD for data in self._data)
        """Bytes that they take."""

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    def read(
        self, start: int, stop: int, decoder: "msgspec.msgpack.Decoder[list[_Item]]"
    ) -> list[_Item]:
        """The items from place `start` to before `stop`, as `decoder` makes them of what was given.

        Both are at least 0; there is nothing beyond the last item.
        """
        found: list[_Item] = []
        number = bisect_right(self._stops, start)
        first = self._stops[number - 1] if number else 0
        while first + len(found) < stop and number < len(self._data):
            found += decoder.decode(zlib.decompress(self._data[number]))
            number += 1
        return found[start - first : stop - first] if stop > start else []


_encode: Final = msgspec.msgpack.Encoder().encode

"""Items in compressed blocks: what is kept of a story that has ended, in little room.

A block is how many items it holds, then all of them as MessagePack under zlib at its fastest level:
of a story's entries a fifth is left, at 100 MB/s; better levels take two to five times as long for
a tenth less. Reading some items unpacks the blocks that they are in. It does not know what the
items are, nor when it is worth the time.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

_Item = TypeVar("_Item")

Blocks = tuple[bytes, ...]

BLOCK_ITEMS: Final = 256
"""Items in one block at most."""

BLOCK_BYTES: Final = 64 * 1024
"""Bytes of items in one block, before they are compressed, unless one item alone is larger."""

_OVERHEAD: Final = 41  # a block's header as bytes, and its slot
_COUNT: Final = 2  # bytes of the number of items
_LEVEL: Final = 1


def packed(items: Sequence[_Item], weigh: Callable[[_Item], int]) -> Iterator[bytes]:
    """`items` in blocks, each made when it is asked for, in a millisecond at most.

    `weigh` gives the bytes of an item.
    """
    start = total = 0
    for stop, item in enumerate(items, 1):
        total += weigh(item)
        if total >= BLOCK_BYTES or stop - start == BLOCK_ITEMS or stop == len(items):
            count = (stop - start).to_bytes(_COUNT, "big")
            yield count + zlib.compress(_encode(items[start:stop]), _LEVEL)
            start, total = stop, 0


def unpacked(
    blocks: Blocks, start: int, stop: int, decoder: "msgspec.msgpack.Decoder[list[_Item]]"
) -> list[_Item]:
    """The items from place `start` to before `stop`, as `decoder` makes them of what was given.

    Both are at least 0; there is nothing beyond the last item.
    """
    found: list[_Item] = []
    first = 0  # the place of the first item of a block
    for block in blocks:
        if first >= stop:
            break
        after = first + count_of((block,))
        if after > start:
            items = decoder.decode(zlib.decompress(memoryview(block)[_COUNT:]))
            found += items[max(0, start - first) : stop - first]
        first = after
    return found


def count_of(blocks: Blocks) -> int:
    """How many items are in `blocks`."""
    return sum(int.from_bytes(block[:_COUNT], "big") for block in blocks)


def size_of(blocks: Blocks) -> int:
    """The bytes of memory that `blocks` take."""
    return sum(len(block) + _OVERHEAD for block in blocks)


_encode: Final = msgspec.msgpack.Encoder().encode

"""Blocks: packed items are read as they were given."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from narration.blocks import (
    BLOCK_BYTES,
    BLOCK_ITEMS,
    Blocks,
    count_of,
    packed,
    size_of,
    unpacked,
)

DECODER = msgspec.msgpack.Decoder(list[bytes])


def blocks_of(items: list[bytes]) -> Blocks:
    return tuple(packed(items, len))


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(0, 40), st.integers(0, 40))
def test_any_part_is_read_as_it_was_given(items: list[bytes], start: int, stop: int) -> None:
    blocks = blocks_of(items)

    assert unpacked(blocks, start, stop, DECODER) == items[start:stop]
    assert count_of(blocks) == len(items)


def test_parts_go_across_blocks() -> None:
    items = [b"%d" % number for number in range(3 * BLOCK_ITEMS + 7)]
    blocks = blocks_of(items)
    edges = [edge + by for edge in range(0, len(items), BLOCK_ITEMS) for by in (-1, 0, 1) if edge]

    for start in [0, *edges]:
        for stop in [*edges, len(items), len(items) + 5]:
            assert unpacked(blocks, start, stop, DECODER) == items[start:stop]


def test_a_block_holds_no_more_than_its_items_and_bytes() -> None:
    few, large = [b"x"] * (BLOCK_ITEMS + 1), [b"y" * (BLOCK_BYTES // 2)] * 5

    assert [count_of((block,)) for block in packed(few, len)] == [BLOCK_ITEMS, 1]
    assert [count_of((block,)) for block in packed(large, len)] == [2, 2, 1]


def test_a_block_is_made_when_it_is_asked_for() -> None:
    looked_at: list[bytes] = []

    def weigh(item: bytes) -> int:
        looked_at.append(item)
        return BLOCK_BYTES

    steps = packed([b"a", b"b", b"c"], weigh)
    next(steps)

    assert looked_at == [b"a"]


def test_what_repeats_itself_takes_little_room() -> None:
    items = [b'{"seq":%d,"kind":"event","text":"step"}' % number for number in range(1000)]

    assert size_of(blocks_of(items)) < sum(map(len, items)) / 5

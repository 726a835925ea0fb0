"""A tally loses nothing, whoever adds and whenever it is taken."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from telemetry.tally import Tally


@given(st.lists(st.integers(min_value=0, max_value=20)))
def test_each_take_gives_what_was_added_since_the_last(bursts: list[int]) -> None:
    tally = Tally()
    taken = []
    for burst in bursts:
        for _ in range(burst):
            tally.add()
        taken.append(tally.take())

    assert taken == bursts


def test_nothing_is_lost_between_threads() -> None:
    tally, taken = Tally(), 0
    threads = [
        threading.Thread(target=lambda: [tally.add() for _ in range(20_000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += tally.take()
    taken += tally.take()

    assert taken == 80_000

import asyncio
import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.virtual_time import EPOCH_NS, VirtualClock, VirtualTimeError, run_virtual


def test_a_year_of_waiting_passes_at_once_and_exactly() -> None:
    async def main(clock: VirtualClock) -> float:
        for _ in range(360):
            await asyncio.sleep(86_400)
        return clock.monotonic()

    assert run_virtual(main) == 360 * 86_400


def test_the_wall_clock_agrees_with_the_monotonic_one() -> None:
    async def main(clock: VirtualClock) -> int:
        await asyncio.sleep(1.5)
        return clock.wall_ns()

    assert run_virtual(main) == EPOCH_NS + 1_500_000_000


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=20))
def test_timers_fire_in_the_order_of_their_times(delays: list[float]) -> None:
    async def main(clock: VirtualClock) -> list[float]:
        fired: list[float] = []

        async def wait(delay: float) -> None:
            await asyncio.sleep(delay)
            fired.append(delay)

        await asyncio.gather(*map(wait, delays))
        return fired

    fired = run_virtual(main)
    for earlier, later in itertools.pairwise(fired):
        assert earlier <= later + 1e-6


def test_two_runs_are_the_same() -> None:
    async def main(clock: VirtualClock) -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []

        async def tick(name: str, period: float) -> None:
            for _ in range(5):
                await asyncio.sleep(period)
                seen.append((name, clock.monotonic()))

        await asyncio.gather(tick("a", 1), tick("b", 1), tick("c", 0.3))
        return seen

    assert run_virtual(main) == run_virtual(main)


def test_a_wait_for_nothing_is_an_error_that_names_the_waiting_task() -> None:
    async def main(clock: VirtualClock) -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="the patient one")

    with pytest.raises(VirtualTimeError, match=r"the patient one at .*locks\.py"):
        run_virtual(main)


def test_an_endless_run_is_an_error() -> None:
    async def main(clock: VirtualClock) -> None:
        while True:  # noqa: ASYNC110  # what is tested
            await asyncio.sleep(60)

    with pytest.raises(VirtualTimeError, match="3600 virtual seconds have passed"):
        run_virtual(main, limit_s=3600)


def test_an_endless_run_ends_late_as_well() -> None:
    async def main(clock: VirtualClock) -> None:
        while True:  # noqa: ASYNC110  # what is tested
            await asyncio.sleep(1e6 + 0.1)

    with pytest.raises(VirtualTimeError):
        run_virtual(main)


def test_time_does_not_jump_while_a_thread_works() -> None:
    async def main(clock: VirtualClock) -> bool:
        release = threading.Event()
        timer = asyncio.get_running_loop().call_later(3600, release.set)
        waited = await asyncio.to_thread(release.wait, 0.05)
        timer.cancel()
        return waited

    assert run_virtual(main) is False


def test_real_time_passes_while_held_and_jumps_again_afterwards() -> None:
    async def main(clock: VirtualClock) -> tuple[float, float]:
        with clock.hold():
            await asyncio.sleep(0.02)
        held = clock.monotonic()
        await asyncio.sleep(1000)
        return held, clock.monotonic()

    held, after = run_virtual(main)
    assert 0.02 <= held < 1000
    assert after >= 1000 + held


def test_a_hold_released_by_another_thread_wakes_the_loop() -> None:
    async def main(clock: VirtualClock) -> float:
        held = clock.hold()
        held.__enter__()
        threading.Timer(0.02, held.__exit__, (None, None, None)).start()
        await asyncio.sleep(3600)
        return clock.monotonic()

    assert run_virtual(main) >= 3600


def test_an_executor_that_refuses_holds_nothing() -> None:
    async def main(clock: VirtualClock) -> float:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError):
            loop.run_in_executor(None, int)
        await asyncio.sleep(3600)
        return clock.monotonic()

    assert run_virtual(main) >= 3600


def test_a_failure_passes_through() -> None:
    async def main(clock: VirtualClock) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run_virtual(main)

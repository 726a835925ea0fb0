"""A finished job is freed by its reference counts: it leaves no cycle for the collector to find."""

import gc
from collections import Counter

import pytest

from app.handlers.operation import operation
from tests.engine.harness import Bench, run
from tests.engine.operations import sleep

pytestmark = pytest.mark.backend("memory")


@operation("gives")
async def gives(size: int) -> str:
    """Give more than a job may keep."""
    return "x" * size


@operation("fails")
async def fails(size: int) -> None:
    """Raise an error that says much."""
    raise RuntimeError("x" * size)


@pytest.mark.parametrize(
    ("name", "params"),
    [("sleep", {"for_s": 1}), ("gives", {"size": 100_000}), ("fails", {"size": 100_000})],
)
def test_a_finished_job_leaves_no_work_for_the_collector(name: str, params: dict[str, int]) -> None:
    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit(name, params))  # what is made once is made
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await bench.ended(bench.submit(name, params))
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            found = Counter(type(each).__module__ for each in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

        ours = {
            module: count
            for module, count in found.items()
            if module.partition(".")[0] in {"app", "narration", "telemetry", "opentelemetry"}
        }
        assert ours == {}

    run(test, sleep, gives, fails, retention_jobs=5, max_result_bytes=50_000)

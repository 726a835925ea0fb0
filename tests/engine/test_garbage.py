"""A finished job is freed by its reference counts: it leaves no cycle for the collector to find."""

import gc
from collections import Counter

from tests.engine.harness import Bench, run
from tests.engine.operations import sleep


def test_a_finished_job_leaves_no_work_for_the_collector() -> None:
    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit("sleep"))  # what is made once is made
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await bench.ended(bench.submit("sleep", {"for_s": 1}))
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

    run(test, sleep, retention_jobs=5)

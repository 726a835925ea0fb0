"""What gauges read at scrape: the state itself, not a count kept beside it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from app.engine.core import Core
from app.jobs.retention import Retention
from telemetry.clock import rfc3339
from telemetry.names import Priority, State

_RUNNING: Final = (State.RUNNING, State.CANCELLING)


class EngineTruth:
    """The engine as `telemetry.metrics.Truth` asks for it; on the loop's thread."""

    def __init__(self, core: Core, retention: Retention, operations: Iterable[str]) -> None:
        self._core = core
        self._operations = tuple(operations)
        self._retention = retention

    def queue_depth(self) -> Mapping[Priority, int]:
        """Queued jobs by priority; deferred ones are not among them."""
        return self._core.queue.depth()

    def oldest_age_s(self) -> Mapping[Priority, float]:
        """How long the oldest queued job of each priority has waited; 0 where none waits."""
        return self._ages_s(None)

    def running(self) -> Mapping[str, int]:
        """Jobs that hold a slot, by operation; those being cancelled included."""
        return self._of_each(*_RUNNING)

    def retrying(self) -> Mapping[str, int]:
        """Jobs that wait for their retry time, by operation."""
        return self._of_each(State.RETRYING)

    def deferred(self) -> int:
        """Jobs that wait for their first stream."""
        return self._core.registry.deferred()

    def retained_jobs(self) -> int:
        """Finished jobs that are kept."""
        return self._retention.jobs

    def retained_bytes(self) -> int:
        """Bytes that they hold."""
        return self._retention.bytes

    def slots(self) -> int:
        """How many jobs may run at once."""
        return self._core.settings.concurrency

    def overview(self, tenant: str) -> dict[str, Any]:
        """All of it at once, and more, as `GET /v1/overview` says it to one tenant."""
        core, ages, depth = self._core, self._ages_s(tenant), self._core.queue.depth(tenant)
        return {
            "at": rfc3339(core.clock.wall_ns()),
            "slots": self.slots(),
            "running": self._of_each(*_RUNNING, tenant=tenant),
            "retrying": self._of_each(State.RETRYING, tenant=tenant),
            "queue": {
                each.value: {"depth": depth.get(each, 0), "oldest_age_s": ages[each]}
                for each in reversed(Priority)
            },
            "deferred": core.registry.deferred(tenant),
            "states": {each.value: core.registry.count(each, tenant=tenant) for each in State},
            "draining": core.draining,
        }

    def _ages_s(self, tenant: str | None) -> Mapping[Priority, float]:
        now, oldest = self._core.clock.monotonic(), self._core.queue.oldest(tenant)
        return {each: max(0.0, now - oldest[each]) if each in oldest else 0.0 for each in Priority}

    def _of_each(self, *states: State, tenant: str | None = None) -> Mapping[str, int]:
        """A number for every operation, 0 included: a series that vanishes is no zero."""
        counts = self._core.registry.by_operation(*states, tenant=tenant)
        return {name: counts.get(name, 0) for name in self._operations}

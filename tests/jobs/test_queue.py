from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.jobs.queue import BOOST_S, Concurrency, JobQueue
from telemetry.names import Priority

LIMITS = {
    "one": Concurrency(limit=1),
    "two": Concurrency(limit=2, per_key=2),
    "wide": Concurrency(per_key=1),
}
OPERATIONS = [*LIMITS, "unknown"]
KEYS = [None, "a", "b", "c"]
TENANTS = ["acme", "evil", "third"]
PER_TENANT = 3


@dataclass(frozen=True)
class Waiting:
    """A job of the model."""

    job_id: str
    rank: tuple[float, int]
    priority: Priority
    operation: str
    key: str | None
    queued_mono: float
    tenant: str


class NaiveQueue:
    """The model: sorts everything again for each question."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.running: list[tuple[str, str | None, str]] = []

    def ranked(self) -> list[Waiting]:
        """All that wait, best first."""
        return sorted(self.waiting, key=lambda job: job.rank)

    def may_run(self, job: Waiting) -> bool:
        """Whether no limit holds it back."""
        limits = LIMITS.get(job.operation, Concurrency())
        of_operation = sum(1 for name, _, _ in self.running if name == job.operation)
        own = [key for _, key, tenant in self.running if tenant == job.tenant]
        of_key = sum(1 for key in own if key is not None and key == job.key)
        return (
            (limits.limit is None or of_operation < limits.limit)
            and of_key < limits.per_key
            and len(own) < PER_TENANT
        )

    def pop(self) -> str | None:
        """The first in rank that may run."""
        for job in self.ranked():
            if self.may_run(job):
                self.waiting.remove(job)
                self.running.append((job.operation, job.key, job.tenant))
                return job.job_id
        return None


class QueueAgainstModel(RuleBasedStateMachine):
    """Whatever happens, the queue answers as the model does."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = JobQueue(LIMITS, per_tenant=PER_TENANT)
        self.model = NaiveQueue()
        self.now = 0.0
        self.pushed = 0

    @rule(
        priority=st.sampled_from(Priority),
        operation=st.sampled_from(OPERATIONS),
        key=st.sampled_from(KEYS),
        tenant=st.sampled_from(TENANTS),
        later_s=st.sampled_from([0.0, 0.0, 1.0, 61.0, 4000.0]),
    )
    def push(
        self, priority: Priority, operation: str, key: str | None, tenant: str, later_s: float
    ) -> None:
        """A job comes, perhaps later than the one before."""
        self.now += later_s
        self.pushed += 1
        job_id = f"j{self.pushed}"
        rank = (self.now - BOOST_S[priority], self.pushed)
        job = Waiting(job_id, rank, priority, operation, key, self.now, tenant)
        self.model.waiting.append(job)
        self.queue.push(
            job_id,
            priority=priority,
            operation=operation,
            concurrency_key=key,
            now_mono=self.now,
            tenant=tenant,
        )

    @rule()
    def pop(self) -> None:
        """One slot is free."""
        assert self.queue.pop() == self.model.pop()

    @rule()
    def pop_all_that_may_run(self) -> None:
        """Many slots are free."""
        while (job_id := self.model.pop()) is not None:
            assert self.queue.pop() == job_id
        assert self.queue.pop() is None

    @precondition(lambda self: self.model.running)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        """Some running job ends."""
        operation, key, tenant = data.draw(st.sampled_from(self.model.running))
        self.model.running.remove((operation, key, tenant))
        self.queue.release(operation, key, tenant=tenant)

    @precondition(lambda self: self.model.waiting)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        """Some waiting job is cancelled."""
        job = data.draw(st.sampled_from(self.model.waiting))
        self.model.waiting.remove(job)
        assert self.queue.remove(job.job_id)

    @invariant()
    def tells_the_same(self) -> None:
        """Depth, positions and ages are the model's."""
        ranked = self.model.ranked()
        assert len(self.queue) == len(ranked)
        for tenant in TENANTS:
            own = [job for job in ranked if job.tenant == tenant]
            assert [self.queue.position(job.job_id) for job in own] == list(range(len(own)))
            assert sum(self.queue.depth(tenant).values()) == len(own)
            oldest = min(self.queue.oldest(tenant).values(), default=None)
            assert oldest == min((job.queued_mono for job in own), default=None)
        for priority in Priority:
            mine = [job.queued_mono for job in ranked if job.priority is priority]
            assert self.queue.depth()[priority] == len(mine)
            assert self.queue.oldest().get(priority) == (min(mine) if mine else None)
        for operation in OPERATIONS:
            count = sum(1 for name, _, _ in self.model.running if name == operation)
            assert self.queue.running(operation) == count


TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def push(queue: JobQueue, job_id: str, **fields: Any) -> None:
    queue.push(
        job_id,
        **{"priority": Priority.NORMAL, "operation": "wide", "now_mono": 0.0, **fields},
    )


def test_the_highest_priority_goes_first_and_the_oldest_within_one() -> None:
    queue = JobQueue()
    for number, priority in enumerate([Priority.LOW, Priority.HIGH, Priority.NORMAL] * 2):
        push(queue, f"{priority}-{number}", priority=priority, now_mono=float(number))
    push(queue, "critical", priority=Priority.CRITICAL, now_mono=9.0)

    assert [queue.pop() for _ in range(7)] == [
        "critical",
        "high-1",
        "high-4",
        "normal-2",
        "normal-5",
        "low-0",
        "low-3",
    ]


def test_a_low_job_that_has_waited_longer_than_the_boost_goes_before_a_normal_one() -> None:
    queue = JobQueue()
    push(queue, "low", priority=Priority.LOW, now_mono=0.0)
    push(queue, "normal", priority=Priority.NORMAL, now_mono=61.0)

    assert (queue.pop(), queue.pop()) == ("low", "normal")


def test_equal_ranks_are_first_in_first_out() -> None:
    queue = JobQueue()
    for number in range(5):
        push(queue, f"j{number}")

    assert [queue.pop() for _ in range(5)] == ["j0", "j1", "j2", "j3", "j4"]


def test_a_full_operation_lets_others_pass() -> None:
    queue = JobQueue(LIMITS)
    push(queue, "first", operation="one")
    push(queue, "second", operation="one")
    push(queue, "other", operation="wide")

    assert [queue.pop(), queue.pop(), queue.pop()] == ["first", "other", None]
    queue.release("one")
    assert queue.pop() == "second"


def test_a_concurrency_key_is_shared_by_operations() -> None:
    queue = JobQueue(LIMITS)
    push(queue, "first", operation="wide", concurrency_key="user")
    push(queue, "second", operation="unknown", concurrency_key="user")

    assert [queue.pop(), queue.pop()] == ["first", None]
    queue.release("wide", "user")
    assert queue.pop() == "second"


def test_an_operation_may_allow_more_than_one_for_each_key() -> None:
    queue = JobQueue(LIMITS)
    for job_id in ("first", "second"):
        push(queue, job_id, operation="two", concurrency_key="user")

    assert [queue.pop(), queue.pop()] == ["first", "second"]


def test_a_job_freed_by_one_limit_and_held_by_another_does_not_hide_the_next() -> None:
    queue = JobQueue({"one": Concurrency(limit=1)})
    push(queue, "runs", operation="one")
    push(queue, "holds the key", concurrency_key="k")
    assert [queue.pop(), queue.pop()] == ["runs", "holds the key"]
    push(queue, "held by its key", operation="one", concurrency_key="k")
    push(queue, "free", operation="one")

    queue.release("one")

    assert [queue.pop(), queue.pop()] == ["free", None]


def test_a_job_waits_once() -> None:
    queue = JobQueue()
    push(queue, "j")
    assert "j" in queue

    with pytest.raises(ValueError, match="already"):
        push(queue, "j")


def test_removing_and_asking_for_what_does_not_wait_is_no_error() -> None:
    queue = JobQueue()

    assert not queue.remove("j")
    assert queue.position("j") is None
    assert queue.running("nothing") == 0


def test_nothing_can_be_released_twice() -> None:
    queue = JobQueue(LIMITS)
    push(queue, "j", operation="one", concurrency_key="k")
    queue.pop()
    queue.release("one", "k")

    with pytest.raises(ValueError, match="released before"):
        queue.release("one", "k")
    with pytest.raises(ValueError, match="released before"):
        queue.release("never seen")


def test_keys_that_come_and_go_leave_nothing_behind() -> None:
    queue = JobQueue()
    for number in range(100):
        push(queue, f"j{number}", concurrency_key=f"k{number}")
    for number in range(50):
        queue.remove(f"j{number}")
    while queue.pop() is not None:
        pass
    for number in range(50, 100):
        queue.release("wide", f"k{number}")

    (tenant,) = queue._tenants.values()
    assert not tenant.sharing
    assert not tenant.running_by_key
    assert not tenant.lanes["wide"].by_key
    assert not tenant.lanes["wide"].offers


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": -1}, {"per_key": 0}])
def test_a_limit_that_would_run_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Concurrency(**wrong)

"""Whatever two tenants do in whatever order, what one sees does not depend on the other."""

import asyncio
import re
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from app import operation
from app.jobs.errors import JobNotFound, NarratorError
from app.jobs.registry import JobFilter
from app.jobs.submission import Submission
from tests.access.closed import OURS, THEIRS
from tests.engine.harness import Bench, run

ACTIONS: Final = (
    "submit",
    "submit_long",
    "submit_late",
    "submit_again",
    "submit_keyed",
    "retry",
    "cancel",
    "forget",
    "page",
)
Step = tuple[str, str, int]
"""Who, what, and with which job."""

steps = st.lists(
    st.tuples(st.sampled_from((OURS, THEIRS)), st.sampled_from(ACTIONS), st.integers(0, 3)),
    min_size=1,
    max_size=14,
)


@operation("short")
async def short(text: str = "") -> str:
    """End at once."""
    return text


@operation("long")
async def long() -> None:
    """Take five steps' time."""
    await asyncio.sleep(5)


class Tenant:
    """Somebody who calls the engine, and the jobs that they have made."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.engine = bench.engine
        self.name = name
        self.jobs: list[str] = []
        self.cursor: str | None = None

    def act(self, action: str, job_id: str | None) -> str:
        """Do it; what came of it."""
        try:
            return self._act(action, job_id)
        except NarratorError as error:
            return f"{error.code}: {error}"

    def _act(self, action: str, job_id: str | None) -> str:
        if action.startswith("submit"):
            return self._submit(action)
        if action == "page":
            page = self.engine.find(JobFilter(), self.cursor, 2, tenant=self.name)
            self.cursor = page.next
            return f"{[each.id for each in page.jobs]} of {page.total}, {page.next is None}"
        if job_id is None:
            return "nothing"
        if action == "retry":
            self.jobs.append(self.engine.retry(job_id, tenant=self.name).id)
            return "retried"
        if action == "cancel":
            return self.engine.cancel(job_id, tenant=self.name).state
        self.engine.forget(job_id, tenant=self.name)
        return "forgotten"

    def _submit(self, action: str) -> str:
        fields: dict[str, Any] = {"operation": "short", "params": {"text": self.name}}
        if action != "submit":
            fields = {"operation": "long"}
        if action == "submit_late":
            fields["start"] = "on_stream"
        if action == "submit_keyed":
            fields["concurrency_key"] = "k"
        key = "k" if action == "submit_again" else None
        taken = self.engine.submit(
            Submission.model_validate(fields),
            idempotency_key=key,
            body_hash=None if key is None else "the same",
            tenant=self.name,
        )
        if taken.created:
            self.jobs.append(taken.job_id)
        return f"{taken.job_id} {taken.created}"

    def sees(self) -> str:
        """All that there is to see, without what is drawn at random."""
        engine, name = self.engine, self.name
        page = engine.find(JobFilter(), limit=1000, tenant=name)
        there = [each.id for each in page.jobs]
        parts = [
            *(each.model_dump_json() for each in page.jobs),
            str(page.total),
            str(engine.overview(name)),
            *(str(each) for each in engine.feed(name).entries()),
            *(str(engine.log(each, tenant=name).entries()) for each in there),
            *(str(len(engine.trace(each, tenant=name)[0])) for each in there),
        ]
        return self.plain("\n".join(parts))

    def plain(self, text: str) -> str:
        """`text` with the place of each job in the order of making for its id."""
        for number, job_id in enumerate(self.jobs):
            text = text.replace(job_id, f"JOB-{number}").replace(job_id[:8], f"EPOCH-{number}")
        return re.sub(r"\b([0-9a-f]{32}|[0-9a-f]{16})\b", "RANDOM", text)


def seen_by_us(script: list[Step], *, alone: bool) -> list[str]:
    """What we see after each step, whether it is ours or theirs; `alone`, theirs are not taken."""
    seen: list[str] = []

    async def play(bench: Bench) -> None:
        us, them = Tenant(bench, OURS), Tenant(bench, THEIRS)
        for at, (who, action, which) in enumerate(script, 1):
            if who == OURS:
                mine = us.jobs[which % len(us.jobs)] if us.jobs else None
                seen.append(us.plain(us.act(action, mine)))
            elif not alone:
                mine = them.jobs[which % len(them.jobs)] if them.jobs else None
                them.act(action, mine)
                for ours in us.jobs:  # they have got hold of our ids
                    attack(them, action, ours)
            await bench.at(at)
            seen.append(us.sees())

    run(play, short, long)
    return seen


def attack(them: Tenant, action: str, job_id: str) -> None:
    """A call on our job by theirs finds nothing."""
    calls = (
        them.engine.record,
        them.engine.cancel,
        them.engine.forget,
        them.engine.retry,
        them.engine.log,
        them.engine.trace,
    )
    call = calls[ACTIONS.index(action) % len(calls)]
    try:
        call(job_id, tenant=them.name)
    except JobNotFound:
        return
    raise AssertionError(f"{action} found a job of another tenant")


@given(steps)
@settings(max_examples=20)
def test_what_we_see_is_the_same_with_them_as_without(script: list[Step]) -> None:
    assert seen_by_us(script, alone=False) == seen_by_us(script, alone=True)


def test_the_property_sees_what_it_is_to_see() -> None:
    """A step of ours that changes something is seen: the test is not blind."""
    one = seen_by_us([(OURS, "submit", 0)], alone=True)
    two = seen_by_us([(OURS, "submit", 0), (OURS, "submit", 0)], alone=True)

    assert one[-1] != two[-1]
    assert "JOB-0" in one[-1]
    assert "completed" in one[-1]

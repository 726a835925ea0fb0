"""The state machine of the engine, over several lives on one store.

It is `test_state_machine`'s, and a process that dies at any moment: between two steps, or with
changes that are not written yet. What was told by then is what the next life is held to: records
that had settled, and events that could be read.
"""

import asyncio
from typing import Any, NamedTuple

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from app.engine.store_journal import StoreJournal
from app.jobs.errors import NarratorError
from app.jobs.record import JobRecord
from app.jobs.registry import JobFilter
from app.jobs.submission import Submission
from telemetry.names import TERMINAL
from tests.engine import machine
from tests.engine.harness import events_of
from tests.engine.test_state_machine import ORDERS, PICK, SUBMISSIONS, EngineMachine

pytestmark = pytest.mark.backend("sqlite")

ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), SUBMISSIONS),
        st.tuples(st.sampled_from(["cancel", "attach", "forget"]), PICK),
        st.tuples(st.just("order"), st.tuples(PICK, ORDERS)),
    ),
    max_size=4,
)


class Told(NamedTuple):
    """What a client may have seen of a job."""

    record: JobRecord | None
    """As it had settled last; None if it never had."""
    story: list[dict[str, Any]]


class RestartMachine(EngineMachine):
    """Does all that its parent does, and dies now and then."""

    @initialize()
    def begin(self) -> None:
        """A new engine on a new store."""
        super().begin()
        self.settled: dict[str, JobRecord] = {}

    @rule(acts=ACTS, turns=st.integers(0, 4), away_s=st.sampled_from([0.5, 5.0, 80.0]))
    def die(self, acts: list[tuple[str, Any]], turns: int, away_s: float) -> None:
        """Some things happen, the loop turns a few times, and the process is gone."""
        self._note_settled()
        leaving: set[str] = set()

        async def happen() -> None:
            for name, argument in acts:
                self._act(name, argument, leaving)
            for _ in range(turns):
                await asyncio.sleep(0)

        self.driven.step(happen)
        self._note_settled()
        gone = {job_id for job_id, known in self.driven.jobs.items() if known.forgotten} - leaving
        told = {
            job_id: Told(self.settled.get(job_id), events_of(self.engine, job_id))
            for job_id in self._known()
            if job_id not in leaving
        }
        self.driven.restart(away_s)
        self.engine, self.draining = self.driven.engine, False
        there = {each.id: each for each in self.engine.find(JobFilter(), limit=1000).jobs}
        assert not gone & there.keys(), "it was forgotten"
        for job_id in leaving:
            self.driven.jobs[job_id].forgotten = job_id not in there
        for job_id, seen in told.items():
            known = self.driven.jobs[job_id]
            if seen.record is None and job_id not in there:
                known.forgotten = True  # it was never acknowledged
                assert not seen.story
                continue
            self._check_taken_up(known, seen, there[job_id])
        assert {*there} == {*self._known()}

    @precondition(lambda self: self.driven.lives)
    @rule()
    def die_again(self) -> None:
        """At once: as much as the last one had told is there."""
        self.die([], 0, 0.5)

    def _act(self, name: str, argument: Any, leaving: set[str]) -> None:
        """One thing; what is refused changes nothing."""
        try:
            if name == "submit":
                known = machine.Expected(operation=argument["operation"], fields=argument)
                job_id = self.engine.submit(Submission.model_validate(argument)).job_id
                self.driven.jobs[job_id] = known
            elif name == "order":
                self._order_unseen(*argument)
            elif known_ids := [each for each in self._known() if each not in leaving]:
                job_id = self._pick(known_ids, argument)
                if name == "cancel":
                    self.engine.cancel(job_id)
                    self.driven.jobs[job_id].cancels += 1
                elif name == "attach":
                    self.engine.attached(job_id)
                    self.driven.jobs[job_id].watchers += 1
                else:
                    self.engine.forget(job_id)
                    leaving.add(job_id)
        except NarratorError:
            return

    def _order_unseen(self, pick: int, order: str) -> None:
        jobs = self.driven.jobs.items()
        active = [each for each, known in jobs if known.inside and known.orders.empty()]
        if active:
            known = self.driven.jobs[self._pick(active, pick)]
            known.orders.put_nowait(order)
            if order != "speak":
                known.last_order = order

    def _note_settled(self) -> None:
        """The records that a client could have been shown."""
        journal = self.engine._core.journal
        assert isinstance(journal, StoreJournal)
        parts = [journal._gathered, *([journal._flight.gathered] if journal._flight else [])]
        for job_id in self._known():
            if job_id in self.engine._core.registry and not any(
                part.touches(job_id) for part in parts
            ):
                self.settled[job_id] = self.engine.record(job_id)

    def _check_taken_up(self, known: machine.Expected, told: Told, now: JobRecord) -> None:
        """Nothing that was told has changed, but by what may happen to a job."""
        assert events_of(self.engine, now.id)[: len(told.story)] == told.story
        if told.record is None:
            return
        before = told.record
        if before.state in TERMINAL:
            assert now == before
            return
        same = ("operation", "params", "priority", "created_at", "trace_id", "retry_of", "tags")
        assert [getattr(now, name) for name in same] == [getattr(before, name) for name in same]
        ended = [each for each in before.attempts if each.outcome is not None]
        assert now.attempts[: len(ended)] == ended
        assert len(now.attempts) >= len(before.attempts)
        if len(ended) < len(before.attempts):
            begun, cut = before.attempts[-1], now.attempts[len(ended)]
            assert (cut.number, cut.started_at, cut.span_id) == (
                *(begun.number, begun.started_at, begun.span_id),
            )
            assert cut.outcome is not None
            assert cut.outcome == "lost" or known.last_order or known.cancels or told.story
        if before.cancel is not None:
            assert now.state == "cancelled"
            assert now.cancel is not None
            assert now.cancel.origin == before.cancel.origin


def test_what_was_told_is_true_in_every_life() -> None:
    run_state_machine_as_test(
        RestartMachine,
        settings=hypothesis.settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[*hypothesis.HealthCheck],
        ),
    )

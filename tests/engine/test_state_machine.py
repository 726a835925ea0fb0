"""The real engine, on virtual time, against a small model of what may be.

The model does not foretell when what happens: it knows what it asked for and what it told the
handlers, and holds the engine to the rest at every step: lawful states, ends that stay, slots and
limits that are kept, no slot idle while a job could run, numbers that agree with the records, and
stories that are dense and end once.
"""

from collections import Counter
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.jobs.errors import AlreadyFinished, Draining, JobNotFound, NotFinished, QueueFull
from app.jobs.queue import BOOST_S
from app.jobs.record import JobRecord
from app.jobs.registry import JobFilter
from app.jobs.submission import Submission
from telemetry.names import TERMINAL, MetricName, Moment, Priority, StreamEvent
from tests.engine import machine
from tests.engine.harness import Scrape, check_end, check_story, events_of, seconds

ACTIVE = ("running", "cancelling")

SUBMISSIONS = st.fixed_dictionaries(
    {"operation": st.sampled_from([*machine.OPERATIONS])},
    optional={
        "priority": st.sampled_from([each.value for each in Priority]),
        "concurrency_key": st.sampled_from(["a", "b"]),
        "start": st.sampled_from(["on_submit", "on_stream"]),
        "attach_timeout_s": st.sampled_from([7.0, 30.0]),
        "timeout_s": st.sampled_from([2.0, 9.0]),
        "queue_timeout_s": st.sampled_from([3.0, 20.0]),
        "deadline_s": st.sampled_from([4.0, 15.0, 60.0]),
        "retry": st.fixed_dictionaries(
            {"max_attempts": st.integers(2, 3), "jitter": st.sampled_from(["none", "full"])},
            optional={"base_delay_s": st.sampled_from([0.0, 4.0])},
        ),
        "cancel_when_unwatched": st.booleans(),
    },
)
PICK = st.integers(0, 1000)
ORDERS = st.sampled_from(["finish", "fail", "reject", "later", "speak"])


class EngineMachine(RuleBasedStateMachine):
    """Submits, orders, cancels, retries, watches, forgets and drains, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.draining = False

    @initialize()
    def begin(self) -> None:
        """A new engine."""
        self.driven = machine.Driven()
        self.engine = self.driven.engine

    def teardown(self) -> None:
        """Whatever was done to it, everything ends."""
        if not hasattr(self, "driven"):
            return
        try:
            self.driven.close()
            check_end(self.driven.narrator, self.engine, restored=self.driven.lives > 0)
            assert all(each.inside == 0 for each in self.driven.jobs.values())
        finally:
            del self.driven

    # --- what is done -------------------------------------------------------------------------

    @rule(several=st.lists(SUBMISSIONS, min_size=1, max_size=4))
    def submit(self, several: list[dict[str, Any]]) -> None:
        """Jobs of any policy."""
        for fields in several:
            self._submit(fields)

    @rule(several=st.lists(SUBMISSIONS, min_size=1, max_size=4))
    def submit_more(self, several: list[dict[str, Any]]) -> None:
        """The same; twice as likely, so that jobs have to wait."""
        for fields in several:
            self._submit(fields)

    @precondition(lambda self: self._known())
    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        """Run a job again: only a finished one can be."""
        job_id = self._pick(self._known(), pick)
        known = self.driven.jobs[job_id]
        if known.final is None:
            self._refused(NotFinished, self.engine.retry, job_id)
        else:
            self._make(known.fields, lambda: self.engine.retry(job_id).id)

    @precondition(lambda self: self._in(*ACTIVE))
    @rule(orders=st.lists(st.tuples(PICK, ORDERS), min_size=1, max_size=4))
    def order(self, orders: list[tuple[int, str]]) -> None:
        """Tell running handlers what to do."""
        for pick, order in orders:
            if self._in(*ACTIVE):
                self._order(pick, order)

    @precondition(lambda self: self._in(*ACTIVE))
    @rule(pick=PICK, order=ORDERS)
    def order_more(self, pick: int, order: str) -> None:
        """The same, so that more jobs end of themselves."""
        self._order(pick, order)

    @precondition(lambda self: self._abandoned())
    @rule(pick=PICK, order=ORDERS)
    def order_abandoned(self, pick: int, order: str) -> None:
        """Handlers that were given up go on speaking, and end; nothing comes of it."""
        job_id = self._pick(self._abandoned(), pick)
        self.driven.call(self.driven.jobs[job_id].orders.put_nowait, order)

    def _order(self, pick: int, order: str) -> None:
        """Tell one what to do; see that the engine makes of it what it should."""
        job_id = self._pick(self._in(*ACTIVE), pick)
        known, entry = self.driven.jobs[job_id], self.engine._core.entries[job_id]
        before, attempt = self.engine.record(job_id), entry.current
        assert attempt is not None
        if known.operation == "slow" and attempt.stop_cause is not None:
            return  # it does not listen any more: it is stopping
        known.last_order = order
        undisturbed = attempt.stop_cause is None
        spent, postponed = entry.job.spent_attempts, entry.job.postponed
        self.driven.call(known.orders.put_nowait, order)
        after = self.engine.record(job_id)
        if order == "speak":
            assert after.state == before.state
            return
        assert known.inside == 0 or after.attempt > before.attempt
        if before.state == "cancelling":
            assert after.state == "cancelled"
        elif undisturbed:
            again = order == "fail" and spent < entry.job.policy.retry.max_attempts
            again |= order == "later" and postponed < machine.RETRY_LATER_LIMIT
            self._check_verdict(after, order, again=again)
        else:
            outcome = after.attempts[before.attempt - 1].outcome
            assert outcome == "timeout" or (self.draining and outcome == "lost")

    def _check_verdict(self, after: JobRecord, order: str, *, again: bool) -> None:
        """What follows an attempt that nobody had asked to stop."""
        told = [each["state"] for each in events_of(self.engine, after.id) if "state" in each]
        if order == "finish":
            assert (after.state, after.result) == ("completed", f"{after.id} at {after.attempt}")
        elif order == "reject":
            assert (after.state, after.reason) == ("failed", "rejected")
        elif again:
            late = after.reason == "timeout"  # the retry would have been after the deadline
            assert late or self.draining or "retrying" in told
        else:
            assert (after.state, after.reason) == ("failed", "error")

    @precondition(lambda self: self._known())
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """Cancel a job: one that has ended cannot be."""
        job_id = self._pick(self._known(), pick)
        known = self.driven.jobs[job_id]
        if known.final is not None:
            self._refused(AlreadyFinished, self.engine.cancel, job_id)
            return
        known.cancels += 1
        before = self.engine.record(job_id).state
        told = self.driven.call(self.engine.cancel, job_id).state
        assert told == ("cancelling" if before in ACTIVE else "cancelled")

    @precondition(lambda self: self._known())
    @rule(pick=PICK)
    def forget(self, pick: int) -> None:
        """Forget a job: one that has not ended cannot be."""
        job_id = self._pick(self._known(), pick)
        known = self.driven.jobs[job_id]
        if known.final is None:
            self._refused(NotFinished, self.engine.forget, job_id)
            return
        self.driven.call(self.engine.forget, job_id)
        known.forgotten = True
        self._refused(JobNotFound, self.engine.record, job_id)

    @precondition(lambda self: self._known())
    @rule(pick=PICK)
    def attach(self, pick: int) -> None:
        """A stream is opened; it starts a deferred job."""
        job_id = self._pick(self._known(), pick)
        self.driven.jobs[job_id].watchers += 1
        deferred = self.engine._core.registry.get(job_id).deferred
        self.driven.call(self.engine.attached, job_id)
        if deferred and not self.draining:
            assert not self.engine._core.registry.get(job_id).deferred

    @precondition(lambda self: self._watched())
    @rule(pick=PICK, by_client=st.booleans())
    def detach(self, pick: int, by_client: bool) -> None:
        """A stream is closed."""
        job_id = self._pick(self._watched(), pick)
        self.driven.jobs[job_id].watchers -= 1
        self.driven.call(self.engine.detached, job_id, by_client=by_client)

    @rule(for_s=st.sampled_from([0.25, 1.0, 2.0, 5.0, 12.0, 70.0]))
    def advance(self, for_s: float) -> None:
        """Time passes."""
        self.driven.advance(for_s)

    @precondition(lambda self: self.steps > 32 and not self.draining)
    @rule(grace_s=st.sampled_from([0.0, 3.0, 30.0]))
    def drain(self, grace_s: float) -> None:
        """The server goes: everything ends, within bounds."""
        self.draining = True
        before = self.engine._core.clock.monotonic()
        self.driven.step(self.engine.drain, grace_s)
        assert not self._in(*ACTIVE)
        assert self.engine._core.journal.durable or not self._in("queued", "retrying")
        assert self.engine._core.clock.monotonic() - before <= grace_s + machine.GRACE_S

    # --- what holds ---------------------------------------------------------------------------

    @invariant()
    def everything_holds(self) -> None:
        """After each step, in this order: the later ones look at what the first has read."""
        self.steps += 1
        self._ends_stay_and_stories_are_whole()
        self._slots_and_limits_are_kept()
        self._waiting_jobs_stand_in_their_order()
        self._no_limit_of_time_is_overrun()
        scrape = Scrape(self.driven.narrator)
        self._gauges_read_the_truth(scrape)
        self._counters_agree_with_the_records(scrape)

    def _ends_stay_and_stories_are_whole(self) -> None:
        """Terminal records do not change; every story is lawful, and only grows."""
        for job_id in self._known():
            known, record = self.driven.jobs[job_id], self.engine.record(job_id)
            story = events_of(self.engine, job_id)
            check_story(story, record)
            assert story[0]["seq"] == 1
            assert story[: len(known.story)] == known.story
            known.story = story
            if known.final is not None:
                assert record == known.final
            elif record.state in TERMINAL:
                known.final = record
                self._check_final(known, record)

    def _slots_and_limits_are_kept(self) -> None:
        """No more run than may; what may run, does."""
        core = self.engine._core
        assert not self.driven.overlaps
        active = [self.driven.jobs[each] for each in self._in(*ACTIVE)]
        assert core.free_slots == machine.SLOTS - len(active) >= 0
        assert all(each.inside == 1 for each in active)
        by_operation = Counter(each.operation for each in active)
        by_key = Counter(each.key for each in active if each.key)
        limits = {name: limit or machine.SLOTS for name, limit in machine.OPERATIONS.items()}
        assert all(by_operation[name] <= limit for name, limit in limits.items())
        assert all(number <= max(machine.PER_KEY.values()) for number in by_key.values())
        if core.free_slots and not core.draining:
            for job_id in self._in("queued"):
                known = self.driven.jobs[job_id]
                full = by_operation[known.operation] >= limits[known.operation]
                if known.key is not None:
                    full |= by_key[known.key] >= machine.PER_KEY[known.operation]
                assert full or core.entries[job_id].job.deferred, "a slot is idle"

    def _waiting_jobs_stand_in_their_order(self) -> None:
        """By the time they were queued, minus the boost of their priority."""
        core = self.engine._core
        waiting = [core.entries[job_id].job for job_id in self._in("queued")]
        in_queue = [job for job in waiting if not job.deferred]
        places = {job.id: self.engine.record(job.id).queue_position for job in waiting}
        assert all(places[job.id] is None for job in waiting if job.deferred)
        assert {places[job.id] for job in in_queue} == {*range(len(in_queue))}
        ranks = [
            job.queued_mono - BOOST_S[job.policy.priority]
            for job in sorted(in_queue, key=lambda job: places[job.id] or 0)
        ]
        assert ranks == sorted(ranks)

    def _no_limit_of_time_is_overrun(self) -> None:
        """Nothing waits or runs beyond its limit, and the grace of a stop."""
        core, grace_s = self.engine._core, machine.GRACE_S
        now = core.clock.monotonic()
        for job_id in self._in("queued", "running", "retrying", "cancelling"):
            job, record = core.entries[job_id].job, self.engine.record(job_id)
            policy, age = job.policy, now - seconds(record.created_at)
            assert age <= (policy.deadline_s or 1e9) + grace_s + 1e-6
            if job.deferred:
                assert age < policy.attach_timeout_s
            elif record.state == "queued" and record.started_at is None:
                assert now - job.queued_mono < (policy.queue_timeout_s or 1e9)
            elif record.state in ACTIVE:
                ran = now - seconds(record.attempts[-1].started_at)
                assert ran <= (policy.timeout_s or 1e9) + grace_s + 1e-6
            elif record.state == "retrying":
                assert seconds(record.next_retry_at) > now - 1e-6

    def _gauges_read_the_truth(self, scrape: Scrape) -> None:
        """They say what the records say."""
        core = self.engine._core
        jobs = [core.registry.get(job_id) for job_id in self._known()]
        for name in machine.OPERATIONS:
            mine = [job for job in jobs if job.operation == name]
            for metric, states in ((MetricName.RUNNING, ACTIVE), (MetricName.RETRYING, "retrying")):
                count = sum(job.state.value in states for job in mine)
                assert scrape.sample(metric, operation=name) == count
        queued = [job for job in jobs if job.state == "queued"]
        for priority in Priority:
            count = sum(job.policy.priority is priority and not job.deferred for job in queued)
            assert scrape.sample(MetricName.QUEUE_DEPTH, priority=priority.value) == count
        assert scrape.sample(MetricName.DEFERRED) == sum(job.deferred for job in queued)
        assert scrape.sample(MetricName.RETAINED_JOBS) == sum(job.finished for job in jobs)
        assert self.engine.find(JobFilter()).total == len(jobs)

    def _counters_agree_with_the_records(self, scrape: Scrape) -> None:
        """Every transition was counted once, those of forgotten jobs too."""
        if self.driven.lives:
            return  # what was counted went with the process
        jobs = self.driven.jobs
        records = [known.final or self.engine.record(job_id) for job_id, known in jobs.items()]
        stories = [known.story for known in jobs.values()]
        attempts = [each for record in records for each in record.attempts]
        told = Counter(
            each["action"]
            for story in stories
            for each in story
            if each["event"] == StreamEvent.NARRATION
        )
        finals = [record for record in records if record.state in TERMINAL]
        assert scrape.total(MetricName.SUBMITTED) == len(jobs)
        assert scrape.total(MetricName.FINISHED) == len(finals)
        assert scrape.total(MetricName.ATTEMPTS) == sum(
            each.outcome is not None for each in attempts
        )
        assert scrape.total(MetricName.RETRIES) == told["retry_scheduled"]
        assert scrape.total(MetricName.ABANDONED) == told["abandoned"]
        assert told["started"] == len(attempts)
        for (name, state, reason), count in Counter(
            (record.operation, record.state.value, record.reason or "") for record in finals
        ).items():
            labels = {"operation": name, "outcome": state, "reason": str(reason)}
            assert scrape.sample(MetricName.FINISHED, **labels) == count
        cancelled = Counter(
            (each.operation, each.cancel.origin.value)
            for each in finals
            if each.cancel and each.state == "cancelled"
        )
        assert scrape.total(MetricName.CANCELLATIONS) == sum(cancelled.values())
        for (name, origin), count in cancelled.items():
            labels = {"operation": name, "origin": origin}
            assert scrape.sample(MetricName.CANCELLATIONS, **labels) == count
        refused = self.driven.refused
        assert all(
            scrape.sample(MetricName.REFUSED, reason=reason) == count
            for reason, count in refused.items()
        )

    # --- the means ----------------------------------------------------------------------------

    def _submit(self, fields: dict[str, Any]) -> None:
        submission = Submission.model_validate(fields)
        self._make(fields, lambda: self.engine.submit(submission).job_id)

    def _make(self, fields: dict[str, Any], submit: Any) -> None:
        waiting = len(self._in("queued", "retrying"))
        if self.draining:
            self._refused(Draining, submit)
            self.driven.refused["draining"] += 1
        elif waiting >= machine.QUEUE_LIMIT:
            self._refused(QueueFull, submit)
            self.driven.refused["queue-full"] += 1
        else:

            def make() -> None:
                known = machine.Expected(operation=fields["operation"], fields=fields)
                self.driven.jobs[submit()] = known  # before its handler may look for it

            self.driven.call(make)

    def _refused(self, error: type[Exception], call: Any, *arguments: Any) -> None:
        """`call` is refused with `error`, and changes nothing."""
        try:
            self.driven.call(call, *arguments)
        except error:
            return
        raise AssertionError(f"{call} was not refused with {error.__name__}")

    def _check_final(self, known: machine.Expected, record: JobRecord) -> None:
        """The end is one that the model has seen a cause for."""
        moments = [each for each in known.story if each["event"] == StreamEvent.NARRATION]
        abandoned = any(f"job.{each['action']}" == Moment.ABANDONED for each in moments)
        assert not abandoned or known.operation == "deaf"
        last = record.attempts[-1] if record.attempts else None
        if record.state == "completed":
            assert known.last_order == "finish"
            assert record.result == f"{record.id} at {record.attempt}"
        elif record.state == "cancelled":
            unwatched = known.fields.get("cancel_when_unwatched", False)
            assert known.cancels or unwatched or self.draining
            assert record.cancel is not None
            assert record.cancel.abandoned == (abandoned and last is not None)
        else:
            causes = {
                "rejected": known.last_order == "reject",
                "error": known.last_order in {"fail", "later"},
                "expired": record.started_at is None,
                "timeout": record.started_at is not None,
                "lost": self.driven.lives or (self.draining and self.engine._core.journal.durable),
            }
            assert causes[str(record.reason)]
        assert all(each.outcome is not None for each in record.attempts)

    def _known(self) -> list[str]:
        return [job_id for job_id, known in self.driven.jobs.items() if not known.forgotten]

    def _in(self, *states: str) -> list[str]:
        registry = self.engine._core.registry
        return [each for each in self._known() if registry.get(each).state.value in states]

    def _abandoned(self) -> list[str]:
        jobs = self.driven.jobs
        return [job_id for job_id, known in jobs.items() if known.inside and known.final]

    def _watched(self) -> list[str]:
        return [each for each in self._known() if self.driven.jobs[each].watchers]

    @staticmethod
    def _pick(ids: list[str], pick: int) -> str:
        return ids[pick % len(ids)]


def test_the_engine_does_what_the_model_allows_whatever_is_done_to_it(backend: str) -> None:
    run_state_machine_as_test(
        EngineMachine,
        settings=hypothesis.settings(
            max_examples=40 if backend == "memory" else 12,  # each opens a file
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[*hypothesis.HealthCheck],
        ),
    )

"""Jobs that are submitted, ordered about, cancelled, repeated and watched over HTTP, in any order.

The model knows what it has asked for and told the handlers, and holds each answer to it: states
that may follow what was seen before, ends that stay, and stories that only grow.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.jobs.lifecycle import TRANSITIONS
from telemetry.names import TERMINAL, State
from tests.clients.server import until
from tests.clients.wire import Frame
from tests.conformance.service import Service

PICK = st.integers(0, 100)
ORDERS = st.sampled_from(["finish", "fail", "reject"])


@dataclass(slots=True, kw_only=True)
class Seen:
    """What is known of one job."""

    folder: Path
    attempts: int
    on_stream: bool
    """Whether it waits for its first stream."""
    deferred: bool
    """Whether it waits for that still."""
    cancelled: bool = False
    orders: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    story: list[tuple[str | None, str]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether it was seen to have ended."""
        return self.record["state"] in TERMINAL


class ServiceMachine(RuleBasedStateMachine):
    """Drives a service; its files are in a folder."""

    service: Service
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Seen] = {}

    def teardown(self) -> None:
        """All are cancelled, and end."""
        for job_id, seen in self.jobs.items():
            if not seen.over:
                self.service.cancel(job_id)
                seen.cancelled = True
                self.service.ended(job_id)
                self._look(job_id)
            shutil.rmtree(seen.folder)

    # --- what is done ---------------------------------------------------------------------

    @rule(
        attempts=st.integers(1, 3),
        deferred=st.booleans(),
        priority=st.sampled_from(["low", "high"]),
    )
    def submit(self, attempts: int, deferred: bool, priority: str) -> None:
        """A new job, whose handler waits for orders."""
        self._add(
            attempts,
            lambda mine: self.service.submit(
                "obedient",
                {"folder": str(mine)},
                priority=priority,
                start="on_stream" if deferred else "on_submit",
                retry={"max_attempts": attempts, "base_delay_s": 0.01},
            ),
            deferred=deferred,
        )

    @precondition(lambda self: self._that(lambda seen: seen.over))
    @rule(pick=PICK)
    def run_again(self, pick: int) -> None:
        """One that has ended, as a new job."""
        old = self._pick(lambda seen: seen.over, pick)

        def retry(mine: Path) -> dict[str, Any]:
            path, body = f"/v1/jobs/{old}/retry", {"params": {"folder": str(mine)}}
            answer = self.service.api().post(path, json=body)
            assert answer.status_code == 202, answer.text
            record: dict[str, Any] = answer.json()
            assert record["retry_of"] == old
            return record

        was = self.jobs[old]
        self._add(was.attempts, retry, deferred=was.on_stream)

    @precondition(lambda self: self._that(_runs))
    @rule(pick=PICK, order=ORDERS)
    def order(self, pick: int, order: str) -> None:
        """Tell a handler what to do, and see what becomes of it."""
        job_id = self._pick(_runs, pick)
        seen = self.jobs[job_id]
        number = len(seen.orders) + 1
        seen.orders.append(order)
        part = seen.folder / "part"
        part.write_text(order)
        part.rename(seen.folder / str(number))
        until(lambda: self._attempt_is_over(job_id, number), what="the end of the attempt")
        self._look(job_id)
        if order != "fail" or number == seen.attempts:
            ends = {"finish": "completed", "fail": "failed", "reject": "failed"}
            assert self.service.ended(job_id)["state"] == ends[order]

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """Any of them: one that has ended cannot be."""
        job_id = self._pick(lambda _: True, pick)
        seen = self.jobs[job_id]
        self._look(job_id)
        answer = self.service.cancel(job_id)
        if seen.over:
            assert answer.status_code == 409
            return
        assert answer.status_code == 202
        seen.cancelled = True
        assert self.service.ended(job_id)["state"] == "cancelled"
        self._look(job_id)

    @precondition(lambda self: self._that(lambda seen: seen.deferred and not seen.over))
    @rule(pick=PICK)
    def attach(self, pick: int) -> None:
        """A stream is opened, and a deferred job queued."""
        job_id = self._pick(lambda seen: seen.deferred and not seen.over, pick)
        with self.service.following(job_id) as heard:
            heard.until("attempt 1 waits")
        self.jobs[job_id].deferred = False

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK, place=PICK)
    def resume(self, pick: int, place: int) -> None:
        """Come back to a story with the id of an event that was seen."""
        job_id = self._pick(lambda _: True, pick)
        self._look(job_id)
        story = self.jobs[job_id].story
        if not story or (self.jobs[job_id].over and place % len(story) == len(story) - 1):
            return
        at = place % len(story)
        rest = _forms(
            self.service.story(job_id, follow="false", headers={"last-event-id": str(story[at][0])})
        )
        assert rest[: len(story) - at - 1] == story[at + 1 :]

    @precondition(lambda self: self.jobs)
    @rule()
    def list_all(self) -> None:
        """They are all there."""
        assert {*self.jobs} <= {*self.service.found(limit=1000)}

    # --- the means ------------------------------------------------------------------------

    def _add(
        self, attempts: int, make: Callable[[Path], dict[str, Any]], *, deferred: bool
    ) -> None:
        mine = Path(tempfile.mkdtemp(dir=self.folder))
        record = make(mine)
        seen = Seen(
            folder=mine, attempts=attempts, on_stream=deferred, deferred=deferred, record=record
        )
        self.jobs[record["id"]] = seen
        if not deferred:
            self.service.reaches(record["id"], "running")
        self._look(record["id"])

    def _attempt_is_over(self, job_id: str, number: int) -> bool:
        attempts = self.service.record(job_id)["attempts"]
        return len(attempts) >= number and attempts[number - 1]["outcome"] is not None

    def _look(self, job_id: str) -> None:
        """Read record and story, and compare them with what was seen before."""
        seen, record = self.jobs[job_id], self.service.record(job_id)
        if seen.over:
            assert record == seen.record
        same = ("id", "operation", "params", "priority", "created_at", "trace_id")
        assert all(record[name] == seen.record[name] for name in same)
        known = [each for each in seen.record["attempts"] if each["outcome"]]
        assert record["attempts"][: len(known)] == known
        if record["state"] in TERMINAL and not seen.over:
            _check_end(seen, record)
        seen.record = record
        frames = self.service.story(job_id, follow="false")
        story = _forms(frames)
        assert story[: len(seen.story)] == seen.story
        seen.story = story
        _check_story(frames)

    def _that(self, holds: Callable[[Seen], bool]) -> list[str]:
        return [job_id for job_id, seen in self.jobs.items() if holds(seen)]

    def _pick(self, holds: Callable[[Seen], bool], pick: int) -> str:
        chosen = self._that(holds)
        return chosen[pick % len(chosen)]


def _runs(seen: Seen) -> bool:
    return not seen.over and not seen.deferred and not seen.cancelled


def _forms(frames: list[Frame]) -> list[tuple[str | None, str]]:
    return [(frame.id, frame.data) for frame in frames]


def _check_story(frames: list[Frame]) -> None:
    """It is dense, lawful, and ends once."""
    assert [frame.body["seq"] for frame in frames] == [*range(1, len(frames) + 1)]
    states = [State(frame.body["state"]) for frame in frames if frame.event == "state"]
    for before, after in pairwise(states):
        assert after in TRANSITIONS[before].values() or before is after is State.QUEUED
    assert [frame.event for frame in frames].count("end") == (states[-1] in TERMINAL)


def _check_end(seen: Seen, record: dict[str, Any]) -> None:
    """The end is one that it was told to come to."""
    outcomes = [each["outcome"] for each in record["attempts"]]
    if record["state"] == "cancelled":
        assert seen.cancelled
    elif record["state"] == "completed":
        assert seen.orders[-1] == "finish"
        assert record["result"] == f"finished at {record['attempt']}"
    else:
        reasons = {"fail": "error", "reject": "rejected"}
        assert record["reason"] == reasons[seen.orders[-1]]
    told = {"finish": "completed", "fail": "error", "reject": "rejected"}
    assert outcomes[: len(seen.orders)] == [told[order] for order in seen.orders]


def test_a_service_does_what_the_model_allows(service: Service, tmp_path: Path) -> None:
    running = service

    class Machine(ServiceMachine):
        service = running
        folder = tmp_path

    run_state_machine_as_test(
        Machine,
        settings=hypothesis.settings(
            max_examples=10,
            phases=[hypothesis.Phase.generate],  # to find the shortest case would take minutes
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=[*hypothesis.HealthCheck],
        ),
    )

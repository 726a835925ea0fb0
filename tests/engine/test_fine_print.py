"""Section 12 of the design, "Fine print": one test for each decision that is the engine's.

The names are the decisions. What is HTTP's, the stream's or a runner's is tested there.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from app.handlers.context import JobContext, RetryLater
from app.handlers.operation import operation
from app.jobs.errors import InvalidSubmission, NotFinished, QueueFull
from app.jobs.idempotency import body_hash
from app.jobs.submission import RetryChanges, Submission
from narration.narrate import narrate
from narration.process import run_process
from telemetry.names import MetricName
from tests.engine.harness import Bench, run, seconds
from tests.engine.operations import flaky, hang, later, reluctant, sleep, stubborn
from tests.engine.processes import dies, ignores

if TYPE_CHECKING:
    from opentelemetry import trace

# --- ids ----------------------------------------------------------------------------------------


def test_the_epoch_belongs_to_one_jobs_log_and_the_first_sequence_is_1() -> None:
    async def test(bench: Bench) -> None:
        jobs = [bench.submit("sleep") for _ in range(3)]
        logs = [bench.engine.log(job) for job in jobs]
        await bench.settle()

        assert len({log.epoch for log in logs}) == 3
        assert [log.first for log in logs] == [1, 1, 1]
        assert bench.events(jobs[0])[0]["seq"] == 1

    run(test, sleep)


def test_a_terminal_transition_is_told_as_state_then_end_and_nothing_comes_after() -> None:
    async def test(bench: Bench) -> None:
        done = bench.submit("sleep")
        failed = bench.submit("flaky", {"times": 1})
        gone = bench.submit("hang")
        await bench.settle()
        bench.engine.cancel(gone)
        for job, state in ((done, "completed"), (failed, "failed"), (gone, "cancelled")):
            await bench.ended(job)
            told = bench.events(job)

            assert [each["event"] for each in told[-2:]] == ["state", "end"]
            assert [each["state"] for each in told[-2:]] == [state, state]

    run(test, sleep, flaky, hang)


def test_completion_travels_the_same_hand_off_as_narration_and_what_is_later_is_counted() -> None:
    over = threading.Event()

    @operation
    def speaks() -> str:
        for number in range(500):
            narrate("say", "{n}", n=number)
        late = threading.Thread(target=speak_late)
        late.start()
        return "done"

    def speak_late() -> None:
        ended.wait(30)
        narrate("say", "late")
        over.set()

    ended = threading.Event()

    async def test(bench: Bench) -> None:
        job = bench.submit("speaks")
        await bench.ended(job)
        assert bench.texts(job) == [str(number) for number in range(500)]
        ended.set()
        with bench.hold():
            await asyncio.to_thread(over.wait, 30)
            await bench.settle()

        assert bench.texts(job)[-1] == "499"
        assert bench.metric(MetricName.MESSAGES_DROPPED, reason="late") == 1

    run(test, speaks)


def test_the_stream_of_all_jobs_has_its_own_ids_over_a_bounded_ring() -> None:
    async def test(bench: Bench) -> None:
        for _ in range(20):
            await bench.ended(bench.submit("sleep"))
        feed = bench.engine.feed()

        assert (feed.first, feed.next) == (60 - 16 + 1, 61)

    run(test, sleep, feed_limit=16)


# --- waiting ------------------------------------------------------------------------------------


def test_a_deferred_job_is_queued_without_a_position_outside_the_depth_inside_the_limit() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", start="on_stream")
        record = bench.record(job)

        assert (record.state, record.queue_position) == ("queued", None)
        assert bench.total(MetricName.QUEUE_DEPTH) == 0
        assert bench.metric(MetricName.DEFERRED) == 1
        with pytest.raises(QueueFull):
            bench.submit("sleep")

    run(test, sleep, queue_limit=1)


def test_queue_timeout_counts_from_queueing_to_the_first_start() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("sleep", {"for_s": 12})
        job = bench.submit(
            "later", {"times": 1, "after_s": 1}, start="on_stream", queue_timeout_s=5
        )
        await bench.at(8)
        bench.engine.attached(job)
        await bench.at(12)  # 12 s after its creation, 4 s after it was queued
        bench.submit("sleep", {"for_s": 60})
        await bench.ended(job)

        assert bench.state(job) == "completed"  # its second wait was longer, and had no limit

    run(test, sleep, later, concurrency=1)


def test_deadline_counts_from_creation_timeout_if_it_ever_started_else_expired() -> None:
    async def test(bench: Bench) -> None:
        started = bench.submit("hang", deadline_s=5)
        await bench.settle()
        never = bench.submit("hang", deadline_s=5)
        deferred = bench.submit("hang", deadline_s=5, start="on_stream")
        await bench.at(5)

        assert bench.state(started) == "failed/timeout"
        assert bench.state(never) == "failed/expired"
        assert bench.state(deferred) == "failed/expired"

    run(test, hang, concurrency=1)


def test_ageing_is_a_fixed_key_made_once_never_recomputed() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        await bench.settle()
        jobs = []
        for priority in ("low", "normal", "high", "normal", "low"):
            jobs.append(bench.submit("hang", priority=priority))
            await asyncio.sleep(59)
        before = [bench.record(job).queue_position for job in jobs]
        await bench.at(5000)

        assert [bench.record(job).queue_position for job in jobs] == before

    run(test, hang, concurrency=1)


# --- retrying -----------------------------------------------------------------------------------


def test_max_attempts_is_1_by_default() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("flaky", {"times": 1})
        await bench.ended(job)

        assert bench.outcomes(job) == ["error"]

    run(test, flaky)


def test_jitter_is_full_or_none_and_full_by_default() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("flaky", {"times": 1}, retry={"max_attempts": 2, "base_delay_s": 8})
        await bench.ended(job)
        assert bench.now == 2  # a quarter of its length
        with pytest.raises(ValidationError):
            bench.submit("flaky", {"times": 1}, retry={"jitter": "half"})

    run(test, flaky, uniform=0.25)


def test_retry_later_spends_no_attempt_and_has_a_cap_of_its_own() -> None:
    async def test(bench: Bench) -> None:
        patient = bench.submit("later", {"times": 100, "after_s": 1})
        endless = bench.submit("later", {"times": 101, "after_s": 1})
        await bench.ended(endless)

        assert bench.state(patient) == "completed"
        assert bench.state(endless) == "failed/error"
        assert bench.record(patient).attempt == 101

    run(test, later)


def test_a_job_stays_running_until_a_timed_out_attempt_has_really_stopped() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", timeout_s=1, retry={"max_attempts": 2, "base_delay_s": 0})
        await bench.at(2.9)
        assert bench.states(job) == ["queued", "running"]
        await bench.at(3)

        assert bench.states(job) == ["queued", "running", "retrying", "queued", "running"]
        bench.engine.cancel(job)

    run(test, reluctant)


def test_an_attempt_that_will_not_stop_is_abandoned_and_the_job_fails_without_a_retry() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "stubborn", {"for_s": 50}, timeout_s=1, retry={"max_attempts": 3, "base_delay_s": 0}
        )
        await bench.ended(job)
        assert bench.state(job) == "failed/timeout"
        assert bench.outcomes(job) == ["timeout"]
        await bench.at(60)

        assert bench.outcomes(job) == ["timeout"]

    run(test, stubborn)


def test_a_child_that_dies_without_a_result_is_lost_and_the_failure_names_its_signal() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("dies", {"times": 9})
        record = await bench.ended(job)

        assert bench.state(job) == "failed/lost"
        assert bench.outcomes(job) == ["lost"]
        assert record.failure is not None
        assert "SIGKILL" in record.failure.message

    run(test, dies)


def test_a_lost_attempt_counts_as_an_attempt_and_is_retried_within_the_policy() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("dies", {"times": 1}, retry={"max_attempts": 2, "base_delay_s": 0})
        record = await bench.ended(job)

        assert bench.outcomes(job) == ["lost", "completed"]
        assert record.result == 2
        assert bench.metric(MetricName.RETRIES, operation="dies", reason="lost") == 1

    run(test, dies)


# --- cancelling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["finish", "raise", "later", "reject", "cancelled"])
def test_once_cancelling_every_ending_is_cancelled(how: str) -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("reluctant", {"how": how}, retry={"max_attempts": 3})
        await bench.settle()
        bench.engine.cancel(job)
        await bench.ended(job)

        assert bench.states(job) == ["queued", "running", "cancelling", "cancelled"]

    run(test, reluctant)


def test_a_process_that_ignores_sigterm_is_killed_and_not_abandoned() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("ignores")
        with bench.hold():
            for _ in range(2000):
                if bench.output(job):
                    break
                await asyncio.sleep(0.01)
        bench.engine.cancel(job)
        record = await bench.ended(job)

        assert record.state == "cancelled"
        assert record.cancel is not None
        assert not record.cancel.abandoned

    run(test, ignores, cancel_grace_s=0.05)


def test_cancel_when_unwatched_waits_out_a_reconnect_grace() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("hang", cancel_when_unwatched=True)
        bench.engine.attached(job)
        bench.engine.detached(job, by_client=True)
        await bench.ended(job)

        assert bench.now == 10

    run(test, hang)


def test_streams_that_the_server_closed_do_not_count() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", {"for_s": 60}, cancel_when_unwatched=True)
        bench.engine.attached(job)
        bench.engine.detached(job, by_client=False)
        await bench.ended(job)

        assert bench.state(job) == "completed"

    run(test, sleep)


# --- idempotency --------------------------------------------------------------------------------


def test_a_key_stands_for_the_canonical_body_gives_the_first_status_and_goes_with_the_job() -> None:
    async def test(bench: Bench) -> None:
        def send(body: dict[str, object]) -> tuple[str, bool, int]:
            submission = Submission.model_validate(body)
            return bench.engine.submit(submission, idempotency_key="k", body_hash=body_hash(body))

        first, _, _ = send({"operation": "sleep", "tags": {"a": "1", "b": "2"}})
        again = send({"tags": {"b": "2", "a": "1"}, "operation": "sleep"})
        await bench.ended(first)
        bench.engine.forget(first)
        _, created, _ = send({"operation": "sleep"})

        assert again == (first, False, 202)
        assert created

    run(test, sleep)


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field", ["timeout_s", "queue_timeout_s", "deadline_s", "attach_timeout_s"]
)
def test_above_max_timeout_is_refused_never_clamped(field: str) -> None:
    async def test(bench: Bench) -> None:
        above: dict[str, Any] = {field: 100.5}
        exactly: dict[str, Any] = {field: 100}
        with pytest.raises(InvalidSubmission, match=field):
            bench.submit("sleep", **above)
        bench.submit("sleep", **exactly)

    run(test, sleep, max_timeout_s=100.0)


def test_a_wait_that_runs_out_gives_the_record_as_it_is() -> None:
    async def test(bench: Bench) -> None:
        record = await bench.engine.wait(bench.submit("hang"), 2)

        assert (record.state, bench.now) == ("running", 2)

    run(test, hang)


def test_progress_is_coalesced_before_it_is_numbered_so_that_a_flood_pushes_nothing_out() -> None:
    @operation
    async def flood(*, job: JobContext) -> None:
        narrate("say", "the first words")
        for number in range(5_000):
            job.progress(number)

    async def test(bench: Bench) -> None:
        job = bench.submit("flood")
        await bench.ended(job)

        assert bench.engine.log(job).first == 1
        assert bench.texts(job) == ["the first words"]
        assert bench.progress(job) == [0, 4_999]

    run(test, flood, log_limit=16)


# --- durability: what holds of it without a store -------------------------------------------------


def test_a_jobs_span_id_is_allocated_when_it_is_made() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("sleep", start="on_stream")
        record = bench.record(job)
        bench.engine.cancel(job)
        (span,) = bench.spans("job sleep", job)

        assert span.context is not None
        assert record.trace_id == f"{span.context.trace_id:032x}"
        assert bench.engine._core.registry.get(job).span_id == f"{span.context.span_id:016x}"

    run(test, sleep)


def test_wait_and_backoff_are_made_after_the_fact() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky",
            {"times": 1},
            retry={"max_attempts": 2, "base_delay_s": 4, "jitter": "none"},
        )
        await bench.at(3)
        spans, _ = bench.engine.trace(job)
        assert "job.backoff" not in {each.name for each in spans}
        await bench.ended(job)
        (backoff,) = bench.spans("job.backoff", job)

        assert backoff.start_time is not None
        assert backoff.end_time is not None
        assert backoff.end_time - backoff.start_time == 4e9
        assert len(bench.spans("job.wait", job)) == 2

    run(test, flaky)


# --- threads and children -----------------------------------------------------------------------


def test_each_attempt_in_a_thread_has_a_daemon_thread_of_its_own() -> None:
    threads: list[threading.Thread] = []

    @operation(max_attempts=2, base_delay_s=0)
    def notes(*, job: JobContext) -> None:
        threads.append(threading.current_thread())
        if job.attempt == 1:
            raise ValueError("no")

    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit("notes"))

        assert [each.daemon for each in threads] == [True, True]
        assert threads[0] is not threads[1]

    run(test, notes)


def test_threads_and_executors_of_a_handler_keep_its_context() -> None:
    @operation
    def spreads() -> None:
        with ThreadPoolExecutor(2) as pool:
            pool.submit(narrate, "say", "from a pool").result()
        other = threading.Thread(target=narrate, args=("say", "from a thread"))
        other.start()
        other.join()

    async def test(bench: Bench) -> None:
        job = bench.submit("spreads")
        await bench.ended(job)

        assert bench.texts(job) == ["from a pool", "from a thread"]

    run(test, spreads)


def test_generators_are_closed_in_the_task_or_thread_that_ran_them() -> None:
    closed: dict[str, bool] = {}

    @operation
    async def on_loop() -> AsyncIterator[str]:
        mine = asyncio.current_task()
        try:
            yield "x"
            await asyncio.Event().wait()
        finally:
            closed["on_loop"] = asyncio.current_task() is mine

    @operation
    def in_thread(*, job: JobContext) -> Iterator[str]:
        mine = threading.current_thread()
        try:
            yield "x"
            job.token.wait(30)
            yield "y"
        finally:
            closed["in_thread"] = threading.current_thread() is mine

    async def test(bench: Bench) -> None:
        for name in ("on_loop", "in_thread"):
            job = bench.submit(name, timeout_s=0.05)
            await bench.ended(job)

        assert closed == {"on_loop": True, "in_thread": True}

    run(test, on_loop, in_thread)


# --- small wire forms ---------------------------------------------------------------------------


def test_changed_fields_of_a_retry_replace_and_params_are_merged_key_by_key() -> None:
    async def test(bench: Bench) -> None:
        old = bench.submit(
            "sleep",
            {"for_s": 1, "value": "v"},
            tags={"a": "1", "b": "2"},
            timeout_s=30,
            retry={"max_attempts": 4},
        )
        await bench.ended(old)
        changes = RetryChanges.model_validate(
            {"params": {"value": "w"}, "tags": {"c": "3"}, "retry": {"base_delay_s": 2}}
        )
        record = await bench.ended(bench.engine.retry(old, changes).id)
        policy = bench.engine._core.registry.get(record.id).policy

        assert record.params == {"for_s": 1.0, "value": "w"}
        assert record.tags == {"c": "3"}
        assert (policy.timeout_s, policy.retry.max_attempts, policy.retry.base_delay_s) == (
            30,
            1,
            2,
        )

    run(test, sleep)


def test_retrying_an_unfinished_job_is_refused() -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(NotFinished):
            bench.engine.retry(bench.submit("hang"))

    run(test, hang)


def test_a_submitted_retry_is_merged_over_the_decorators() -> None:
    @operation(max_attempts=2, base_delay_s=30, jitter="none")
    async def fails() -> None:
        raise ValueError("no")

    async def test(bench: Bench) -> None:
        await bench.ended(bench.submit("fails", retry={"max_attempts": 3, "multiplier": 1}))

        assert bench.now == 60

    run(test, fails)


# --- small times --------------------------------------------------------------------------------


def test_the_cancel_grace_holds_for_timed_out_attempts_too() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("stubborn", {"for_s": 100}, timeout_s=1)
        await bench.ended(job)

        assert bench.now == 1 + 7

    run(test, stubborn, cancel_grace_s=7.0)


def test_retry_later_raises_the_number_of_the_attempt() -> None:
    seen: list[int] = []

    @operation
    async def waits(*, job: JobContext) -> None:
        seen.append(job.attempt)
        if job.attempt < 4:
            raise RetryLater(1)

    async def test(bench: Bench) -> None:
        record = await bench.ended(bench.submit("waits"))

        assert seen == [1, 2, 3, 4]
        assert [each.number for each in record.attempts] == [1, 2, 3, 4]

    run(test, waits)


def test_time_to_stop_is_not_observed_for_what_was_not_running() -> None:
    async def test(bench: Bench) -> None:
        bench.submit("hang")
        await bench.settle()
        queued = bench.submit("flaky", {"times": 1})
        deferred = bench.submit("hang", start="on_stream")
        for job in (queued, deferred):
            bench.engine.cancel(job)

        assert bench.total(MetricName.CANCELLATIONS) == 2
        for name in ("hang", "flaky"):
            labels = {"operation": name, "origin": "client"}
            assert bench.metric(MetricName.CANCELLATION_TIME, "_count", **labels) == 0

    run(test, hang, flaky, concurrency=1)


def test_a_retry_counts_when_it_is_scheduled() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit("flaky", {"times": 1}, retry={"max_attempts": 2, "base_delay_s": 60})
        await bench.settle()
        assert bench.metric(MetricName.RETRIES, operation="flaky", reason="error") == 1
        bench.engine.cancel(job)

        assert bench.metric(MetricName.RETRIES, operation="flaky", reason="error") == 1

    run(test, flaky)


def test_wait_and_run_are_measured_for_each_attempt() -> None:
    async def test(bench: Bench) -> None:
        job = bench.submit(
            "flaky", {"times": 2, "for_s": 1}, retry={"max_attempts": 3, "base_delay_s": 0}
        )
        await bench.ended(job)

        labels = {"operation": "flaky", "priority": "normal"}
        assert bench.metric(MetricName.WAIT, "_count", **labels) == 3
        counts = [
            bench.metric(MetricName.RUN, "_count", operation="flaky", outcome=each)
            for each in ("error", "completed")
        ]
        assert counts == [2, 1]

    run(test, flaky)


# --- small truths -------------------------------------------------------------------------------


def test_root_and_own_loggers_are_first_party_and_attributes_of_others_are_withheld() -> None:
    @operation
    async def logs() -> None:
        for name in (None, "tests.mine", "somebody.else"):
            logging.getLogger(name).warning("said by %s", name, extra={"detail": "inside"})

    async def test(bench: Bench) -> None:
        job = bench.submit("logs")
        await bench.ended(job)
        told = [each for each in bench.messages(job) if each["kind"] == "log"]

        assert [each["text"] for each in told][:2] == ["said by None", "said by tests.mine"]
        assert [each["fields"].get("detail") for each in told] == ["inside", "inside", None]

    run(test, logs)


def test_a_missing_command_raises_file_not_found_with_its_name() -> None:
    @operation
    async def calls() -> None:
        await run_process("no-such-command-here")

    async def test(bench: Bench) -> None:
        record = await bench.ended(bench.submit("calls"))

        assert record.failure is not None
        assert record.failure.type == "FileNotFoundError"
        assert "no-such-command-here" in record.failure.message

    run(test, calls)


def test_events_on_a_span_that_has_ended_are_not_narrated() -> None:
    tracers: list[trace.Tracer] = []

    @operation
    async def late() -> None:
        span = tracers[0].start_span("inner")
        span.add_event("in time")
        span.end()
        span.add_event("too late")

    async def test(bench: Bench) -> None:
        tracers.append(bench.narrator._tracing.provider.get_tracer("tests"))
        job = bench.submit("late")
        await bench.ended(job)

        assert "in time" in bench.texts(job)
        assert "too late" not in bench.texts(job)

    run(test, late)


def test_a_cut_text_says_its_true_length() -> None:
    @operation
    async def talks(*, job: JobContext) -> None:
        narrate("say", "x" * 300)
        job.output("y" * 200)

    async def test(bench: Bench) -> None:
        job = bench.submit("talks")
        await bench.ended(job)
        (said,) = [each for each in bench.messages(job) if each["kind"] == "narrate"]
        (put,) = [each for each in bench.events(job) if each["event"] == "output"]

        assert said["text"] == "x" * 100
        assert said["truncated"] == {"bytes": 300}
        assert put["truncated"] == {"bytes": 200}

    run(test, talks, max_message_bytes=100)


def test_times_of_a_record_are_those_of_the_clock() -> None:
    async def test(bench: Bench) -> None:
        await bench.at(2.5)
        record = await bench.ended(bench.submit("sleep", {"for_s": 1.25}))

        assert record.created_at == "2026-01-01T00:00:02.500000Z"
        assert [seconds(record.started_at), seconds(record.finished_at)] == [2.5, 3.75]

    run(test, sleep)

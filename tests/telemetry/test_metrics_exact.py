"""The values of every metric after scripted jobs: all samples that are not zero, and no others.

On virtual time seconds are exact; what needs a socket or a child process is run over HTTP below.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from app import JobContext, Reject, RetryLater, operation
from app.jobs.errors import Draining, QueueFull
from app.jobs.submission import Submission
from app.service import Narrator
from app.settings import Settings
from app.virtual_time import run_virtual
from narration import narrate
from narration.reader import Reader
from narration.resume import StreamQuery, resolve
from telemetry.names import CancelOrigin
from tests.telemetry.served import samples, serving

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"

RETRY = {"retry": {"base_delay_s": 10.0, "multiplier": 2.0, "jitter": "none", "max_attempts": 3}}
FLOOD = {"base_delay_s": 0.0, "jitter": "none", "max_attempts": 30}


@operation
async def work(seconds: float) -> float:
    """Take so long."""
    await asyncio.sleep(seconds)
    return seconds


@operation
async def flaky(failures: int, *, job: JobContext) -> None:
    """Fail so often, two seconds each."""
    await asyncio.sleep(2)
    if job.attempt <= failures:
        raise ConnectionError("no")


@operation
async def refuses() -> None:
    """Reject the job."""
    raise Reject("no")


@operation
async def later(*, job: JobContext) -> None:
    """Ask for four seconds more, once."""
    if job.attempt == 1:
        raise RetryLater(4, "busy")


@operation
async def slow_to_stop() -> None:
    """Take three seconds to stop."""
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(3)


@operation
async def deaf() -> None:
    """Swallow a request to stop, and speak long after it."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await asyncio.sleep(100)
        narrate("late", "too late")
        narrate("late", "too late")


@operation
async def tells() -> None:
    """Say one message of each source that a coroutine has."""
    narrate("a", "at info")
    narrate("b", "at warn", level="warn")
    span = trace.get_current_span()
    span.add_event("event")
    span.record_exception(ValueError("seen"))
    logging.getLogger("root").error("logged")
    narrate("c", "at debug", level="debug")


OPERATIONS: list[Callable[..., Any]] = [work, flaky, refuses, later, slow_to_stop, deaf, tells]

Script = Callable[["Run"], Awaitable[None]]


class Run:
    """A narrator on virtual time."""

    def __init__(self, narrator: Narrator) -> None:
        self.narrator = narrator
        self.engine = narrator.engine

    def submit(self, operation: str, **fields: Any) -> str:
        """The id of a new job."""
        submission = Submission.model_validate({"operation": operation, **fields})
        return self.engine.submit(submission).job_id

    async def end(self, *job_ids: str) -> None:
        """Wait for the end of each."""
        for job_id in job_ids:
            await self.narrator.result(job_id, timeout_s=1e6)

    async def run(self, operation: str, **fields: Any) -> str:
        """The id of a job that has ended."""
        job_id = self.submit(operation, **fields)
        await self.end(job_id)
        return job_id

    def values(self) -> dict[str, float]:
        """Every sample as it is now."""
        return samples(self.scrape().decode())

    def scrape(self, accept: str = "") -> bytes:
        """What a scraper gets."""
        assert self.narrator.metrics is not None
        return self.narrator.metrics.render(accept)[0]

    def reader(self, job_id: str, **query: Any) -> Reader:
        """A reader of the job's story that is attached."""
        log = self.engine.log(job_id)
        chosen = StreamQuery(**query)
        reader = self.engine.streams.open(log, chosen, resolve(log, chosen))
        self.engine.streams.attach(reader)
        return reader


def run(script: Script, **settings: Any) -> dict[str, float]:
    """The samples once `script` has been through."""

    async def main(clock: Any) -> dict[str, float]:
        narrator = Narrator(
            OPERATIONS,
            settings=Settings.model_construct(**settings),
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            clock=clock,
            uniform=lambda: 0.5,
        )
        async with narrator.running():
            await script(Run(narrator))
            return Run(narrator).values()

    return run_virtual(main)


ELSEWHERE = (
    "narrator_process_",
    "narrator_event_loop_lag_seconds",
    "narrator_messages_total",
    "narrator_jobs_retained",
    "narrator_retained_bytes",
    "narrator_worker_slots",
)
"""What has tests of its own below."""


def jobs_side(values: Mapping[str, float]) -> dict[str, float]:
    """The samples that are not zero, without buckets and without what has tests of its own."""
    return {
        key: value
        for key, value in values.items()
        if value and "_bucket{" not in key and not key.startswith(ELSEWHERE)
    }


def counted(operation: str, **more: float) -> dict[str, float]:
    """The samples of one job of normal priority, by short names."""
    of = f'operation="{operation}"'
    keys = {
        "submitted": f'narrator_jobs_submitted_total{{{of},priority="normal"}}',
        "waits": f'narrator_job_wait_seconds_count{{{of},priority="normal"}}',
        "waited": f'narrator_job_wait_seconds_sum{{{of},priority="normal"}}',
        "abandoned": f"narrator_handlers_abandoned_total{{{of}}}",
    }
    by_label = {
        "attempts": ("narrator_attempts_total", "outcome"),
        "runs": ("narrator_job_run_seconds_count", "outcome"),
        "ran": ("narrator_job_run_seconds_sum", "outcome"),
        "retries": ("narrator_retries_total", "reason"),
        "timeouts": ("narrator_timeouts_total", "kind"),
        "cancellations": ("narrator_cancellations_total", "origin"),
        "stops": ("narrator_cancellation_seconds_count", "origin"),
        "stopped": ("narrator_cancellation_seconds_sum", "origin"),
    }
    found: dict[str, float] = {}
    for name, value in {"submitted": 1, **more}.items():
        short, _, label = name.partition("__")
        if short == "finished":
            state, _, reason = label.partition("__")
            labels = f'{of},outcome="{state}",reason="{reason}"'
            found[f"narrator_jobs_finished_total{{{labels}}}"] = value
        elif short in by_label:
            family, key = by_label[short]
            labels = ",".join(sorted([of, f'{key}="{label}"']))  # as in the exposition
            found[f"{family}{{{labels}}}"] = value
        else:
            found[keys[short]] = value
    return {key: value for key, value in found.items() if value}


def test_a_completed_job() -> None:
    async def script(run: Run) -> None:
        await run.run("work", params={"seconds": 3})

    assert jobs_side(run(script)) == counted(
        "work",
        finished__completed=1,
        waits=1,
        attempts__completed=1,
        runs__completed=1,
        ran__completed=3,
    )


def test_waits_and_runs_are_measured_for_each_attempt_and_retries_when_scheduled() -> None:
    async def script(run: Run) -> None:
        await run.run("flaky", params={"failures": 2}, **RETRY)

    assert jobs_side(run(script)) == counted(
        "flaky",
        finished__completed=1,
        waits=3,
        attempts__error=2,
        attempts__completed=1,
        runs__error=2,
        ran__error=4,
        runs__completed=1,
        ran__completed=2,
        retries__error=2,
    )


def test_a_retry_counts_before_it_runs() -> None:
    async def script(run: Run) -> None:
        run.submit("flaky", params={"failures": 2}, **RETRY)
        await asyncio.sleep(5)

    values = jobs_side(run(script))

    assert values['narrator_retries_total{operation="flaky",reason="error"}'] == 1
    assert values['narrator_job_wait_seconds_count{operation="flaky",priority="normal"}'] == 1
    assert values['narrator_jobs_retrying{operation="flaky"}'] == 1


def test_waiting_for_a_slot_is_measured_and_backoff_is_no_part_of_it() -> None:
    async def script(run: Run) -> None:
        first = run.submit("work", params={"seconds": 7})
        second = run.submit("flaky", params={"failures": 1}, **RETRY)
        await run.end(first, second)

    values = run(script, concurrency=1)

    assert values['narrator_job_wait_seconds_sum{operation="flaky",priority="normal"}'] == 7
    assert values['narrator_job_wait_seconds_count{operation="flaky",priority="normal"}'] == 2


def test_a_handler_that_asks_for_more_time() -> None:
    async def script(run: Run) -> None:
        await run.run("later")

    assert jobs_side(run(script)) == counted(
        "later",
        finished__completed=1,
        waits=2,
        attempts__retry_later=1,
        runs__retry_later=1,
        attempts__completed=1,
        runs__completed=1,
        retries__retry_later=1,
    )


def test_a_rejected_job() -> None:
    async def script(run: Run) -> None:
        await run.run("refuses", **RETRY)

    assert jobs_side(run(script)) == counted(
        "refuses", finished__failed__rejected=1, waits=1, attempts__rejected=1, runs__rejected=1
    )


def test_a_job_out_of_attempts() -> None:
    async def script(run: Run) -> None:
        await run.run("flaky", params={"failures": 9})

    assert jobs_side(run(script)) == counted(
        "flaky",
        finished__failed__error=1,
        waits=1,
        attempts__error=1,
        runs__error=1,
        ran__error=2,
    )


def test_an_attempt_that_times_out_and_takes_its_time_to_stop() -> None:
    async def script(run: Run) -> None:
        await run.run("slow_to_stop", timeout_s=10)

    assert jobs_side(run(script)) == counted(
        "slow_to_stop",
        finished__failed__timeout=1,
        waits=1,
        attempts__timeout=1,
        runs__timeout=1,
        ran__timeout=13,
        timeouts__attempt=1,
    )


def test_a_deadline_that_passes_while_an_attempt_runs() -> None:
    async def script(run: Run) -> None:
        await run.run("work", params={"seconds": 60}, deadline_s=10)

    assert jobs_side(run(script)) == counted(
        "work",
        finished__failed__timeout=1,
        waits=1,
        attempts__timeout=1,
        runs__timeout=1,
        ran__timeout=10,
        timeouts__deadline=1,
    )


def test_a_deadline_that_a_retry_would_miss_counts_once() -> None:
    async def script(run: Run) -> None:
        await run.run("flaky", params={"failures": 9}, deadline_s=5, **RETRY)

    assert jobs_side(run(script)) == counted(
        "flaky",
        finished__failed__timeout=1,
        waits=1,
        attempts__error=1,
        runs__error=1,
        ran__error=2,
        timeouts__deadline=1,
    )


def test_limits_on_waiting() -> None:
    async def script(run: Run) -> None:
        first = run.submit("work", params={"seconds": 100})
        queue = run.submit("later", queue_timeout_s=5)
        deadline = run.submit("refuses", deadline_s=6)
        attach = run.submit("tells", start="on_stream", attach_timeout_s=7)
        await run.end(first, queue, deadline, attach)

    assert jobs_side(run(script, concurrency=1)) == {
        **counted(
            "work",
            finished__completed=1,
            waits=1,
            attempts__completed=1,
            runs__completed=1,
            ran__completed=100,
        ),
        **counted("later", finished__failed__expired=1, timeouts__queue=1),
        **counted("refuses", finished__failed__expired=1, timeouts__deadline=1),
        **counted("tells", finished__failed__expired=1, timeouts__attach=1),
    }


def test_a_running_job_that_is_cancelled() -> None:
    async def script(run: Run) -> None:
        job_id = run.submit("slow_to_stop")
        await asyncio.sleep(10)
        run.engine.cancel(job_id)
        await asyncio.sleep(1)
        run.engine.cancel(job_id)
        await run.end(job_id)

    assert jobs_side(run(script)) == counted(
        "slow_to_stop",
        finished__cancelled=1,
        waits=1,
        attempts__cancelled=1,
        runs__cancelled=1,
        ran__cancelled=13,
        cancellations__client=1,
        stops__client=1,
        stopped__client=3,
    )


def test_the_time_to_stop_is_only_of_what_ran() -> None:
    async def script(run: Run) -> None:
        retrying = run.submit("flaky", params={"failures": 9}, **RETRY)
        await asyncio.sleep(5)
        deferred = run.submit("tells", start="on_stream")
        first = run.submit("work", params={"seconds": 5})
        queued = run.submit("later")
        for job_id in (retrying, deferred, queued):
            run.engine.cancel(job_id)
        await run.end(first)

    assert jobs_side(run(script, concurrency=1)) == {
        **counted(
            "work",
            finished__completed=1,
            waits=1,
            attempts__completed=1,
            runs__completed=1,
            ran__completed=5,
        ),
        **counted(
            "flaky",
            finished__cancelled=1,
            waits=1,
            attempts__error=1,
            runs__error=1,
            ran__error=2,
            retries__error=1,
            cancellations__client=1,
        ),
        **counted("tells", finished__cancelled=1, cancellations__client=1),
        **counted("later", finished__cancelled=1, cancellations__client=1),
    }


@pytest.mark.parametrize("origin", [CancelOrigin.UNWATCHED, CancelOrigin.SHUTDOWN])
def test_cancellations_by_who_asked(origin: CancelOrigin) -> None:
    async def script(run: Run) -> None:
        job_id = run.submit("work", params={"seconds": 3600}, cancel_when_unwatched=True)
        run.engine.attached(job_id)
        await asyncio.sleep(1)
        if origin is CancelOrigin.UNWATCHED:
            run.engine.detached(job_id, by_client=True)
            await run.end(job_id)
        else:
            await run.engine.drain(9)

    took = {CancelOrigin.UNWATCHED: 11, CancelOrigin.SHUTDOWN: 10}[origin]
    assert jobs_side(run(script, unwatched_grace_s=10.0)) == counted(
        "work",
        finished__cancelled=1,
        waits=1,
        attempts__cancelled=1,
        runs__cancelled=1,
        **{
            "ran__cancelled": took,
            f"cancellations__{origin}": 1,
            f"stops__{origin}": 1,
        },
    )


def test_a_handler_that_will_not_stop_is_abandoned_and_what_it_says_later_is_dropped() -> None:
    async def script(run: Run) -> None:
        job_id = run.submit("deaf")
        await asyncio.sleep(10)
        run.engine.cancel(job_id)
        await run.end(job_id)
        assert run.values()["narrator_worker_slots"] == 32
        await asyncio.sleep(200)

    assert jobs_side(run(script, cancel_grace_s=5.0)) == {
        **counted(
            "deaf",
            finished__cancelled=1,
            waits=1,
            attempts__cancelled=1,
            runs__cancelled=1,
            ran__cancelled=15,
            abandoned=1,
            cancellations__client=1,
            stops__client=1,
            stopped__client=5,
        ),
        'narrator_messages_dropped_total{reason="late"}': 2,
    }


def test_submissions_that_are_refused() -> None:
    async def script(run: Run) -> None:
        first = run.submit("work", params={"seconds": 9})
        await asyncio.sleep(1)
        run.submit("work", params={"seconds": 9})
        for _ in range(2):
            with pytest.raises(QueueFull):
                run.submit("work", params={"seconds": 9})
        draining = asyncio.create_task(run.engine.drain(0))
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            run.submit("work", params={"seconds": 9})
        await draining
        await run.end(first)

    values = run(script, concurrency=1, queue_limit=1)

    assert {k: v for k, v in values.items() if "refused" in k} == {
        'narrator_submissions_refused_total{reason="queue-full"}': 2,
        'narrator_submissions_refused_total{reason="draining"}': 1,
    }


def test_gauges_read_the_truth_at_a_moment_when_some_wait() -> None:
    seen: dict[str, float] = {}

    async def script(run: Run) -> None:
        run.submit("flaky", params={"failures": 9}, **RETRY)
        await asyncio.sleep(4)  # it waits for its retry, which is due at 12
        run.submit("work", params={"seconds": 100})
        await asyncio.sleep(1)
        run.submit("work", params={"seconds": 100}, priority="low")
        run.submit("later", start="on_stream", attach_timeout_s=3600)
        await asyncio.sleep(1)
        run.submit("work", params={"seconds": 100})
        run.submit("work", params={"seconds": 100})
        await asyncio.sleep(1)
        seen.update(run.values())

    run(script, concurrency=1)

    assert {
        key: value
        for key, value in seen.items()
        if key.startswith(("narrator_queue", "narrator_jobs_r", "narrator_jobs_d", "narrator_work"))
        and value
    } == {
        'narrator_queue_depth{priority="low"}': 1,
        'narrator_queue_depth{priority="normal"}': 2,
        'narrator_queue_oldest_age_seconds{priority="low"}': 2,
        'narrator_queue_oldest_age_seconds{priority="normal"}': 1,
        'narrator_jobs_running{operation="work"}': 1,
        'narrator_jobs_retrying{operation="flaky"}': 1,
        "narrator_jobs_deferred": 1,
        "narrator_worker_slots": 1,
    }


def test_what_is_retained() -> None:
    seen: list[tuple[float, float]] = []

    def look(run: Run) -> None:
        values = run.values()
        seen.append((values["narrator_jobs_retained"], values["narrator_retained_bytes"]))

    async def script(run: Run) -> None:
        look(run)
        first = await run.run("work", params={"seconds": 1})
        await asyncio.sleep(3)  # by then its spans are compact
        look(run)
        second = await run.run("work", params={"seconds": 1})
        await asyncio.sleep(3)
        look(run)
        run.engine.forget(first)
        look(run)
        run.engine.forget(second)
        look(run)

    run(script)

    assert [count for count, _ in seen] == [0, 1, 2, 1, 0]
    one, two = seen[1][1], seen[2][1]
    assert one > 0
    assert two > one
    assert [size for _, size in seen] == [0, one, two, two - one, 0]


def test_messages_by_source_and_level() -> None:
    async def script(run: Run) -> None:
        await run.run("tells")

    values = run(script)

    assert {k: v for k, v in values.items() if k.startswith("narrator_messages") and v} == {
        'narrator_messages_total{level="info",source="lifecycle"}': 3,
        'narrator_messages_total{level="info",source="narrate"}': 1,
        'narrator_messages_total{level="warn",source="narrate"}': 1,
        'narrator_messages_total{level="debug",source="narrate"}': 1,
        'narrator_messages_total{level="info",source="event"}': 1,
        'narrator_messages_total{level="error",source="exception"}': 1,
        'narrator_messages_total{level="error",source="log"}': 1,
    }


def test_streams_count_what_they_deliver_and_what_of_it_was_there_before() -> None:
    async def script(run: Run) -> None:
        job_id = run.submit("work", params={"seconds": 10})
        await asyncio.sleep(1)  # told: queued and running, each as message and as state
        reader = run.reader(job_id)
        assert reader.pull()
        assert run.values()["narrator_streams_open"] == 1
        await run.end(job_id)  # told: completed, as message and as state, and the end
        assert reader.pull()
        run.engine.streams.detach(reader)

    values = run(script)

    assert {k: v for k, v in values.items() if k.startswith("narrator_messages_") and v} == {
        'narrator_messages_total{level="info",source="lifecycle"}': 3,
        "narrator_messages_delivered_total": 7,
        "narrator_messages_replayed_total": 4,
    }
    assert values["narrator_streams_open"] == 0


def test_gaps_by_their_reason_and_slow_readers() -> None:
    async def script(run: Run) -> None:
        job_id = await run.run("flaky", params={"failures": 20}, retry=FLOOD)
        for query in (
            {"from_": 1},
            {"last_event_id": "nonsense"},
        ):
            reader = run.reader(job_id, **query)
            reader.pull()
            run.engine.streams.detach(reader)
        running = run.submit("flaky", params={"failures": 20}, retry=FLOOD)
        slow = run.reader(running)
        slow.pull()
        await run.end(running)
        slow.pull()
        run.engine.streams.detach(slow)
        forgotten = run.reader(running)
        run.engine.forget(running)
        forgotten.pull()
        run.engine.streams.detach(forgotten)

    values = run(script, log_limit=16)

    assert {k: v for k, v in values.items() if "_gaps" in k or "_slow_readers" in k} == {
        'narrator_stream_gaps_total{reason="evicted"}': 3,
        'narrator_stream_gaps_total{reason="unknown_id"}': 1,
        'narrator_stream_gaps_total{reason="slow_reader"}': 1,
        'narrator_stream_gaps_total{reason="forgotten"}': 1,
        "narrator_slow_readers_total": 1,
    }


def test_the_lag_of_the_loop_is_measured_every_quarter_second() -> None:
    async def script(run: Run) -> None:
        await asyncio.sleep(10.1)

    values = run(script)

    assert values["narrator_event_loop_lag_seconds_count"] == 40
    assert values["narrator_event_loop_lag_seconds_sum"] == pytest.approx(0, abs=1e-6)


def test_seconds_fall_into_the_bucket_that_holds_them() -> None:
    async def script(run: Run) -> None:
        await run.run("work", params={"seconds": 3})

    values = run(script)
    key = 'narrator_job_run_seconds_bucket{{le="{}",operation="work",outcome="completed"}}'

    assert [values[key.format(bound)] for bound in ("2.5", "5.0", "+Inf")] == [0, 1, 1]


def test_exemplars_lead_from_a_measurement_to_the_attempt_that_made_it() -> None:
    found: dict[str, list[dict[str, str]]] = {}
    jobs: list[dict[str, Any]] = []

    async def script(run: Run) -> None:
        for seconds in (3, 20):
            job_id = await run.run("work", params={"seconds": seconds})
            jobs.append(run.engine.record(job_id).model_dump())
        body = run.scrape(OPEN_METRICS)
        families = text_string_to_metric_families(  # type: ignore[no-untyped-call]  # the library's
            body.decode()
        )
        for family in families:
            for sample in family.samples:
                if sample.exemplar is not None:
                    found.setdefault(family.name, []).append(dict(sample.exemplar.labels))

    run(script)

    expected = [
        {
            "trace_id": job["trace_id"],
            "span_id": job["attempts"][0]["span_id"],
            "job_id": job["id"],
        }
        for job in jobs
    ]
    assert found["narrator_job_run_seconds"] == expected
    assert found["narrator_job_wait_seconds"] == expected[1:]  # both in one bucket: the newer


def test_the_same_values_are_scraped_over_http_a_lost_child_among_them(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with serving(tmp_path) as server:
        completed = server.run("coroutine", priority="high")
        lost = server.submit("held", params={"gate": str(gate)})
        os.kill(server.said(lost["id"], "ready")["fields"]["pid"], signal.SIGKILL)
        server.ended(lost["id"])
        server.client.post("/v1/jobs", json={"operation": "coroutine", "params": {"no": 1}})
        with server.client.stream("GET", f"/v1/jobs/{completed['id']}/stream") as stream:
            delivered = stream.read().count(b"\nevent: ")
        values = samples(server.metrics())
        scrape = server.client.get("/metrics", headers={"accept": OPEN_METRICS}).text

    def is_counter(key: str) -> bool:
        return "_total" in key or "_seconds_count" in key

    known = {key: v for key, v in values.items() if v and is_counter(key)}
    elsewhere = ("process", "event_loop_lag", "loop_blocked", "messages_to", "http")
    for key in list(known):
        if key.startswith(tuple(f"narrator_{name}" for name in elsewhere)):
            del known[key]
    assert known == {
        'narrator_jobs_submitted_total{operation="coroutine",priority="high"}': 1,
        'narrator_jobs_submitted_total{operation="held",priority="normal"}': 1,
        'narrator_jobs_finished_total{operation="coroutine",outcome="completed",reason=""}': 1,
        'narrator_jobs_finished_total{operation="held",outcome="failed",reason="lost"}': 1,
        'narrator_attempts_total{operation="coroutine",outcome="completed"}': 1,
        'narrator_attempts_total{operation="held",outcome="lost"}': 1,
        'narrator_job_wait_seconds_count{operation="coroutine",priority="high"}': 1,
        'narrator_job_wait_seconds_count{operation="held",priority="normal"}': 1,
        'narrator_job_run_seconds_count{operation="coroutine",outcome="completed"}': 1,
        'narrator_job_run_seconds_count{operation="held",outcome="lost"}': 1,
        'narrator_submissions_refused_total{reason="invalid-params"}': 1,
        "narrator_messages_delivered_total": delivered,
        "narrator_messages_replayed_total": delivered,
    }
    assert f'trace_id="{completed["trace_id"]}"' in scrape

"""Operations for the tests of telemetry, served by a real server: each ends in its own way."""

import asyncio
import logging
import os
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx
from opentelemetry import baggage, trace
from opentelemetry._logs import get_logger
from opentelemetry.instrumentation.httpx import SyncOpenTelemetryTransport
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

from app import JobContext, Reject, RetryLater, operation
from narration import narrate, run_process

tracer = trace.get_tracer("handlers")
third_party = logging.getLogger("thirdparty.client")
third_party.setLevel(logging.INFO)


async def _aside() -> None:
    with tracer.start_as_current_span("in a task"):
        narrate("aside", "said in a task")


@operation
async def coroutine() -> dict[str, str]:
    """Make spans on the loop, one in a task of its own."""
    with tracer.start_as_current_span("outer") as span:
        span.set_attribute("shop.items", 3)
        span.add_event("item.packed", {"shop.item": "lamp"})
        await asyncio.create_task(_aside())
    return {key: str(value) for key, value in baggage.get_all().items()}


@operation
async def blocks() -> None:
    """Keep the event loop from running for longer than NARRATOR_BLOCKED_LOOP_S."""
    time.sleep(1.0)  # noqa: ASYNC251 - what is tested


def _deeper() -> None:
    with tracer.start_as_current_span("in a thread of its own"):
        narrate("deep", "said in a thread")


@operation
def threaded() -> None:
    """Make spans in the handler's thread, and in one that it starts."""
    with tracer.start_as_current_span("outer"):
        thread = threading.Thread(target=_deeper)
        thread.start()
        thread.join()


@operation(isolation="process")
def isolated() -> dict[str, str]:
    """Make spans in a child process."""
    trace.get_current_span().set_attribute("handler.color", "red")
    with tracer.start_as_current_span("in the child") as span:
        span.add_event("child.event", {"n": 1})
        with tracer.start_as_current_span("deeper"):
            narrate("deep", "said in a child")
    return {key: str(value) for key, value in baggage.get_all().items()}


@operation
async def flaky(failures: int, *, job: JobContext) -> str:
    """Fail so often, then succeed."""
    if job.attempt <= failures:
        raise ConnectionError("the shelf is empty")
    return "done"


@operation
async def endless() -> None:
    """Run until stopped."""
    narrate("ready", "ready")
    await asyncio.Event().wait()


@operation(concurrency=1)
async def single() -> None:
    """Run until stopped, one at a time."""
    narrate("ready", "ready")
    await asyncio.Event().wait()


@operation
async def refuses() -> None:
    """Reject the job."""
    raise Reject("not in stock")


@operation
async def later(*, job: JobContext) -> int:
    """Ask for more time, once."""
    if job.attempt == 1:
        raise RetryLater(0.01, "busy")
    return job.attempt


@operation
def deaf(gate: str) -> None:
    """Do not hear a request to stop."""
    narrate("ready", "ready")
    with tracer.start_as_current_span("outlives"):
        Path(gate).read_text()


@operation(isolation="process")
def held(gate: str) -> str:
    """Tell the pid, and wait in a span."""
    with tracer.start_as_current_span("held open", attributes={"shop.shelf": 7}) as span:
        span.add_event("waiting", {"for": "the gate"})
        narrate("ready", "ready", pid=os.getpid())
        return Path(gate).read_text()


@operation
def held_here(gate: str) -> str:
    """Wait in a span of this process."""
    with tracer.start_as_current_span("held open", attributes={"shop.shelf": 7}) as span:
        span.add_event("waiting", {"for": "the gate"})
        narrate("ready", "ready", pid=os.getpid())
        return Path(gate).read_text()


def _query() -> None:
    with closing(sqlite3.connect(":memory:")) as plain:
        traced = SQLite3Instrumentor.instrument_connection(plain)
        cursor = traced.cursor()
        cursor.execute("SELECT 'hidden statement' AS word")
        cursor.close()


def _request() -> None:
    transport = SyncOpenTelemetryTransport(httpx.MockTransport(lambda _: httpx.Response(200)))
    with httpx.Client(transport=transport) as client:
        client.get("http://shop.example/orders?customer=hidden")


def _third_parties() -> None:
    logging.getLogger("httpx").setLevel(logging.INFO)
    _query()
    _request()
    third_party.warning("order %s of %d", "hidden", 3, extra={"basket": "hidden"})
    third_party.warning("named %(item)s for %(who)s", {"item": "lamp", "who": "hidden"})
    third_party.warning("nothing to fill in")
    get_logger("thirdparty.events").emit(event_name="order.sent", attributes={"who": "hidden"})
    with trace.get_tracer("thirdparty.pay").start_as_current_span("pay") as span:
        span.record_exception(ValueError("hidden card"))


@operation
def closed() -> None:
    """Use others' instrumentation, and show nothing of it."""
    _third_parties()


@operation(
    disclose=(
        "db.statement",
        "db.query.text",
        "url.full",
        "http.url",
        "item",
        "exception.message",
    )
)
def open_hearted() -> None:
    """Use others' instrumentation, and show some of it."""
    _third_parties()


@operation(isolation="process")
def closed_child() -> None:
    """Do the same in a child process."""
    _third_parties()


@operation(disclose=("log.record.original",))
def open_logs() -> None:
    """Show what others log in full."""
    _third_parties()


def _spill(secret: str, job: JobContext) -> None:
    narrate("spill", "told {secret}", secret=secret, cute=f"psst {secret}", story=f"“{secret}”")
    logging.getLogger(__name__).warning("logged %s", secret, extra={"note": secret})
    third_party.warning(f"formatted {secret}")
    job.output(f"chunk {secret}")
    job.output({"deep": [secret]})
    job.progress(1, 2, f"at {secret}")
    with tracer.start_as_current_span(f"span {secret}") as span:
        span.set_attribute("note", secret)
        span.add_event("seen", {"note": secret})
        print(f"printed {secret}")  # noqa: T201 - what is tested
    raise ValueError(f"failed on {secret}")


@operation
def spills(name: str, *, job: JobContext) -> None:
    """Say the secret in the environment variable `name` in every way, and fail on it."""
    _spill(os.environ[name], job)


@operation(isolation="process")
def spills_child(name: str, *, job: JobContext) -> None:
    """Do the same in a child process."""
    _spill(os.environ[name], job)


@operation
async def counts(n: int) -> None:
    """Tell `n` steps, each with a span."""
    for step in range(n):
        with tracer.start_as_current_span("step"):
            narrate("step", "step {step}", step=step)
        await asyncio.sleep(0)


@operation
async def printing() -> None:
    """Run a process that writes to stdout and to stderr, and tell a long text in three voices."""
    script = "import sys; print('out'); print('err', file=sys.stderr)"
    await run_process(sys.executable, "-c", script)
    narrate("long", "x" * 100_000, level="warn", cute="y", story="z", shelves=[1, 2], empty=None)


@operation
async def logs_events() -> None:
    """Emit a log-based event of the handler's own."""
    get_logger("handlers").emit(event_name="parcel.sent", attributes={"n": 1})

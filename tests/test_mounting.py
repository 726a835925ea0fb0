"""Narrator in another FastAPI application: mounted, called in process, beside another one."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app import Narrator, Settings, operation
from app.service import NotRunningError
from narration import narrate
from tests.clients.wire import Parser
from tests.narration.serving import bounded, serving
from tests.plain_http import PLAIN
from tests.telemetry.otlp_receiver import OtlpReceiver

ROOT = Path(__file__).parents[1]
WAIT_S = 20.0


@operation("render")
async def render(scene: str) -> str:
    """Render a scene."""
    narrate("load", "Loading {scene}", scene=scene)
    return scene.upper()


@operation("endless")
async def endless() -> None:
    """Wait for a cancellation."""
    narrate("wait", "Waiting")
    await asyncio.Event().wait()


@operation("threads")
def threads() -> None:
    """Narrate from a thread of one's own."""
    thread = threading.Thread(target=narrate, args=("say", "From a thread"))
    thread.start()
    thread.join()


def narrator_of(
    *operations: Callable[..., Any], provider: TracerProvider | None = None
) -> Narrator:
    """One with quick shutdown."""
    return Narrator(
        operations=operations,
        settings=Settings(drain_s=0, cancel_grace_s=1),
        tracer_provider=provider or TracerProvider(),
    )


def host_of(**mounted: Narrator) -> FastAPI:
    """A user's application, as it would be written: each narrator mounted and in its lifespan."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for narrator in mounted.values():
                await stack.enter_async_context(narrator.running())
            yield

    host = FastAPI(
        lifespan=lifespan,
        # As in `create_application`: its own telemetry would tell every request twice.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    for name, narrator in mounted.items():
        host.mount(f"/{name}-api", narrator.application)

    @host.get("/hello")
    async def hello() -> str:
        return "hello"

    return host


@asynccontextmanager
async def client_of(host: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `host` behind a real server, its lifespan entered."""
    async with (
        host.router.lifespan_context(host),
        serving(host) as url,
        httpx.AsyncClient(base_url=url, timeout=WAIT_S, verify=PLAIN) as client,
    ):
        yield client


def run(test: Callable[[], Awaitable[None]]) -> None:
    bounded(test())


async def told(client: httpx.AsyncClient, path: str) -> list[Any]:
    """The data of each event of a stream that ends."""
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return [frame.body for frame in Parser().feed(answer.content)]


def test_links_lead_through_the_mount_and_streams_work() -> None:
    async def test() -> None:
        async with client_of(host_of(jobs=narrator_of(render))) as client:
            answer = await client.post(
                "/jobs-api/v1/jobs", json={"operation": "render", "params": {"scene": "x"}}
            )
            record = answer.json()
            links = record["links"]

            assert answer.status_code == 202
            assert (
                answer.headers["location"] == links["self"] == f"/jobs-api/v1/jobs/{record['id']}"
            )
            assert all(link.startswith("/jobs-api/v1/") for link in links.values())
            assert (await told(client, links["stream"]))[-1]["result"] == "X"
            for link in links.values():
                assert (await client.get(link)).status_code == 200
            listed = (await client.get("/jobs-api/v1/jobs")).json()["jobs"]
            assert listed[0]["links"] == links

    run(test)


def test_the_rest_of_the_application_and_the_operation_of_ours_both_answer() -> None:
    async def test() -> None:
        async with client_of(host_of(jobs=narrator_of(render))) as client:
            assert (await client.get("/hello")).json() == "hello"
            for path in ("/livez", "/readyz", "/metrics", "/docs", "/openapi.json"):
                assert (await client.get(f"/jobs-api{path}")).status_code == 200, path

    run(test)


def test_the_document_of_a_mounted_narrator_says_where_it_is() -> None:
    async def test() -> None:
        async with client_of(host_of(jobs=narrator_of(render))) as client:
            document = (await client.get("/jobs-api/openapi.json")).json()
            docs = (await client.get("/jobs-api/docs")).text

            assert document["servers"] == [{"url": "/jobs-api"}]
            assert "/jobs-api/openapi.json" in docs

    run(test)


def test_a_job_can_be_submitted_in_process_and_waited_for() -> None:
    async def test() -> None:
        narrator = narrator_of(render)
        async with narrator.running():
            record = await narrator.submit("render", scene="x")
            ended = await narrator.result(record.id)

        assert (record.state, ended.state, ended.result) == ("queued", "completed", "X")

    run(test)


def test_a_narrator_that_does_not_run_says_so() -> None:
    async def test() -> None:
        narrator = narrator_of(render)
        with pytest.raises(NotRunningError, match="not running"):
            await narrator.submit("render", scene="x")
        async with narrator.running():
            pass
        with pytest.raises(NotRunningError, match="not running"):
            await narrator.submit("render", scene="x")

    run(test)


def test_a_narrator_can_run_again_after_it_has_ended() -> None:
    async def test() -> None:
        narrator = narrator_of(render)
        for _ in range(2):
            async with narrator.running():
                record = await narrator.submit("render", scene="x")
                assert (await narrator.result(record.id)).state == "completed"

    run(test)


def test_a_job_submitted_in_process_is_a_child_of_the_current_span() -> None:
    async def test() -> None:
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        narrator = narrator_of(render, provider=provider)
        async with narrator.running():
            with provider.get_tracer("theirs").start_as_current_span("request") as request:
                record = await narrator.submit("render", scene="x")
            await narrator.result(record.id)

        job = next(span for span in exporter.get_finished_spans() if span.name == "job render")
        assert job.parent is not None
        assert job.parent.span_id == request.get_span_context().span_id

    run(test)


def test_a_users_own_provider_is_used_and_lives_on() -> None:
    async def test() -> None:
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        async with narrator_of(render, provider=provider).running() as narrator:
            await narrator.result((await narrator.submit("render", scene="x")).id)
        with provider.get_tracer("theirs").start_as_current_span("afterwards"):
            pass

        names = [span.name for span in exporter.get_finished_spans()]
        assert "job render" in names
        assert names[-1] == "afterwards"

    run(test)


def test_two_narrators_in_one_process_know_nothing_of_each_other() -> None:
    async def test() -> None:
        one, two = narrator_of(render), narrator_of(render, endless)
        async with client_of(host_of(one=one, two=two)) as client:
            first = (
                await client.post(
                    "/one-api/v1/jobs", json={"operation": "render", "params": {"scene": "a"}}
                )
            ).json()
            second = (
                await client.post(
                    "/two-api/v1/jobs", json={"operation": "render", "params": {"scene": "b"}}
                )
            ).json()
            stories = [await told(client, each["links"]["stream"]) for each in (first, second)]

            assert "Loading a" in json.dumps(stories[0])
            assert "Loading b" not in json.dumps(stories[0])
            assert [story[-1]["result"] for story in stories] == ["A", "B"]
            assert (await client.get(f"/one-api/v1/jobs/{second['id']}")).status_code == 404
            assert (await client.get("/one-api/v1/jobs")).json()["total"] == 1
            metrics = (await client.get("/one-api/metrics")).text
            assert 'narrator_jobs_submitted_total{operation="render",priority="normal"} 1.0' in (
                metrics
            )

    run(test)


def test_two_narrators_may_share_a_provider() -> None:
    async def test() -> None:
        provider = TracerProvider()
        one, two = narrator_of(render, provider=provider), narrator_of(render, provider=provider)
        async with one.running(), two.running():
            first = await one.result((await one.submit("render", scene="a")).id)
            second = await two.result((await two.submit("render", scene="b")).id)
            texts = [
                [entry.data for entry in each.engine.log(job.id).entries()]
                for each, job in ((one, first), (two, second))
            ]

        assert sum(b"Loading a" in data for data in texts[0]) == 1
        assert sum(b"Loading b" in data for data in texts[1]) == 1
        assert not any(b"Loading b" in data for data in texts[0])

    run(test)


@pytest.mark.parametrize("first_to_end", [0, 1])
def test_the_end_of_one_narrator_leaves_the_other_running(first_to_end: int) -> None:
    """Threads carry their context by a patch of the whole process: both need it."""

    async def test() -> None:
        provider = TracerProvider()
        both = [narrator_of(threads, provider=provider) for _ in "12"]
        lives = [each.running() for each in both]
        for each in lives:
            await each.__aenter__()
        await lives[first_to_end].__aexit__(None, None, None)
        other = both[1 - first_to_end]
        record = await other.result((await other.submit("threads")).id)
        entries = other.engine.log(record.id).entries()
        await lives[1 - first_to_end].__aexit__(None, None, None)

        assert record.state == "completed"
        assert any(b"From a thread" in entry.data for entry in entries)
        assert not ThreadingInstrumentor().is_instrumented_by_opentelemetry

    run(test)


def test_what_the_application_has_instrumented_stays_instrumented() -> None:
    async def test() -> None:
        async with narrator_of(threads).running():
            pass
        assert ThreadingInstrumentor().is_instrumented_by_opentelemetry

    ThreadingInstrumentor().instrument()
    try:
        run(test)
    finally:
        ThreadingInstrumentor().uninstrument()


@operation("gated")
async def gated(gate: str) -> str:
    """Wait for a file."""
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 — the test makes it
        await asyncio.sleep(0.005)
    return "opened"


def test_what_runs_may_finish_when_the_block_ends(tmp_path: Path) -> None:
    async def test() -> None:
        gate = tmp_path / "gate"
        narrator = Narrator(
            [gated], settings=Settings(drain_s=WAIT_S), tracer_provider=TracerProvider()
        )
        async with narrator.running():
            record = await narrator.submit("gated", gate=str(gate))
            asyncio.get_running_loop().call_later(0.05, gate.touch)
            waiting = asyncio.create_task(narrator.result(record.id))
            await asyncio.sleep(0)

        assert (await waiting).state == "completed"

    run(test)


def test_nothing_is_waited_for_when_the_block_is_left_by_an_error() -> None:
    async def test() -> None:
        narrator = Narrator([endless], settings=Settings(), tracer_provider=TracerProvider())
        with pytest.raises(KeyError):  # noqa: PT012 — the block is what is tested
            async with narrator.running():
                record = await narrator.submit("endless")
                waiting = asyncio.create_task(narrator.result(record.id))
                await asyncio.sleep(0)
                raise KeyError

        assert (await waiting).state == "cancelled"

    run(test)


HOST = '''
"""A user's application under plain uvicorn."""

from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from app import Narrator, Settings
from tests.test_mounting import endless

# No heartbeats: the client's own timeout bounds the silence of a stream that nobody ends.
settings = Settings(drain_s=0, cancel_grace_s=1, heartbeat_s=3600)
narrator = Narrator([endless], settings=settings)


@asynccontextmanager
async def lifespan(app):
    async with narrator.running():
        yield


host = FastAPI(lifespan=lifespan)
host.mount("/jobs-api", narrator.application)
config = uvicorn.Config(host, host="127.0.0.1", port=0, log_config=None)
server = uvicorn.Server(config)
started = server.startup


async def startup(sockets=None):
    await started(sockets=sockets)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)


server.startup = startup
server.run()
'''


def test_a_plain_server_that_is_told_to_exit_is_not_held_up_by_open_streams(
    tmp_path: Path,
) -> None:
    """The server waits for its connections before it ends the lifespan: streams must end first."""
    script = tmp_path / "host.py"
    script.write_text(HOST)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        with httpx.Client(base_url=url, timeout=WAIT_S, verify=PLAIN) as client:
            job = client.post("/jobs-api/v1/jobs", json={"operation": "endless"}).json()
            parser = Parser()
            with client.stream("GET", job["links"]["stream"]) as response:
                frames = []
                for chunk in response.iter_raw():
                    frames += parser.feed(chunk)
                    if b"Waiting" in chunk:
                        process.send_signal(signal.SIGTERM)
        process.wait(timeout=WAIT_S)
    finally:
        process.kill()
        process.communicate()

    assert frames[-1].event == "draining"
    assert "error" not in {frame.event for frame in frames}


TWO = '''
"""Two servers in one process, one after the other; the first sets the global provider."""

import asyncio

from app import Narrator, Settings
from tests.test_mounting import render


async def once():
    narrator = Narrator([render], settings=Settings())
    async with narrator.running():
        record = await narrator.submit("render", scene="x")
        print((await narrator.result(record.id)).trace_id)


asyncio.run(once())
asyncio.run(once())
'''


def test_the_next_server_of_a_process_exports_too(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    with OtlpReceiver() as receiver:
        done = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        )

    jobs = [each for each in receiver.spans if each.span.name == "job render"]
    assert [each.span.trace_id.hex() for each in jobs] == done.stdout.split()
    assert len(jobs) == 2

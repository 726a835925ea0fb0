"""What holds for handlers in child processes only: death, and what is heard until then."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.trace import StatusCode

from app.engine.runners import Lost, Raised, Returned, exception_type
from app.handlers.discovery import load, operations_of
from narration.events import NarrationEvent
from telemetry.names import DropReason
from tests.runners import attempts
from tests.runners.attempts import Attempt, Gate, gone, run


def on_uvloop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(test())


on_each_loop = pytest.mark.parametrize("run", [run, on_uvloop], ids=["asyncio", "uvloop"])
Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def bred(message: NarrationEvent) -> tuple[int, int]:
    return message.fields["near"], message.fields["far"]


@on_each_loop
def test_a_kill_takes_all_that_the_handler_started(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        attempt = Attempt()
        with Gate(tmp_path) as gate:
            running = attempt.start("breeds", gate=gate.path)
            near, far = bred(await attempt.said(" "))

            assert running.kill()
            assert await attempt.end() == Lost("killed by SIGKILL")
            assert await gone(near)
            assert await gone(far)

    run(test)


def test_what_a_handler_started_dies_with_its_return(tmp_path: Path) -> None:
    async def test() -> None:
        attempt = Attempt()
        with Gate(tmp_path) as gate:
            attempt.start("breeds", gate=gate.path)
            near, far = bred(await attempt.said(" "))
            await gate.open()

            assert await attempt.end() == Returned("opened")
            assert await gone(near)
            assert await gone(far)

    run(test)


def test_what_a_handler_started_dies_when_it_stops_as_asked(tmp_path: Path) -> None:
    async def test() -> None:
        attempt = Attempt()
        with Gate(tmp_path) as gate:
            running = attempt.start("breeds", gate=gate.path)
            near, far = bred(await attempt.said(" "))
            running.request_stop()

            assert isinstance(await attempt.end(), Raised)
            assert await gone(near)
            assert await gone(far)

    run(test)


def test_the_group_of_a_child_that_died_by_itself_dies_too(tmp_path: Path) -> None:
    async def test() -> None:
        attempt = Attempt()
        with Gate(tmp_path) as gate:
            attempt.start("breeds", gate=gate.path, fail=True)
            near, far = bred(await attempt.said(" "))
            try:
                assert await attempt.end() == Lost("exit code 3")
                assert await gone(near)
            finally:
                os.kill(far, signal.SIGKILL)  # it had left the group, and nobody was there to look

    run(test)


@on_each_loop
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("exit", "exit code 3"),
        ("SIGKILL", "killed by SIGKILL"),
        ("SIGSEGV", "killed by SIGSEGV"),
        ("40", "killed by signal 40"),
    ],
)
def test_a_child_that_dies_without_a_result_is_lost(run: Run, how: str, told: str) -> None:
    async def test() -> None:
        attempt = Attempt()

        assert await attempt.run("dies", how=how) == Lost(told)
        assert "last words" in attempt.texts
        assert "printed last" in attempt.texts

    run(test)


def test_a_stop_before_the_child_is_ready_ends_it() -> None:
    async def test() -> None:
        attempt = Attempt()
        attempt.start("listens_process").request_stop()

        assert isinstance(await attempt.end(), Lost | Raised)
        assert attempt.texts == []

    run(test)


def test_a_kill_before_the_child_is_started_ends_it() -> None:
    async def test() -> None:
        attempt = Attempt()

        assert attempt.start("listens_process").kill()
        assert await attempt.end() == Lost("killed by SIGKILL")

    run(test)


@on_each_loop
def test_a_flood_of_output_ends(run: Run) -> None:
    async def test() -> None:
        attempt = Attempt()

        assert await attempt.run("floods", megabytes=10) == Returned(10)
        assert len([each for each in attempt.told if each.kind == "stdout"]) == 5_120
        assert len([each for each in attempt.told if each.kind == "stderr"]) == 5_120
        assert attempt.drops == {}

    run(test)


def test_printed_lines_are_told_while_the_handler_runs(tmp_path: Path) -> None:
    async def test() -> None:
        attempt = Attempt()
        with Gate(tmp_path) as gate:
            attempt.start("prints", gate=gate.path)
            plain = await attempt.said("a plain line")
            ground = await attempt.said("Grinding")
            error = await attempt.said("an error line")

            assert attempt.endings == []
            assert (plain.kind, plain.actor, plain.action) == ("stdout", "tester", "stdout")
            assert (ground.actor, ground.action, ground.text) == ("miller", "grind", "Grinding")
            assert error.kind == "stderr"
            await gate.open()
            await attempt.end()

    run(test)


def test_an_overlong_line_is_cut_and_says_its_length() -> None:
    async def test() -> None:
        attempt = Attempt(max_message_bytes=100)
        await attempt.run("floods", megabytes=1)

        assert {len(each.text) for each in attempt.told} == {100}
        assert attempt.told[0].truncated == {"bytes": 1023}

    run(test)


def test_a_process_that_the_child_runs_is_narrated() -> None:
    async def test() -> None:
        attempt = Attempt()

        assert await attempt.run("runs") == Returned(0)
        assert (await attempt.said("said by echo")).actor == "echo"

    run(test)


def test_spans_that_a_kill_left_open_are_closed_as_lost_and_exported(tmp_path: Path) -> None:
    async def test() -> None:
        attempt = Attempt()
        with Gate(tmp_path) as gate:
            running = attempt.start("waits_process", gate=gate.path)
            await attempt.said("ready")
            running.kill()
            await attempt.end()

        waiting = next(each for each in attempt.spans.records() if each.name == "waiting")
        assert waiting.status == StatusCode.ERROR.value
        assert waiting.description == "lost"
        assert waiting.end is not None
        assert [span.name for span in attempt.exported] == ["inner", "waiting"]

    run(test)


def test_the_childs_spans_are_exported_with_the_servers_resource() -> None:
    async def test() -> None:
        attempt = Attempt()
        await attempt.run("returns_process")

        (inner,) = attempt.exported
        assert inner.name == "inner"
        assert [event.name for event in inner.events] == ["said by a span"]
        assert inner.resource.attributes["telemetry.sdk.name"] == "opentelemetry"

    run(test)


def test_what_is_added_to_the_attempts_span_in_the_child_is_added_to_it_here() -> None:
    async def test() -> None:
        attempt = Attempt()
        assert await attempt.run("annotates") == Returned(None)

        records = {each.name: each for each in attempt.spans.records()}
        own = records["job.attempt"]
        assert own.attributes["handler.color"] == "red"
        assert [event.name for event in own.events] == ["painted", "exception"]
        assert own.events[1].attributes["exception.type"] == "handlers.Broken"
        assert "handlers.Broken: seen and survived" in attempt.texts
        assert records["odd"].end is not None
        assert attempt.drops == {}

    run(test)


def test_secrets_said_in_the_child_are_masked_here(tmp_path: Path) -> None:
    (tmp_path / "secretive.py").write_text(
        textwrap.dedent("""
            from app.handlers.operation import operation
            from narration.narrate import narrate

            @operation(isolation="process")
            def secretive() -> None:
                narrate("tell", "the password: hunter2", hint="hunter2")
                print("printed hunter2")
        """)
    )

    async def test() -> None:
        attempt = Attempt()
        await attempt.run(load(str(tmp_path / "secretive.py"))[0])

        assert "hunter2" not in repr(attempt.told)
        assert "printed ***" in attempt.texts

    run(test)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("nan", "JSON cannot carry"),
        ("object", "JSON cannot carry"),
        ("large", "the limit is 4096"),
    ],
)
def test_a_result_that_does_not_fit_is_raised_with_its_reason(kind: str, told: str) -> None:
    async def test() -> None:
        ending = await Attempt().run("unfit_process", kind=kind)

        assert isinstance(ending, Raised)
        assert told in str(ending.exception)

    run(test)


def test_a_remote_exception_tells_its_traceback() -> None:
    async def test() -> None:
        ending = await Attempt().run("raises_process", kind="broken")

        assert isinstance(ending, Raised)
        assert "in _raises_plain" in str(ending.exception.__cause__)

    run(test)


def test_resources_are_opened_inside_the_child() -> None:
    async def test() -> None:
        attempt = Attempt()

        assert await attempt.run("uses_pool") == Returned(value=True)
        assert attempt.texts[0] == "opening the pool"
        assert attempt.texts[-1] == "closing the pool"

    run(test)


def test_the_context_crosses_into_the_child() -> None:
    async def test() -> None:
        assert await Attempt().run("remembers") == Returned(
            ["job-1", 1, {"color": "red"}, {"deep": [1, 2]}, {"at": 0}]
        )

    run(test)


def test_a_child_that_lingers_after_its_result_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.runners.process.EXIT_S", 0.1)

    async def test() -> None:
        assert await Attempt().run("lingers") == Returned("done")

    run(test)


def test_a_handler_that_is_gone_in_the_child_is_a_failed_attempt(tmp_path: Path) -> None:
    path = tmp_path / "fleeting.py"
    path.write_text(
        "from app.handlers.operation import operation\n"
        "@operation(isolation='process')\n"
        "def fleeting() -> None: ...\n"
    )
    (fleeting,) = load(str(path))
    path.write_text("x = 1/0\n")

    async def test() -> None:
        ending = await Attempt().run(fleeting)

        assert isinstance(ending, Raised)
        assert exception_type(ending.exception) == "app.handlers.errors.TargetError"
        assert f"{path}:1" in str(ending.exception)

    run(test)


def test_a_child_dies_when_its_server_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(
        textwrap.dedent("""
            import asyncio, sys
            from tests.runners.attempts import Attempt

            async def main():
                attempt = Attempt()
                attempt.start("breeds", gate=sys.argv[1])
                bred = await attempt.said(" ")
                print(bred.text, flush=True)
                await asyncio.Event().wait()

            asyncio.run(main())
        """)
    )

    async def test() -> None:
        with Gate(tmp_path) as gate:
            root = Path(attempts.__file__).parents[2]
            server = subprocess.Popen(  # noqa: ASYNC220  # a server of its own, to be killed
                [sys.executable, str(script), gate.path],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(root)},
            )
            assert server.stdout is not None
            near, far = map(int, server.stdout.readline().split())
            server.kill()
            server.wait()
            server.stdout.close()

            assert await gone(near)
            assert await gone(far)

    run(test)


def test_an_operation_given_as_a_function_is_found_by_the_child() -> None:
    handlers = sys.modules["handlers"]

    async def test() -> None:
        (remembers,) = operations_of([handlers.remembers])

        assert isinstance(await Attempt().run(remembers), Returned)

    run(test)


def test_a_child_that_cannot_be_started_is_a_failed_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def test() -> None:
        ending = await Attempt().run("returns_process")

        assert isinstance(ending, Raised)
        assert isinstance(ending.exception, FileNotFoundError)

    run(test)


def test_a_child_dies_with_the_loop_that_supervises_it(tmp_path: Path) -> None:
    kept: list[Attempt] = []
    pids: list[int] = []
    os.mkfifo(tmp_path / "never")

    async def test() -> None:
        kept.append(Attempt())
        kept[0].start("breeds", gate=str(tmp_path / "never"))
        pids.extend(bred(await kept[0].said(" ")))

    async def all_gone() -> None:
        assert [await gone(pid) for pid in pids] == [True, True]

    asyncio.run(test())  # and not `run`, which ends what is left
    run(all_gone)

    assert kept.pop().endings == [Lost("the server stopped")]
    gc.collect()  # a child that was not collected would warn: a failure


def test_a_child_that_writes_garbage_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        assert await Attempt().run("garbles") == Lost("killed by SIGKILL")

    run(test)
    assert "what is no frame" in caplog.text


def test_what_is_said_without_a_span_is_told_too_and_nonsense_is_counted() -> None:
    async def test() -> None:
        attempt = Attempt()

        assert await attempt.run("mutters") == Returned(None)
        assert attempt.texts == ["said without a span"]
        assert attempt.drops == {DropReason.ERROR: 1}

    run(test)


def test_an_untraced_attempt_is_told_in_full() -> None:
    async def test() -> None:
        attempt = Attempt(traced=False)

        assert isinstance(await attempt.run("returns_process"), Returned)
        assert {"said by narrate", "said by logging", "said by a span"} <= set(attempt.texts)
        assert attempt.exported == []

    run(test)


def test_threads_inherit_their_context_in_the_child_where_they_do_here() -> None:
    async def test() -> None:
        instrumentor = ThreadingInstrumentor()
        instrumentor.instrument()
        try:
            told = Attempt()
            await told.run("threads")
        finally:
            instrumentor.uninstrument()
        silent = Attempt()
        await silent.run("threads")

        assert told.texts == ["said in a thread"]
        assert silent.texts == []

    run(test)


def test_what_the_server_cannot_take_is_counted_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "refusing.py").write_text(
        textwrap.dedent("""
            from app.handlers.operation import operation

            @operation(isolation="process")
            def refusing():
                yield "refused"
                yield "taken"
        """)
    )

    async def test() -> None:
        attempt = Attempt()

        assert await attempt.run(load(str(tmp_path / "refusing.py"))[0]) == Returned(None)
        assert attempt.outputs == ["taken"]
        assert attempt.drops == {DropReason.ERROR: 1}

    run(test)
    assert "could not be told" in caplog.text


def test_a_users_package_called_app_does_not_reach_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise RuntimeError('not to be imported')\n")
    (tmp_path / "beside_app.py").write_text(
        "from app.handlers.operation import operation\n"
        "@operation(isolation='process')\n"
        "def beside_app() -> str:\n"
        "    return 'worked'\n"
    )
    monkeypatch.chdir(tmp_path)

    async def test() -> None:
        assert await Attempt().run(load("beside_app.py")[0]) == Returned("worked")

    run(test)

import asyncio
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from app.engine.runners.tree import descendants
from app.settings import CLIENT_VARIABLES
from narration.capture import Captured, capture
from narration.plain import plain_line
from narration.process import MARK, ProcessFailed, run_process
from telemetry.names import Kind

PATIENCE_S = 20.0
"""The longest that a test waits for something that is about to happen."""


async def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def _shell(script: str, **options: object) -> Coroutine[Any, Any, int]:
    return run_process("sh", "-c", script, **options)  # type: ignore[arg-type]  # passed on


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _children() -> set[int]:
    """All that this process has started; servers of other tests may be among them."""
    return set(descendants(os.getpid()))


async def _cancel_when_said(
    captured: Captured, text: str, running: Coroutine[Any, Any, int]
) -> None:
    task = asyncio.ensure_future(running)
    await _until(lambda: text in "\n".join(captured.texts))
    task.cancel("stop")
    with pytest.raises(asyncio.CancelledError):
        await task


def test_lines_of_stdout_and_stderr_are_told_by_the_program() -> None:
    with capture() as captured:
        code = asyncio.run(_shell("echo one; echo two >&2; printf 'no end'"))

    assert code == 0
    assert {(said.kind, said.actor, said.action, said.text) for said in captured.messages} == {
        ("stdout", "sh", "stdout", "one"),
        ("stderr", "sh", "stderr", "two"),
        ("stdout", "sh", "stdout", "no end"),
    }


def test_lines_are_told_while_the_program_runs() -> None:
    async def main(captured: Captured) -> None:
        await _cancel_when_said(captured, "begun", _shell("echo begun; exec sleep 60"))

    with capture() as captured:
        asyncio.run(main(captured))


def test_it_works_on_uvloop_too() -> None:
    with capture() as captured, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_shell("echo one; (sleep 60 & ) ; exit 3", drain_s=0.1))

    assert (code, captured.texts) == (3, ["one"])


def test_a_line_in_the_plain_form_is_read_back() -> None:
    line = plain_line("worker", "load", "Loading barn")
    with capture() as captured:
        asyncio.run(run_process("echo", line))

    (said,) = captured.messages
    assert (said.kind, said.actor, said.action) == ("stdout", "worker", "load")
    assert said.text == "Loading barn"


def test_the_actor_may_be_named() -> None:
    with capture() as captured:
        asyncio.run(run_process("echo", "x", actor="encoder"))

    assert captured.messages[0].actor == "encoder"


def test_what_is_not_utf_8_is_replaced() -> None:
    with capture() as captured:
        asyncio.run(_shell(r"printf 'a\377b\n'"))

    assert captured.texts == ["a\ufffdb"]


def test_carriage_returns_end_lines_and_blank_lines_are_left_out() -> None:
    with capture() as captured:
        asyncio.run(_shell(r"printf '10%%\r20%%\r\n\n\nend\n'"))

    assert captured.texts == ["10%", "20%", "end"]


def test_an_overlong_line_is_cut_and_read_to_its_end() -> None:
    script = "print('x' * 3_000_000); print('after')"
    with capture() as captured:
        asyncio.run(run_process(sys.executable, "-c", script))

    first, second = captured.messages
    assert first.text == "x" * 65_536
    assert first.truncated == {"bytes": 3_000_000}
    assert second.text == "after"


def test_a_flood_is_told_whole_and_lets_the_loop_breathe() -> None:
    async def main() -> int:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await run_process(sys.executable, "-c", "print('line\\n' * 20_000)")
        ticking.cancel()
        return turns

    with capture() as captured:
        turns = asyncio.run(main())

    assert len(captured.messages) == 20_000
    assert turns > 100


def test_the_exit_code_is_given() -> None:
    assert asyncio.run(_shell("exit 7")) == 7


def test_a_signal_is_a_negative_exit_code() -> None:
    assert asyncio.run(_shell("kill -TERM $$")) == -signal.SIGTERM


def test_a_checked_program_that_fails_raises() -> None:
    with pytest.raises(ProcessFailed, match="sh exited with code 7") as raised:
        asyncio.run(_shell("exit 7", check=True))

    assert (raised.value.program, raised.value.returncode) == ("sh", 7)
    assert raised.value.signal_name is None


def test_a_checked_program_that_is_killed_names_the_signal() -> None:
    with pytest.raises(ProcessFailed, match="sh was killed by SIGKILL") as raised:
        asyncio.run(_shell("kill -KILL $$", check=True))

    assert raised.value.signal_name == "SIGKILL"


def test_a_failure_survives_a_pipe() -> None:
    failed = pickle.loads(pickle.dumps(ProcessFailed("sh", -63)))

    assert str(failed) == "sh was killed by signal 63"


def test_a_missing_program_says_so() -> None:
    with pytest.raises(FileNotFoundError, match="no such program: 'no-such-program'"):
        asyncio.run(run_process("no-such-program"))


def test_a_missing_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such directory"):
        asyncio.run(run_process("echo", cwd=tmp_path / "gone"))


def test_directory_and_environment_are_passed_on(tmp_path: Path) -> None:
    with capture() as captured:
        asyncio.run(
            run_process("/bin/sh", "-c", "pwd; echo $WHO", cwd=tmp_path, env={"WHO": "ann"})
        )

    assert captured.texts == [str(tmp_path.resolve()), "ann"]


def test_without_a_story_it_just_runs() -> None:
    assert asyncio.run(_shell("echo unheard")) == 0


def test_a_cancelled_program_may_say_goodbye() -> None:
    script = "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    with capture() as captured:
        asyncio.run(_cancel_when_said(captured, "ready", _shell(script)))

    assert captured.texts[-1] == "goodbye"


def test_a_program_that_ignores_sigterm_is_killed_with_all_its_children() -> None:
    script = "trap '' TERM; sleep 60 & echo $! $$; wait; sleep 60"

    async def main(captured: Captured) -> None:
        await _cancel_when_said(captured, " ", _shell(script, kill_grace_s=0.1))
        pids = [int(pid) for pid in captured.texts[0].split()]
        await _until(lambda: not any(_alive(pid) for pid in pids))

    with capture() as captured:
        asyncio.run(main(captured))


def test_a_second_cancellation_cuts_the_grace_short() -> None:
    script = "trap 'echo deaf' TERM; echo $$; while :; do sleep 0.05; done"

    async def main(captured: Captured) -> None:
        task = asyncio.ensure_future(_shell(script, kill_grace_s=3_600))
        await _until(lambda: len(captured.texts) == 1)
        task.cancel()
        await _until(lambda: "deaf" in captured.texts)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _until(lambda: not _alive(int(captured.texts[0])))

    with capture() as captured:
        asyncio.run(main(captured))


def test_grandchildren_that_keep_the_pipes_open_do_not_hold_us_and_are_killed() -> None:
    async def main(captured: Captured) -> None:
        assert await _shell("sleep 3600 & echo $!", drain_s=0.1) == 0
        await _until(lambda: not _alive(int(captured.texts[0])))

    with capture() as captured:
        asyncio.run(main(captured))


def test_no_descriptor_and_no_zombie_is_left() -> None:
    async def main() -> None:
        await _shell("exit 0")  # whatever the loop opens once
        before, others = _descriptors(), _children()
        for _ in range(10):
            await _shell("echo x; (sleep 60 &); exit 1", drain_s=0.01)
            task = asyncio.ensure_future(_shell("exec sleep 60", kill_grace_s=0.01))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await _until(lambda: _descriptors() <= before and _children() <= others)

    asyncio.run(main())


def test_lines_belong_to_the_story_in_which_the_program_was_started() -> None:
    async def main() -> tuple[list[str], list[str]]:
        async def one(word: str) -> list[str]:
            with capture() as captured:
                await run_process("echo", word)
            return captured.texts

        first, second = await asyncio.gather(one("first"), one("second"))
        return first, second

    assert asyncio.run(main()) == (["first"], ["second"])


def test_it_reads_what_it_is_given_and_is_heard_as_it_writes() -> None:
    heard: list[tuple[Kind, bytes]] = []
    pids: list[int] = []
    reading, writing = os.pipe()
    os.write(writing, b"given")
    os.close(writing)

    async def main() -> None:
        await _shell(
            r"printf 'a\n\nno end'; cat >&2; echo $$",
            stdin=reading,
            started=pids.append,
            heard=lambda kind, data: heard.append((kind, data)),
        )

    with capture() as captured:
        asyncio.run(main())
    os.close(reading)

    said = b"".join(data for kind, data in heard if kind is Kind.STDOUT)
    assert said == b"a\n\nno end%d\n" % pids[0]
    assert b"".join(data for kind, data in heard if kind is Kind.STDERR) == b"given"
    assert "given" in captured.texts


@pytest.mark.parametrize("env", [None, {"PATH": os.environ["PATH"]}])
def test_a_program_is_marked_with_the_job_that_it_runs_for(env: dict[str, str] | None) -> None:
    with capture() as captured:
        asyncio.run(_shell(f'echo "${MARK}" of "${{{MARK}:+a job}}"', env=env))

    [text] = captured.texts
    assert text.endswith(" of a job")
    assert not text.startswith(" ")
    assert MARK in CLIENT_VARIABLES  # no setting, and so not warned of where it is inherited
